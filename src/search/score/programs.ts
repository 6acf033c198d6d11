import { tf } from '../../../kernels/tf.js'
import { tokenCrossEntropy, tokenLogits, tokenLogProbabilities } from '../../../kernels/token-cross-entropy.js'
import { forestSpec, MAX_ROWS } from '../../model/forest.js'
import { forwardForest, targetsOf } from '../../model/forward.js'
import type { LanguageModel } from '../../model/language-model.js'
import { Program, type ProgramInput, type ProgramSpec, type WeightFile } from '../../program/program.js'
import type { PromptMethod } from '../../prompts/method.js'

/** What a gradient is of, as a weighted sum over target tokens: their cross entropies, or their negated logits. */
export type LossKind = 'cross-entropy' | 'negated-logits'

type Kind = 'scores' | 'guesses' | 'logits' | 'states' | 'project' | 'mix' | 'policy' | 'policy-gradient' | LossKind
type Inputs = Readonly<Record<string, ProgramInput>>

/** Parameters of a policy's network: two layers, M units between them. */
export const policyInputs = { inWeight: ['d', 'M'], inBias: ['M'], outWeight: ['M', 'd'], outBias: ['d'] } as const

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

  /** Whether `guesses` are another thing than `scores`, and faster. */
  async canGuess(): Promise<boolean> {
    const { prompts } = await this.model.storedWeights()
    return prompts !== this.model.weights
  }

  /** As `scores`, with weights and activations in 8 bits. */
  async guesses(inputs: Inputs): ReturnType<SearchPrograms['scores']> {
    return (await this.run('guesses', inputs)) as Awaited<ReturnType<SearchPrograms['scores']>>
  }

  /** Logits of a `TokenTree`'s read rows, [Q, V]. */
  async logits(inputs: Inputs): Promise<Float32Array> {
    return (await this.run('logits', inputs)).logits as Float32Array
  }

  /**
   * Weighted loss of a `Forest`'s targets, and its gradient with respect to every embedded row.
   * @param inputs besides, `logitScale` [Q]: what the logits behind each read row are multiplied by
   * @param offset what is added to the embedded rows, [R, d]
   * @returns gradient [R, d]
   */
  async gradient(kind: LossKind, inputs: Inputs, offset: Float32Array): Promise<{ loss: number; gradient: Float32Array }> {
    const { loss, gradient } = await this.run(kind, { ...inputs, offset })
    return { loss: (loss as Float32Array)[0]!, gradient: gradient as Float32Array }
  }

  /** Hidden states of a `TokenTree`'s read rows, as the head takes them, [Q, d]. */
  async states(inputs: Inputs): Promise<Float32Array> {
    return (await this.run('states', inputs)).states as Float32Array
  }

  /**
   * Logits that the model's head gives to hidden states behind a small network.
   * @param inputs `states` [F, d], `bias` [V] that is added to the logits, and the network of `policyInputs`
   * @returns [F, V]
   */
  async policy(inputs: Inputs): Promise<Float32Array> {
    return (await this.run('policy', inputs)).logits as Float32Array
  }

  /**
   * The gradient of a weighted sum of tokens' log-probabilities under `policy`, by the network's parameters.
   * @param inputs as `policy` takes them, with `actions` (ids, [F] int32) and `weights` [F]
   */
  async policyGradient(inputs: Inputs): Promise<Readonly<Record<keyof typeof policyInputs, Float32Array>>> {
    return (await this.run('policy-gradient', inputs)) as Readonly<Record<keyof typeof policyInputs, Float32Array>>
  }

  /** Products of vectors with the embedding of every token, as the first layer takes it: [F, d] -> [F, V]. */
  async project(vectors: Float32Array): Promise<Float32Array> {
    return (await this.run('project', { vectors })).products as Float32Array
  }

  /** Sums of the embeddings of all tokens, as the first layer takes them: [F, V] -> [F, d]. */
  async mix(weights: Float32Array): Promise<Float32Array> {
    return (await this.run('mix', { weights })).rows as Float32Array
  }

  async dispose(): Promise<void> {
    const programs = await Promise.allSettled(this.programs.values())
    this.programs.clear()
    for (const program of programs) if (program.status === 'fulfilled') await program.value.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  private async run(kind: Kind, inputs: Inputs) {
    let program = this.programs.get(kind)
    if (program === undefined) {
      program = this.compile(kind)
      this.programs.set(kind, program)
      program.catch(() => this.programs.delete(kind))
    }
    return (await program).run(inputs)
  }

  private async compile(kind: Kind): Promise<Program> {
    const { device, threads, weights } = this.model
    const spec = this.spec(kind, kind === 'guesses' ? (await this.model.storedWeights()).prompts : weights)
    return Program.compile(spec, { device, threads })
  }

  private spec(kind: Kind, weights: WeightFile): ProgramSpec {
    const { checkpoint } = this.model
    const { family, config } = checkpoint
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
        fn: ({ vectors }, weight) => ({ products: family.embeddingProducts(config, weight, vectors!) }),
      }
    if (kind === 'mix')
      return {
        ...common,
        dims,
        inputs: { weights: { shape: ['F', config.vocabSize], dtype: 'float32' } },
        fn: (given, weight) => ({ rows: family.embeddingSums(config, weight, given.weights!) }),
      }
    if (kind === 'policy' || kind === 'policy-gradient') return this.policySpec(kind, common)
    const differentiated = kind === 'cross-entropy' || kind === 'negated-logits'
    const forest = forestSpec({ placement: moved.placement({ type: '' }, config), children: !differentiated })
    const statesOf = (given: Record<string, tf.Tensor>, weight: (name: string) => tf.Tensor, offset?: tf.Tensor) => {
      const prompt = offset && { method: moved, config: { type: moved.type }, parameters: { offset } }
      return forwardForest({ family, config, weight, given, ...(prompt && { prompt }) }) // [Q, d]
    }
    const logitsOf: typeof statesOf = (given, weight, offset) => family.logits(config, weight, statesOf(given, weight, offset)) // [Q, V]
    if (kind === 'states') return { ...common, ...forest, fn: (given, weight) => ({ states: statesOf(given, weight) }) }
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
      inputs: {
        ...forest.inputs,
        offset: { shape: ['P+S', config.hiddenSize], dtype: 'float32' },
        logitScale: { shape: forest.inputs.readIndex!.shape, dtype: 'float32' },
      },
      fn: (given, weight) => {
        const targets = targetsOf(given)
        const loss = (offset: tf.Tensor) => {
          const logits = tf.mul(logitsOf(given, weight, offset), tf.expandDims(given.logitScale!, 1)) // [Q, V]
          if (kind === 'cross-entropy') return tokenCrossEntropy(logits, targets)
          return tf.neg(tf.sum(tf.mul(tokenLogits(logits, targets.row, targets.target), targets.weight))) as tf.Scalar
        }
        const { value, grads } = tf.valueAndGrads(loss)([given.offset!])
        return { loss: value, gradient: grads[0]! }
      },
    }
  }

  private policySpec(kind: 'policy' | 'policy-gradient', common: Pick<ProgramSpec, 'name' | 'weights' | 'key'>): ProgramSpec {
    const { family, config } = this.model.checkpoint
    const { hiddenSize: d, vocabSize } = config
    const sized = (shape: readonly string[]) => shape.map(size => (size === 'd' ? d : size))
    const names = Object.keys(policyInputs) as (keyof typeof policyInputs)[]
    const inputs = {
      states: { shape: ['F', d], dtype: 'float32' },
      bias: { shape: [vocabSize], dtype: 'float32' },
      ...Object.fromEntries(names.map(name => [name, { shape: sized(policyInputs[name]), dtype: 'float32' }])),
    } as ProgramSpec['inputs']
    const dims = { F: [1, MAX_ROWS] as const, M: [1, MAX_ROWS] as const }
    const logitsOf = (given: Record<string, tf.Tensor>, weight: (name: string) => tf.Tensor) => {
      const { states, bias, inWeight, inBias, outWeight, outBias } = given as Record<string, tf.Tensor2D>
      const inner = tf.relu(tf.add(tf.matMul(states!, inWeight!), inBias!)) as tf.Tensor2D // [F, M]
      const moved = tf.add(tf.matMul(inner, outWeight!), outBias!) // [F, d]
      return tf.add(family.logits(config, weight, moved), bias!) // [F, V]
    }
    if (kind === 'policy') return { ...common, dims, inputs, fn: (given, weight) => ({ logits: logitsOf(given, weight) }) }
    return {
      ...common,
      dims,
      inputs: {
        ...inputs,
        rows: { shape: ['F'], dtype: 'int32' },
        actions: { shape: ['F'], dtype: 'int32' },
        weights: { shape: ['F'], dtype: 'float32' },
      },
      fn: (given, weight) => {
        const { rows, actions, weights } = given
        const sum = (...parameters: tf.Tensor[]) => {
          const own = { ...given, ...Object.fromEntries(names.map((name, i) => [name, parameters[i]!])) }
          const targets = { row: rows!, target: actions!, weight: weights!, rowWeight: weights! }
          return tf.neg(tokenCrossEntropy(logitsOf(own, weight), targets)) as tf.Scalar
        }
        const { grads } = tf.valueAndGrads(sum)(names.map(name => given[name]!))
        return Object.fromEntries(names.map((name, i) => [name, grads[i]!]))
      },
    }
  }
}
