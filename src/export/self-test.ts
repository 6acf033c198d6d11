import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A model with its prompt in place, as a consumer of the export would run it. */
export interface PromptedModel {
  readonly vocabSize: number
  /**
   * Logits of rows of token ids, without the prompt, which the callee puts before each. Only the last `vocabSize` numbers of
   * each result are read: those of the row's last position.
   */
  logits(rows: number[][]): Promise<Float32Array[]>
}

export interface SelfTestCase {
  /** What is fed, BOS included; the prompt is among them where the consumer takes it as tokens. */
  readonly ids: readonly number[]
  /** The text that a consumer's own tokenizer must turn into `ids`; left out where there is none, as where a text was cut. */
  readonly text?: string
  /** Whether it is tokenised with the special tokens that the tokenizer adds. */
  readonly addSpecialTokens?: boolean
  /** The likeliest next token, fed again, and so on; it does not stop at EOS. */
  readonly greedy: readonly number[]
  /** The largest logits at the last of `ids`, downwards. */
  readonly top: readonly { readonly id: number; readonly logit: number }[]
  /** The least difference between the first and the second logit on the greedy path: below a consumer's error the ids may differ. */
  readonly margin: number
}

const format = 'gradprompt-self-test-1'

/** What `self-test.json` holds. */
export interface SelfTest {
  readonly format: 'gradprompt-self-test-1'
  readonly cases: readonly SelfTestCase[]
}

/** What an exporter writes for its consumer of the tests that it was given. */
export const writeSelfTest = (folder: string, cases: readonly SelfTestCase[]): Promise<void> =>
  writeFile(join(folder, 'self-test.json'), `${JSON.stringify({ format, cases } satisfies SelfTest, null, 2)}\n`)

/**
 * What a consumer of an export must compute: the greedy continuations and largest logits of a few inputs.
 * @param inputs rows of token ids as the consumer feeds them, none empty
 * @throws RangeError when an input is empty or the model answers with the wrong number of logits
 */
export async function makeSelfTest(
  model: PromptedModel,
  inputs: readonly (readonly number[])[],
  { newTokens = 8, topLogits = 5 }: { newTokens?: number; topLogits?: number } = {},
): Promise<SelfTest> {
  if (inputs.some(ids => ids.length === 0)) throw new RangeError('a self-test needs at least one token in each input')
  const rows = inputs.map(ids => [...ids])
  const tops: SelfTestCase['top'][] = []
  const margins = inputs.map(() => Number.POSITIVE_INFINITY)
  for (let token = 0; token < newTokens; token++) {
    const logits = await model.logits(rows.map(row => [...row]))
    rows.forEach((row, i) => {
      const top = largest(lastPosition(logits[i], model.vocabSize), Math.max(2, topLogits))
      if (token === 0) tops.push(top.slice(0, topLogits))
      margins[i] = Math.min(margins[i]!, top[0]!.logit - (top[1]?.logit ?? Number.NEGATIVE_INFINITY))
      row.push(top[0]!.id)
    })
  }
  return {
    format,
    cases: inputs.map((ids, i) => ({ ids, greedy: rows[i]!.slice(ids.length), top: tops[i]!, margin: margins[i]! })),
  }
}

function lastPosition(logits: Float32Array | undefined, vocabSize: number): Float32Array {
  if (logits === undefined || logits.length < vocabSize || logits.length % vocabSize !== 0) {
    throw new RangeError(`${logits?.length ?? 'no'} logits for a vocabulary of ${vocabSize}`)
  }
  return logits.subarray(logits.length - vocabSize)
}

/** The `count` largest, downwards; of equals the lower id first. */
function largest(logits: Float32Array, count: number): { id: number; logit: number }[] {
  const top: { id: number; logit: number }[] = []
  logits.forEach((logit, id) => {
    if (top.length === count && !(logit > top[count - 1]!.logit)) return
    const place = top.findIndex(other => logit > other.logit)
    top.splice(place === -1 ? top.length : place, 0, { id, logit })
    top.length = Math.min(top.length, count)
  })
  return top
}
