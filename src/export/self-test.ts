import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A model with its prompt in place, as a consumer of the export would run it. */
export interface PromptedModel {
  readonly vocabSize: number
  /**
   * Logits of rows of token ids, without the prompt, which the callee puts before each. Of each result the last
   * `last * vocabSize` numbers are read: those of the row's last positions.
   */
  logits(rows: number[][], last: number): Promise<Float32Array[]>
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
 * What a consumer of an export must compute: the greedy continuations and largest logits of a few inputs. Several tokens are guessed
 * and computed in one pass, which keeps those that greedy decoding says, so that the model runs fewer times than there are tokens
 * (Jacobi decoding: Santilli et al. 2023, arXiv 2305.10427, algorithm 1). What is written does not depend on the guesses.
 *
 * @param inputs rows of token ids as the consumer feeds them, none empty
 * @param options.guesses for each input what its continuation may begin with
 * @throws RangeError when an input is empty or the model answers with the wrong number of logits
 */
export async function makeSelfTest(
  model: PromptedModel,
  inputs: readonly (readonly number[])[],
  {
    newTokens = 8,
    topLogits = 5,
    guesses = [],
  }: { newTokens?: number; topLogits?: number; guesses?: readonly (readonly number[])[] } = {},
): Promise<SelfTest> {
  if (inputs.some(ids => ids.length === 0)) throw new RangeError('a self-test needs at least one token in each input')
  const cases = inputs.map((ids, i) => {
    const filled = Array.from({ length: newTokens - 1 }, (_, j) => guesses[i]?.[j] ?? ids.at(-1)!)
    return { ids, guess: filled, greedy: [] as number[], top: [] as SelfTestCase['top'], margin: Number.POSITIVE_INFINITY }
  })
  for (;;) {
    const open = cases.filter(({ greedy }) => greedy.length < newTokens)
    if (open.length === 0) break
    // All that are open may have different numbers of tokens left: the largest is read of each.
    const most = Math.max(...open.map(({ greedy }) => newTokens - greedy.length))
    const rows = open.map(({ ids, greedy, guess }) => [...ids, ...greedy, ...guess])
    const logits = await model.logits(rows, most)
    for (const [i, test] of open.entries()) {
      const known = test.greedy.length
      const read = lastPositions(logits[i], model.vocabSize, newTokens - known)
      const tops = read.map(position => largest(position, Math.max(2, topLogits)))
      for (const [j, top] of tops.entries()) {
        if (known + j === 0) test.top = top.slice(0, topLogits)
        test.margin = Math.min(test.margin, top[0]!.logit - (top[1]?.logit ?? Number.NEGATIVE_INFINITY))
        test.greedy.push(top[0]!.id)
        if (test.guess[j] !== top[0]!.id) break
      }
      test.guess = tops.slice(test.greedy.length - known, -1).map(top => top[0]!.id)
    }
  }
  return { format, cases: cases.map(({ guess: _, ...test }) => test) }
}

/** The logits of a row's last positions, in order. */
function lastPositions(logits: Float32Array | undefined, vocabSize: number, count: number): Float32Array[] {
  if (logits === undefined || logits.length < count * vocabSize || logits.length % vocabSize !== 0) {
    throw new RangeError(`${logits?.length ?? 'no'} logits for ${count} positions of a vocabulary of ${vocabSize}`)
  }
  const start = logits.length - count * vocabSize
  return Array.from({ length: count }, (_, i) => logits.subarray(start + i * vocabSize, start + (i + 1) * vocabSize))
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
