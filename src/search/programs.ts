import { tf } from '../../kernels/tf.js'
import { tokenCrossEntropy, tokenLogits, tokenLogProbabilities } from '../../kernels/token-cross-entropy.js'
import { forestSpec } from '../model/forest.js'
import { forwardForest, targetsOf } from '../model/forward.js'
import type { LanguageModel } from '../model/language-model.js'
import { Program, type ProgramInput, type ProgramSpec } from '../program/program.js'
import type { PromptMethod } from '../prompts/method.js'

/** What a gradient is of, as a weighted sum over target tokens: their cross entropies, or their negated logits. */
export type LossKind = 'cross-entropy' | 'negated-logits'

type Kind = 'scores' | 'logits' | 'project' | 'mix' | LossKind
type Inputs = Readonly<Record<string, ProgramInput>>

const MAX_ROWS = 1 << 17

/** Adds rows to the embedded text: what a gradient is taken of, and how a row is moved off the vocabulary. */
const moved: PromptMethod = {
  type: 'moved-rows',
  paper: '',
  learningRate: 1,
  placement: () => ({ numVirtualTokens: 0, position: 'before-bos' }),
  parameters: () => [],
  initialise: () => Promise.resolve(new Map()),
  offset: (_, { offset }) => offset!,
}

/** The programs of a search over one model, compiled when they are first needed. */
export class SearchPrograms {
  private readonly programs = new Map<Kind, Promise<Program>>()

  constructor(private readonly model: LanguageModel) {}

  /**
   * Of a `TokenTree`'s targets.
   * @returns log-probabilities and logits [N]; the highest logit of each read row, [Q]
   */
  async scores(inputs: Inputs): Promise<{ logProbabilities: Float32Array; logits: Float32Array; highest: Float32Array }> {
    return (await this.run('scores', inputs)) as { logProbabilities: Float32Array; logits: Float32Array; highest: Float32Array }
  }

  /** Logits of a `TokenTree`'s read rows, [Q, V]. */
  async logits(inputs: Inputs): Promise<Float32Array> {
    return (await this.run('logits', inputs)).logits as Float32Array
  }

  /**
   * Weighted loss of a `Forest`'s targets, and its gradient with respect to every embedded row.
   * @param offset what is added to the embedded rows, [R, d]
   * @returns gradient [R, d]
   */
  async gradient(kind: LossKind, inputs: Inputs, offset: Float32Array): Promise<{ loss: number; gradient: Float32Array }> {
    const { loss, gradient } = await this.run(kind, { ...inputs, offset })
    return { loss: (loss as Float32Array)[0]!, gradient: gradient as Float32Array }
  }

  /** Products of vectors with every row of the embedding table: [F, d] -> [F, V]. */
  async project(vectors: Float32Array): Promise<Float32Array> {
    return (await this.run('project', { vectors })).products as Float32Array
  }

  /** Sums of the rows of the embedding table: [F, V] -> [F, d]. */
  async mix(weights: Float32Array): Promise<Float32Array> {
    return (await this.run('mix', { weights })).rows as Float32Array
  }

  async dispose(): Promise<void> {
    const programs = await Promise.allSettled(this.programs.values())
    this.programs.clear()
    for (const program of programs) if (program.status === 'fulfilled') await program.value.dispose()
  }

  private async run(kind: Kind, inputs: Inputs) {
    let program = this.programs.get(kind)
    if (program === undefined) {
      const { device, threads } = this.model
      program = Program.compile(this.spec(kind), { device, threads })
      this.programs.set(kind, program)
      program.catch(() => this.programs.delete(kind))
    }
    return (await program).run(inputs)
  }

  private spec(kind: Kind): ProgramSpec {
    const { weights, checkpoint } = this.model
    const { family, config } = checkpoint
    const table = (weight: (name: string) => tf.Tensor) => weight(family.embedding) as tf.Tensor2D
    const common = {
      name: `${family.name} search ${kind}`,
      weights,
      key: { kind: `search ${kind}`, family: family.name, config },
    }
    const dims = { F: [1, MAX_ROWS] as const }
    if (kind === 'project')
      return {
        ...common,
        dims,
        inputs: { vectors: { shape: ['F', config.hiddenSize], dtype: 'float32' } },
        fn: ({ vectors }, weight) => ({ products: tf.matMul(vectors as tf.Tensor2D, table(weight), false, true) }),
      }
    if (kind === 'mix')
      return {
        ...common,
        dims,
        inputs: { weights: { shape: ['F', config.vocabSize], dtype: 'float32' } },
        fn: (given, weight) => ({ rows: tf.matMul(given.weights as tf.Tensor2D, table(weight)) }),
      }
    const differentiated = kind === 'cross-entropy' || kind === 'negated-logits'
    const forest = forestSpec({ placement: moved.placement({ type: '' }, config), children: !differentiated, maxRows: MAX_ROWS })
    const logitsOf = (given: Record<string, tf.Tensor>, weight: (name: string) => tf.Tensor, offset?: tf.Tensor) => {
      const prompt = offset && { method: moved, config: { type: moved.type }, parameters: { offset } }
      return family.logits(config, weight, forwardForest({ family, config, weight, given, ...(prompt && { prompt }) })) // [Q, V]
    }
    if (!differentiated)
      return {
        ...common,
        ...forest,
        fn: (given, weight) => {
          const { row, target } = targetsOf(given)
          const logits = logitsOf(given, weight)
          if (kind === 'logits') return { logits }
          return {
            logProbabilities: tokenLogProbabilities(logits, row, target),
            logits: tokenLogits(logits, row, target),
            highest: tf.max(logits, -1),
          }
        },
      }
    return {
      ...common,
      dims: forest.dims,
      inputs: { ...forest.inputs, offset: { shape: ['P+S', config.hiddenSize], dtype: 'float32' } },
      fn: (given, weight) => {
        const targets = targetsOf(given)
        const loss = (offset: tf.Tensor) => {
          const logits = logitsOf(given, weight, offset)
          if (kind === 'cross-entropy') return tokenCrossEntropy(logits, targets)
          return tf.neg(tf.sum(tf.mul(tokenLogits(logits, targets.row, targets.target), targets.weight))) as tf.Scalar
        }
        const { value, grads } = tf.valueAndGrads(loss)([given.offset!])
        return { loss: value, gradient: grads[0]! }
      },
    }
  }
}
