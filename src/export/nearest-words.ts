import { nearestTokens } from '../evaluate/nearest-tokens.js'
import { mean } from '../numbers.js'
import type { ExportContext } from './target.js'

/** The words that the vectors of a prompt come nearest to, and what is lost where these stand in their place. */

export interface NearestWords {
  readonly words: string
  /** Mean cosine of a vector and its word. */
  readonly cosine: number
  /** Tokens that the words are read as again, where they stand alone. */
  readonly tokens: number
  /** Mean log-probability of the tokens that the prompt itself goes on with behind the texts of the self-test, in nats. */
  readonly likelihood: {
    readonly vectors: number
    readonly words: number
    readonly nothing: number
  }
}

/** A special token would be read as one only where special tokens are; a piece of a character is no text. */
const candidates = 16

/** The words are put in front of each text of the self-test, and both are read together. */
export async function nearestWords({
  model,
  prompt,
  active,
  selfTest,
}: Pick<ExportContext, 'model' | 'prompt' | 'active' | 'selfTest'>): Promise<NearestWords> {
  const { tokenizer } = model
  const rows = await nearestTokens(model, prompt, { count: candidates })
  const isWord = ({ id, text }: { readonly id: number; readonly text: string }) =>
    id < tokenizer.vocabSize && !tokenizer.specialTokenIds.has(id) && !text.includes('\uFFFD')
  const chosen = rows.flatMap(({ tokens }) => tokens.find(isWord) ?? [])
  const words = tokenizer.decode(chosen.map(({ id }) => id)).trimStart()
  const read = (text: string) => tokenizer.encode(text, { addSpecialTokens: true })
  const tests = selfTest.cases.map(({ ids, text, greedy }) => ({ ids, text: text ?? tokenizer.decode(ids), greedy }))
  const plain = tests.map(({ ids, greedy }) => [...ids, ...greedy])
  const worded = tests.map(({ text, greedy }) => [...read(words + text), ...greedy])
  const ends = tests.map(({ greedy }) => greedy.length)
  return {
    words,
    cosine: mean(chosen.map(({ cosine }) => cosine)),
    tokens: tokenizer.encode(words, { addSpecialTokens: false }).length,
    likelihood: {
      vectors: meanOfEnds(await model.logProbabilities(plain, active), ends),
      words: meanOfEnds(await model.logProbabilities(worded), ends),
      nothing: meanOfEnds(await model.logProbabilities(plain), ends),
    },
  }
}

/** Mean of the last numbers of each row: as many as `counts` says. */
const meanOfEnds = (rows: readonly Float32Array[], counts: readonly number[]) =>
  mean(rows.flatMap((row, i) => [...row.subarray(row.length - counts[i]!)]))
