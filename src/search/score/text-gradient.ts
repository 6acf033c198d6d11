import { fluencyWeight } from '../../losses/fluency.js'
import { meanCrossEntropy } from '../../losses/index.js'
import type { ActiveLoss, Loss } from '../../losses/loss.js'
import { negatedLogits } from '../../losses/negated-logits.js'
import { Forest, type Target } from '../../model/forest/forest.js'
import { isInTurn } from '../../model/forest/groups.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { SearchRow } from '../space/token-space.js'
import { fedLength, type ReadSequence } from '../space/token-tree.js'
import type { SearchPrograms } from './programs.js'

/** Gradients of losses with respect to the embeddings of prompts' tokens. Where the sequences come from is unknown here. */

export interface TextGradient {
  readonly loss: number
  /** Of every position, means over the prompts: [L, d] */
  readonly gradient: Float32Array
}

/** What a gradient is of. */
export interface TextLoss {
  /**
   * What each token of a sequence's answer weighs, where the loss is of its negated logits: a mellowmax's weights. Otherwise it is of its
   * cross entropy.
   */
  readonly logitWeights?: readonly Float64Array[] | undefined
  /** What each token of a sequence's answer weighs in the cross entropy; by default 1 / the answer's tokens. */
  readonly tokenWeights?: readonly number[] | undefined
  /** Weight of the mean negative log-likelihood of what is read before the answer; 0 for none. */
  readonly fluency: number
  /** Divides the logits of the answer's tokens. */
  readonly temperature: number
}

const logitLoss: ActiveLoss = { loss: negatedLogits as unknown as Loss, options: { type: 'negated-logits' } }

/**
 * @param prompts [prompts.length][L]
 * @param sequences of each prompt all rows, prompt after prompt
 * @param offsets what is added to the embeddings of each prompt, [L, d]
 * @param before called before each run
 * @param after called with the rows that a run has computed
 */
export async function textGradient(
  { model, programs }: { readonly model: LanguageModel; readonly programs: SearchPrograms },
  given: {
    readonly prompts: readonly (readonly number[])[]
    readonly rows: readonly SearchRow[]
    readonly sequences: readonly ReadSequence[]
    readonly offsets?: readonly Float32Array[] | undefined
  },
  { logitWeights, tokenWeights, fluency, temperature }: TextLoss,
  { before, after }: { before(): Promise<void>; after(rows: number): void },
): Promise<TextGradient> {
  const { prompts, rows, sequences, offsets } = given
  const { hiddenSize } = model.config
  const share = 1 / (prompts.length * rows.length)
  const gradient = new Float32Array(prompts[0]!.length * hiddenSize)
  let loss = 0
  const parts = model.memory.split(sequences.map(fedLength), {
    headRows: sequences.map(({ reads }) => reads.length),
    training: true,
  })
  for (const [start, end] of parts) {
    await before()
    const part = sequences.slice(start, end)
    const forest = new Forest(
      part.map(sequence => ({ ids: sequence.ids.slice(0, fedLength(sequence)) })),
      { numVirtualTokens: 0, position: 'before-bos' },
      { inTurn: isInTurn },
    )
    const targets = (isAnswer: boolean) =>
      part.flatMap(({ reads }, i): Target[] => {
        const answer = rows[(start + i) % rows.length]!.answer.length
        const [from, to] = isAnswer ? [reads.length - answer, reads.length] : [0, reads.length - answer]
        return reads.slice(from, to).map(({ position, id }, j) => ({
          row: forest.rowOf(i, position - 1)!,
          id,
          weight: isAnswer
            ? share * (logitWeights?.[start + i]?.[j] ?? tokenWeights?.[start + i] ?? 1 / answer)
            : fluencyWeight(share, fluency, to - from),
        }))
      })
    const offset = new Float32Array(forest.rows * hiddenSize)
    const places = new Map<number, { prompt: number; position: number }>()
    for (const i of part.keys()) {
      const [prompt, row] = [Math.floor((start + i) / rows.length), rows[(start + i) % rows.length]!]
      for (let position = 0; position < prompts[prompt]!.length; position++) {
        const place = row.before.length + position
        // What stands behind the last read is not computed.
        if (place < fedLength(part[i]!)) places.set(forest.rowOf(i, place)!, { prompt, position })
      }
    }
    if (offsets !== undefined)
      for (const [row, { prompt, position }] of places)
        offset.set(offsets[prompt]!.subarray(position * hiddenSize, (position + 1) * hiddenSize), row * hiddenSize)
    const [texts, answers] = [targets(false), targets(true)]
    // Negated logits are not the cross entropy that the fluency term is: with both there are two passes.
    const passes =
      logitWeights === undefined
        ? [{ kind: meanCrossEntropy, texts, answers }]
        : [{ kind: logitLoss, texts: [], answers }, ...(fluency > 0 ? [{ kind: meanCrossEntropy, texts, answers: [] }] : [])]
    for (const { kind, texts, answers } of passes) {
      const { inputs } = forest.inputs([...texts, ...answers])
      const scaled = new Map(answers.map(({ row }) => [row, 1 / temperature]))
      const readIndex = inputs.readIndex as { data: Int32Array }
      const logitScale = Float32Array.from(readIndex.data, row => scaled.get(row) ?? 1)
      const result = await programs.gradient(kind, { ...inputs, logitScale }, offset, forest.layout)
      loss += result.loss
      for (const [row, { position }] of places)
        for (let k = 0; k < hiddenSize; k++) gradient[position * hiddenSize + k]! += result.gradient[row * hiddenSize + k]!
    }
    after(forest.rows)
  }
  return { loss, gradient }
}
