import { tf } from '../../kernels/tf.js'
import type { AttentionCall } from '../../models/blocks/family.js'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { GradpromptError } from '../errors.js'
import { inWords } from '../own-calls.js'
import type { OpenPrograms, ProgramRequest } from '../program/open-programs.js'
import type { ProgramInput } from '../program/program.js'
import { changedRows } from '../prompts/hook-results.js'
import { tensorOptions } from '../prompts/method.js'
import { type ActivePrompt, parameterInputs, placementOf, plainPrompt, type SoftPrompt } from './active-prompt.js'
import { Forest, type Target } from './forest/forest.js'
import { forestSpec } from './forest/spec.js'
import { forwardForest } from './forward.js'
import type { LanguageModel } from './language-model.js'
import { type LabelledRow, requireContext, requireIds, requireLists } from './row.js'
import { gigabytes } from './weights/weight-file.js'

/**
 * Looking into a model: what its layers take, what its attention sees, what changes when the rows of a layer are changed, and what each
 * row by itself has to say. Every row is computed alone, so these calls are for questions, not for speed: training, scoring and
 * generation have programs of their own.
 */

/** Tensor code that changes the rows of layers while a model runs, compiled with it. */
export interface LayerHook {
  /**
   * @param layer counted from 0
   * @param x the rows that the layer takes, [R, hiddenSize]; those of a soft prompt and of padding are among them
   * @param inputs the tensors of `inputs`, by their names
   * @returns the rows that it takes instead, of the same shape; undefined: as they are
   */
  rows(layer: number, x: tf.Tensor2D, inputs: Readonly<Record<string, tf.Tensor>>): tf.Tensor2D | undefined
  /** What the code takes beside the rows. Other numbers of the same shapes need no new program. */
  readonly inputs?: Readonly<Record<string, HookInput>> | undefined
}

export interface HookInput {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

export interface ForwardPassOptions {
  /** What every layer takes, and what the head does. */
  readonly hiddenStates?: boolean | undefined
  /** What each token's attention gives to each position, head by head. */
  readonly attentions?: boolean | undefined
  /** Acts on every row, as plain rows in front of it or as a method's; its own rows have no place in the result but as keys. */
  readonly prompt?: SoftPrompt | ActivePrompt | undefined
  /** Changes the rows of layers. A program is compiled for each function `rows`: keep it, and change its `inputs`. */
  readonly hook?: LayerHook | undefined
}

/** What a model makes of one row. */
export interface ForwardPass {
  /** [length * vocabSize] */
  readonly logits: Float32Array
  /** `numLayers + 1` of [length * hiddenSize]: what each layer takes (the first: the embeddings), then the normalised rows of the head. */
  readonly hiddenStates?: readonly Float32Array[]
  /** `numLayers` of [heads * length * keys]; keys are the virtual tokens of the prompt, then the tokens of the row. Each row of keys sums to 1. */
  readonly attentions?: readonly Float32Array[]
}

/** Loss of one row, and its gradient with respect to a soft prompt before it. */
export interface RowGradient {
  readonly loss: number
  /** [m * hiddenSize] */
  readonly gradient: Float32Array
}

/** Looks into a model by programs of its own, which stay open with the model's. */
export class ModelInspection {
  readonly #model: LanguageModel
  readonly #programs: OpenPrograms

  constructor(model: LanguageModel, programs: OpenPrograms) {
    this.#model = model
    this.#programs = programs
  }

  /** @throws GradpromptError `context-exceeded`, `invalid-token-id`, `not-enough-memory`, `unsupported-prompt`, and as compiling does */
  async forward(rows: readonly (readonly number[])[], options: ForwardPassOptions = {}): Promise<ForwardPass[]> {
    this.#programs.refuseDisposed()
    refuseUnknown('forward', options, names)
    if (options.hook !== undefined && typeof (options.hook as Partial<LayerHook>).rows !== 'function')
      throw new GradpromptError('invalid-hook', 'the hook has no rows', {
        found: inWords(options.hook),
        expected: '{ rows: (layer, x, inputs) => the changed rows, or nothing }',
      })
    const { config } = this.#model
    const prompt = options.prompt && ('method' in options.prompt ? options.prompt : plainPrompt(options.prompt, config))
    if (options.attentions === true) refuseHidden(prompt, this.#model)
    requireLists(rows)
    requireIds(rows, config, prompt)
    requireContext(
      rows.map(({ length }) => length),
      config,
      prompt,
    )
    const longest = Math.max(0, ...rows.map(({ length }) => length))
    this.#requireMemory(longest + placementOf(prompt, config).numVirtualTokens, options)
    const results: ForwardPass[] = []
    for (const ids of rows) results.push(ids.length === 0 ? this.#nothing(options) : await this.#pass(ids, prompt, options))
    return results
  }

  async #pass(ids: readonly number[], prompt: ActivePrompt | undefined, options: ForwardPassOptions): Promise<ForwardPass> {
    const { hiddenStates = false, attentions = false, hook } = options
    const { hiddenSize, numLayers, numAttentionHeads: heads } = this.#model.config
    const forest = new Forest([{ ids }], placementOf(prompt, this.#model.config))
    const targets = ids.map((_, j): Target => ({ row: forest.rowOf(0, j)!, id: 0, weight: 0 }))
    const { inputs } = forest.inputs(targets)
    const program = await this.#programs.open(passRequest(this.#model, prompt, { hiddenStates, attentions, hook }))
    const given = Object.entries(hook?.inputs ?? {}).map(([name, input]): [string, ProgramInput] => [`hook:${name}`, input])
    const outputs = (await program.run({
      ...inputs,
      ...parameterInputs(prompt),
      ...Object.fromEntries(given),
    })) as Record<string, Float32Array>
    const blocks = (name: string, count: number, size: number) =>
      Array.from({ length: count }, (_, i) => outputs[name]!.slice(i * size, (i + 1) * size))
    const { length } = ids
    const keys = forest.rows
    // Where nothing is shared a row stands before the tokens that only it sees itself.
    const seen = length + placementOf(prompt, this.#model.config).numVirtualTokens
    return {
      logits: outputs.logits!,
      ...(hiddenStates && { hiddenStates: blocks('hidden', numLayers + 1, length * hiddenSize) }),
      ...(attentions && {
        attentions: blocks('attention', numLayers, heads * length * keys).map(all => lastColumns(all, keys, seen)),
      }),
    }
  }

  #nothing({ hiddenStates, attentions }: ForwardPassOptions): ForwardPass {
    const { numLayers } = this.#model.config
    const empty = (count: number) => Array.from({ length: count }, () => new Float32Array(0))
    return {
      logits: new Float32Array(0),
      ...(hiddenStates && { hiddenStates: empty(numLayers + 1) }),
      ...(attentions && { attentions: empty(numLayers) }),
    }
  }

  /**
   * Log-probability of each token of each row, given those before it.
   * @returns for each row [length], in nats; NaN where nothing precedes a token
   */
  async tokenLogProbabilities(rows: readonly (readonly number[])[], soft?: SoftPrompt | ActivePrompt): Promise<Float32Array[]> {
    this.#programs.refuseDisposed()
    requireLists(rows)
    const model = this.#model
    const { vocabSize } = model.config
    const prompt = soft && ('method' in soft ? soft : plainPrompt(soft, model.config))
    const results = rows.map(({ length }) => new Float32Array(length).fill(Number.NaN))
    if (prompt === undefined) {
      const long = [...rows.keys()].filter(i => rows[i]!.length > 1)
      const scored = await model.tokenLogProbabilities(
        undefined,
        long.map(i => ({ context: rows[i]!.slice(0, 1), candidates: [{ ids: rows[i]!.slice(1) }] })),
      )
      for (const [k, i] of long.entries()) results[i]!.set(scored[k]![0]!, 1)
      return results
    }
    const { position, as, numVirtualTokens } = placementOf(prompt, model.config)
    const isPredicted = position === 'before-bos' && as !== 'keys' && numVirtualTokens > 0
    for (const [i, ids] of rows.entries()) {
      const labels = ids.map((id, j) => (j === 0 && !isPredicted ? IGNORED : id))
      const all = await model.labelLogProbabilities(prompt, { ids, labels })
      let label = 0
      for (const [j, id] of ids.entries()) if (labels[j] !== IGNORED) results[i]![j] = all[label++ * vocabSize + id]!
    }
    return results
  }

  /**
   * Loss and gradient of every row by itself: what `lossAndGradient` would say if it were the whole batch.
   * @throws GradpromptError `no-labels` for a row without one, and as `lossAndGradient` does
   */
  async rowGradients(softPrompt: SoftPrompt, rows: readonly LabelledRow[]): Promise<RowGradient[]> {
    const prompt = plainPrompt(softPrompt, this.#model.config)
    const results: RowGradient[] = []
    for (const row of rows) {
      const { loss, gradients } = await this.#model.promptGradient(prompt, [row])
      results.push({ loss, gradient: gradients.get('prompt')! })
    }
    return results
  }

  /** What is given back is as large as it is asked for: it is weighed before it is computed. */
  #requireMemory(rows: number, { hiddenStates, attentions }: ForwardPassOptions): void {
    const { memory, config } = this.#model
    const given = (hiddenStates ? (config.numLayers + 1) * rows * config.hiddenSize : 0) * 4
    const seen = (attentions ? config.numLayers * config.numAttentionHeads * rows * rows : 0) * 4
    // Each stands beside what it is put together from.
    const needed = memory.estimate(rows, rows, false) + 3 * (given + seen)
    if (needed <= memory.budget) return
    throw new GradpromptError('not-enough-memory', 'what was asked of the model does not fit into memory', {
      found: `${gigabytes(memory.budget)} to use`,
      expected: `${gigabytes(needed)} for a row of ${rows} tokens`,
      hint: 'ask for less at once, or cut the row',
    })
  }
}

const names = { hiddenStates: true, attentions: true, prompt: true, hook: true } satisfies OptionNames<ForwardPassOptions>

/** Of a position without a loss. */
const IGNORED = -100

interface Wanted {
  readonly hiddenStates: boolean
  readonly attentions: boolean
  readonly hook: LayerHook | undefined
}

/** A program is known by the functions that compute it: two methods, or two hooks, share none. */
function passRequest(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  { hiddenStates, attentions, hook }: Wanted,
): ProgramRequest {
  const { checkpoint, weights } = model
  const { family, config } = checkpoint
  const placement = placementOf(prompt, config)
  const parameters = prompt?.method.parameters(prompt.config, config) ?? []
  const options = prompt && { options: tensorOptions(prompt.config), parameters, placement }
  const taken = Object.entries(hook?.inputs ?? {}).map(([name, { shape }]) => ({ name: `hook:${name}`, shape }))
  return {
    name: `${family.name} forward`,
    origin: {
      module: import.meta.url,
      parts: [family, prompt?.method, hook?.rows],
      options: { config, prompt: options, taken, hiddenStates, attentions, weights: weights.hash },
    },
    spec: () => passSpec(model, prompt, { hiddenStates, attentions, hook }),
  }
}

function passSpec(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  { hiddenStates, attentions, hook }: Wanted,
): ReturnType<ProgramRequest['spec']> {
  const { checkpoint, weights } = model
  const { family, config } = checkpoint
  const { inputs, dims } = forestSpec({ placement: placementOf(prompt, config) })
  const parameters = prompt?.method.parameters(prompt.config, config) ?? []
  const float32 = (name: string, shape: readonly number[]) => [name, { shape, dtype: 'float32' as const }] as const
  return {
    inputs: {
      ...inputs,
      ...Object.fromEntries(parameters.map(({ name, shape }) => float32(`parameter:${name}`, shape))),
      ...Object.fromEntries(Object.entries(hook?.inputs ?? {}).map(([name, { shape }]) => float32(`hook:${name}`, shape))),
    },
    dims,
    weights,
    fn: (given, weight) => {
      const texts = given.tokenIds!.shape[0]!
      const joined = given.readInverse!.shape[0]!
      /** Places of the read rows among those of a layer, where virtual tokens may not have joined them yet, [Q]. */
      const placesIn = (rows: number) =>
        rows === joined ? given.readIndex! : tf.sub(given.readIndex!, tf.scalar(joined - texts, 'int32'))
      const read = (x: tf.Tensor) => tf.gather(x, placesIn(x.shape[0]!) as tf.Tensor1D)
      const taken: tf.Tensor[] = []
      const seen: tf.Tensor[] = []
      const own = Object.fromEntries(Object.keys(hook?.inputs ?? {}).map(name => [name, given[`hook:${name}`]!]))
      const states = forwardForest({
        family,
        config,
        weight,
        given,
        ...(prompt && {
          prompt: {
            method: prompt.method,
            config: prompt.config,
            parameters: Object.fromEntries(parameters.map(({ name }) => [name, given[`parameter:${name}`]!])),
          },
        }),
        ...(hook && { changeRows: (layer, x) => changedRows(hook.rows(layer, x as tf.Tensor2D, own), x) }),
        ...(hiddenStates && { onRows: (_, x) => taken.push(read(x)) }),
        ...(attentions && {
          onAttention: (call, key) => {
            const { shape } = call.query
            const query = call.last ? call.query : tf.gather(call.query, placesIn(shape[1]!) as tf.Tensor1D, 1)
            seen.push(attentionOf(call, query, key, given))
          },
        }),
      }) // [Q, d]
      return {
        logits: family.logits(config, weight, states),
        ...(hiddenStates && { hidden: tf.concat([...taken, states] as tf.Tensor2D[], 0) }), // [(L + 1) Q, d]
        ...(attentions && { attention: tf.concat(seen as tf.Tensor3D[], 0) }), // [L H, Q, R]
      }
    },
  }
}

/** What the read rows give to every row: [H, Q, D], [Hkv, R, D] -> [H, Q, R] */
function attentionOf(
  { scale, window }: AttentionCall,
  query: tf.Tensor,
  key: tf.Tensor,
  given: Readonly<Record<string, tf.Tensor>>,
): tf.Tensor {
  const [heads, rows, size] = query.shape as [number, number, number]
  const [keyHeads, keys] = key.shape as [number, number]
  const shared = given.sharedPositions!.shape[0]!
  // A placeholder, which is no token, has a position in the mask that no other reaches.
  const at = tf.concat([given.sharedPositions!, tf.slice(given.positions!, [shared], [-1])] as tf.Tensor1D[], 0) // [R]
  const first = given.positions!.shape[0]! - given.readInverse!.shape[0]!
  const places = tf.add(given.readIndex!, tf.scalar(first, 'int32')) as tf.Tensor1D
  const from = tf.reshape(tf.gather(at, places), [rows, 1]) // [Q, 1]
  const to = tf.reshape(at, [1, keys]) // [1, R]
  const near = tf.lessEqual(to, from)
  const visible = window > 0 ? tf.logicalAnd(near, tf.greater(to, tf.sub(from, tf.scalar(window, 'int32')))) : near
  const grouped = tf.reshape(query, [keyHeads, (heads / keyHeads) * rows, size])
  const scores = tf.reshape(tf.mul(tf.matMul(grouped as tf.Tensor3D, key as tf.Tensor3D, false, true), scale), [
    heads,
    rows,
    keys,
  ])
  return tf.softmax(tf.add(scores, tf.mul(tf.sub(tf.cast(visible, 'float32'), 1), 1e9)) as tf.Tensor3D)
}

/** The last `seen` of every `keys` numbers. */
function lastColumns(all: Float32Array, keys: number, seen: number): Float32Array {
  if (keys === seen) return all
  const rows = all.length / keys
  const kept = new Float32Array(rows * seen)
  for (let i = 0; i < rows; i++) kept.set(all.subarray((i + 1) * keys - seen, (i + 1) * keys), i * seen)
  return kept
}

/** Keys that layers do not all see alike have no place in one table. */
function refuseHidden(prompt: ActivePrompt | undefined, { config }: LanguageModel): void {
  const { perSequence = false, insertionLayer = 0 } = placementOf(prompt, config)
  if (!perSequence && insertionLayer === 0) return
  throw new GradpromptError('unsupported-prompt', `the attention under a prompt of ${prompt!.config.type} cannot be shown`, {
    found: perSequence ? 'virtual tokens of each row itself' : `virtual tokens from layer ${insertionLayer} on`,
    expected: 'a prompt whose virtual tokens are there in every layer',
  })
}
