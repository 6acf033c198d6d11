import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { crossEntropy } from '../../losses/cross-entropy.js'
import { type ActiveLoss, totalLoss } from '../../losses/loss.js'
import { tellFirstAlone } from '../../model/devices/first-alone.js'
import type { ForestLayout } from '../../model/forest/groups.js'
import { forestSpec, MAX_ROWS } from '../../model/forest/spec.js'
import { forwardForest } from '../../model/forward.js'
import type { LanguageModel } from '../../model/language-model.js'
import { type Reading, readingRequest, readRows, scaled, scaleFeed, scaleInput } from '../../model/model-programs.js'
import { logitsReading, statesReading, targetScores } from '../../model/readings.js'
import { OpenPrograms, type ProgramRequest } from '../../program/open-programs.js'
import type { InputSpec, ProgramInput, ProgramSpec } from '../../program/program.js'
import type { PromptMethod } from '../../prompts/method.js'

/**
 * The programs of a search over one model: readings of trees of tokens, gradients by rows of a text, products with the embedding table,
 * and a policy's network. What is searched for, and which losses there are, is unknown here.
 */

type Inputs = Readonly<Record<string, ProgramInput>>
type Tensors = Readonly<Record<string, tf.Tensor>>
type Weights = (name: string) => tf.Tensor

/** Parameters of a policy's network: two layers, M units between them. */
export const policyInputs = { inWeight: ['d', 'M'], inBias: ['M'], outWeight: ['M', 'd'], outBias: ['d'] } as const

/** Adds rows to the embedded text: what a gradient is taken of, and how a row is moved off the vocabulary. */
const moved: PromptMethod = declareCode(import.meta.url, {
  type: 'moved-rows',
  paper: '',
  learningRate: 1,
  placement: () => ({ numVirtualTokens: 0, position: 'before-bos' }),
  parameters: () => [],
  initialise: () => Promise.resolve(new Map()),
  offset: (_, { offset }) => offset!,
})

/** The programs of a search over one model, compiled when they are first needed. */
export class SearchPrograms {
  readonly #model: LanguageModel
  readonly #programs: OpenPrograms

  constructor(model: LanguageModel) {
    tellFirstAlone(model, 'the steps of a search')
    this.#model = model
    this.#programs = new OpenPrograms(model, `the search on ${model.name}`)
  }

  /**
   * Of a `TokenTree`'s targets.
   * @returns log-probabilities and logits [N]; the highest logit of each read row, [Q]
   */
  async scores(inputs: Inputs): Promise<{ logProbabilities: Float32Array; logits: Float32Array; highest: Float32Array }> {
    return (await this.#read(targetScores, inputs)) as Awaited<ReturnType<SearchPrograms['scores']>>
  }

  /** Whether `guesses` are another thing than `scores`, and faster. */
  async canGuess(): Promise<boolean> {
    const { prompts } = await this.#model.storedWeights()
    return prompts !== this.#model.weights
  }

  /** As `scores`, with weights and activations in 8 bits. */
  async guesses(inputs: Inputs): ReturnType<SearchPrograms['scores']> {
    const { prompts } = await this.#model.storedWeights()
    return (await this.#read(targetScores, inputs, prompts)) as Awaited<ReturnType<SearchPrograms['scores']>>
  }

  /** Logits of a `TokenTree`'s read rows, [Q, V]. */
  async logits(inputs: Inputs): Promise<Float32Array> {
    return (await this.#read(logitsReading, inputs)).logits as Float32Array
  }

  /** Hidden states of a `TokenTree`'s read rows, as the head takes them, [Q, d]. */
  async states(inputs: Inputs): Promise<Float32Array> {
    return (await this.#read(statesReading, inputs)).states as Float32Array
  }

  /**
   * A loss of a `Forest`'s targets, and its gradient with respect to every embedded row.
   * @param loss one without inputs of its own
   * @param inputs besides, `logitScale` [Q]: what the logits behind each read row are multiplied by
   * @param offset what is added to the embedded rows, [R, d]
   * @param layout the forest's
   * @returns gradient [R, d]
   */
  async gradient(
    loss: ActiveLoss,
    inputs: Inputs,
    offset: Float32Array,
    layout: ForestLayout,
  ): Promise<{ loss: number; gradient: Float32Array }> {
    const program = await this.#programs.open(this.#gradientRequest(loss, layout))
    const compute = async (scale?: number) => {
      const { loss: value, gradient } = await program.run({ ...inputs, offset, ...scaleFeed(scale) })
      return { loss: (value as Float32Array)[0]!, gradient: gradient as Float32Array, scaled: [gradient as Float32Array] }
    }
    const { lossScale } = this.#model
    const { loss: value, gradient } = await (lossScale === undefined ? compute() : lossScale.gradients(compute))
    return { loss: value, gradient }
  }

  /**
   * Logits that the model's head gives to hidden states behind a small network.
   * @param inputs `states` [F, d], `bias` [V] that is added to the logits, and the network of `policyInputs`
   * @returns [F, V]
   */
  async policy(inputs: Inputs): Promise<Float32Array> {
    return (await this.#run('policy', inputs)).logits as Float32Array
  }

  /**
   * The gradient of a weighted sum of tokens' log-probabilities under `policy`, by the network's parameters.
   * @param inputs as `policy` takes them, with `actions` (ids, [F] int32) and `weights` [F]
   */
  async policyGradient(inputs: Inputs): Promise<Readonly<Record<keyof typeof policyInputs, Float32Array>>> {
    const compute = async (scale?: number) => {
      const gradients = (await this.#run('policy-gradient', { ...inputs, ...scaleFeed(scale) })) as Record<string, Float32Array>
      return { loss: 0, gradients, scaled: Object.values(gradients) }
    }
    const { lossScale } = this.#model
    const { gradients } = await (lossScale === undefined ? compute() : lossScale.gradients(compute))
    return gradients as Readonly<Record<keyof typeof policyInputs, Float32Array>>
  }

  /** Products of vectors with the embedding of every token, as the first layer takes it: [F, d] -> [F, V]. */
  async project(vectors: Float32Array): Promise<Float32Array> {
    return (await this.#run('project', { vectors })).products as Float32Array
  }

  /** Sums of the embeddings of all tokens, as the first layer takes them: [F, V] -> [F, d]. */
  async mix(weights: Float32Array): Promise<Float32Array> {
    return (await this.#run('mix', { weights })).rows as Float32Array
  }

  dispose(): Promise<void> {
    return this.#programs.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  async #read(reading: Reading, inputs: Inputs, weights = this.#model.weights) {
    const { checkpoint } = this.#model
    const program = await this.#programs.open(
      readingRequest({ checkpoint, weights }, reading, undefined, { layout: 'overlapping' }),
    )
    return program.run(inputs)
  }

  async #run(name: keyof typeof tableCode, inputs: Inputs) {
    const { checkpoint, weights } = this.#model
    const { family, config } = checkpoint
    const program = await this.#programs.open({
      name: `${family.name} search ${name}`,
      origin: { module: import.meta.url, parts: [family], options: { config, weights: weights.hash } },
      spec: () => ({ ...tableCode[name](this.#model), weights }),
    })
    return program.run(inputs)
  }

  #gradientRequest(loss: ActiveLoss, layout: ForestLayout): ProgramRequest {
    const { checkpoint, weights } = this.#model
    const { family, config } = checkpoint
    return {
      name: `${family.name} search gradient`,
      origin: {
        module: import.meta.url,
        parts: [family, loss.loss],
        options: { config, loss: loss.options, layout, weights: weights.hash },
      },
      spec: () => {
        const forest = forestSpec({ placement: moved.placement({ type: '' }, config), layout })
        return {
          dims: forest.dims,
          inputs: {
            ...forest.inputs,
            offset: { shape: ['P+S', config.hiddenSize], dtype: 'float32' },
            logitScale: { shape: forest.inputs.readIndex!.shape, dtype: 'float32' },
            ...scaleInput(weights),
          },
          weights,
          fn: (given, weight) => {
            let value: tf.Scalar | undefined
            const lossOf = (offset: tf.Tensor) => {
              const prompt = { method: moved, config: { type: moved.type }, parameters: { offset } }
              const hidden = forwardForest({ family, config, weight, given, prompt }) // [Q, d]
              const logits = (rows: tf.Tensor) => tf.mul(family.logits(config, weight, rows), tf.expandDims(given.logitScale!, 1)) // [Q, V]
              value = tf.keep(totalLoss([loss], readRows(hidden, logits, given), given, config).loss)
              return scaled(value, given)
            }
            const { grads } = tf.valueAndGrads(lossOf)([given.offset!])
            return { loss: value!, gradient: grads[0]! }
          },
        }
      },
    }
  }
}

type TableCode = (model: LanguageModel) => Omit<ProgramSpec, 'name' | 'origin' | 'weights'>

const rows = { F: [1, MAX_ROWS] } as const

/** Programs that need no forest: products with the embedding table, and a policy between hidden states and the head. */
const tableCode = {
  project: ({ checkpoint: { family, config } }) => ({
    dims: rows,
    inputs: { vectors: { shape: ['F', config.hiddenSize], dtype: 'float32' } },
    fn: ({ vectors }, weight) => ({
      products: family.embeddingProducts(config, weight, vectors!),
    }),
  }),
  mix: ({ checkpoint: { family, config } }) => ({
    dims: rows,
    inputs: { weights: { shape: ['F', config.vocabSize], dtype: 'float32' } },
    fn: (given, weight) => ({ rows: family.embeddingSums(config, weight, given.weights!) }),
  }),
  policy: model => ({
    dims: policyDims,
    inputs: policySpec(model),
    fn: (given, weight) => ({ logits: policyLogits(model, given, weight) }),
  }),
  'policy-gradient': model => ({
    dims: policyDims,
    inputs: {
      ...policySpec(model),
      rows: { shape: ['F'], dtype: 'int32' },
      actions: { shape: ['F'], dtype: 'int32' },
      weights: { shape: ['F'], dtype: 'float32' },
      ...scaleInput(model.weights),
    },
    fn: (given, weight) => {
      const { rows, actions, weights } = given
      const targets = { row: rows!, target: actions!, weight: weights!, rowWeight: weights! }
      const sum = (...parameters: tf.Tensor[]) => {
        const own = { ...given, ...Object.fromEntries(policyNames.map((name, i) => [name, parameters[i]!])) }
        const read = { logits: policyLogits(model, own, weight), hidden: given.states!, targets, given }
        return scaled(tf.neg(crossEntropy.compute({ type: 'cross-entropy', labelSmoothing: 0 }, read).loss) as tf.Scalar, given)
      }
      const { grads } = tf.valueAndGrads(sum)(policyNames.map(name => given[name]!))
      return Object.fromEntries(policyNames.map((name, i) => [name, grads[i]!]))
    },
  }),
} satisfies Readonly<Record<string, TableCode>>

const policyNames = Object.keys(policyInputs) as (keyof typeof policyInputs)[]
const policyDims = { ...rows, M: [1, MAX_ROWS] } as const

function policySpec({ config }: LanguageModel): Record<string, InputSpec> {
  const { hiddenSize, vocabSize } = config
  const sized = (shape: readonly string[]) => shape.map(size => (size === 'd' ? hiddenSize : size))
  const network = policyNames.map((name): [string, InputSpec] => [name, { shape: sized(policyInputs[name]), dtype: 'float32' }])
  return {
    states: { shape: ['F', hiddenSize], dtype: 'float32' },
    bias: { shape: [vocabSize], dtype: 'float32' },
    ...Object.fromEntries(network),
  }
}

/** [F, V] */
function policyLogits({ checkpoint: { family, config } }: LanguageModel, given: Tensors, weight: Weights): tf.Tensor {
  const { states, bias, inWeight, inBias, outWeight, outBias } = given as Record<string, tf.Tensor2D>
  const inner = tf.relu(tf.add(tf.matMul(states!, inWeight!), inBias!)) as tf.Tensor2D // [F, M]
  const moved = tf.add(tf.matMul(inner, outWeight!), outBias!) // [F, d]
  return tf.add(family.logits(config, weight, moved), bias!) // [F, V]
}
