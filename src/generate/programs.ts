import { BLOCK_LENGTH, type CacheSection, cachedAttention, EMPTY_POSITION } from '../../kernels/attention/cached.js'
import { type AttentionLayout, causalAttention } from '../../kernels/attention/causal.js'
import { tf } from '../../kernels/tf.js'
import type { AttentionCall, ModelConfig } from '../../models/blocks/family.js'
import { type ActivePrompt, placementOf } from '../model/active-prompt.js'
import { forestSpec, MAX_ROWS } from '../model/forest/spec.js'
import { boundOutput, changedText, forwardForest } from '../model/forward.js'
import type { LanguageModel } from '../model/language-model.js'
import type { ProgramRequest } from '../program/open-programs.js'
import type { HalfPrecision } from '../program/precision.js'
import type { InputSpec, ProgramSpec, WeightFile } from '../program/program.js'
import { tensorOptions } from '../prompts/method.js'
import { embedTokens, numSoftTokens, softParameter } from '../prompts/soft-rows.js'

/** How wide the weights of linear layers are: as dequantised, or as the checkpoint stores them. */
export type WeightWidth = 'fp32' | 'stored'

/** What products are of: the model's precision, or weights as the checkpoint stores them. */
export type Products = WeightWidth | HalfPrecision

export const productsOf = ({ weights }: { readonly weights: WeightFile }, width: WeightWidth): Products =>
  width === 'stored' ? width : (weights.precision ?? width)

type Prompt = Pick<ActivePrompt, 'method' | 'config'>
type Tensors = Readonly<Record<string, tf.Tensor>>

const int32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'int32' })
const float32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'float32' })
const dimensions = (...names: string[]) => Object.fromEntries(names.map(name => [name, [1, MAX_ROWS] as const]))
const upTo = (count: number) => tf.range(0, count, 1, 'int32') as tf.Tensor1D

/** Whether a prompt acts on text rows as well as by its virtual tokens, so that rows under other prompts need another program. */
export const actsOnText = (prompt: Prompt, model: ModelConfig): boolean =>
  Boolean(
    prompt.method.offset ||
      prompt.method.attention ||
      prompt.method.layerOutput ||
      numSoftTokens(prompt.config) > 0 ||
      blindLayers(prompt, model) > 0,
  )

/** The number of layers in which text does not see the virtual tokens. */
export const blindLayers = (prompt: Prompt | undefined, model: ModelConfig): number =>
  placementOf(prompt, model).insertionLayer ?? 0

/**
 * A program over new tokens whose keys and values join a cache: what `prefill` and `decode` have in common. It gives
 *
 * - `tokens` [Q] int32: the likeliest token behind each row that is read,
 * - `logits` [S, V]: the logits behind the rows that `sampled` [S] names among those,
 * - `keyValues` [2 layers Hkv, R, D]: each layer's new keys, then its values.
 */
function extension(
  model: LanguageModel,
  options: {
    readonly name: string
    readonly prompt: Prompt | undefined
    readonly weights: WeightFile
    /** Rows, and among them those that are read. */
    readonly rows: string
    readonly read: string
    readonly inputs: () => Readonly<Record<string, InputSpec>>
    readonly dims: ProgramSpec['dims']
    readonly key?: object
    readonly pack?: boolean
    readonly attend: (call: AttentionCall, given: Tensors) => tf.Tensor
    readonly readIndex: (given: Tensors) => tf.Tensor
  },
): ProgramRequest {
  const { family, config } = model.checkpoint
  const { name, weights, rows, read, pack } = options
  // A prompt that acts by its virtual tokens alone is in the cache, and no part of the program.
  const prompt = options.prompt && actsOnText(options.prompt, config) ? options.prompt : undefined
  const { offset, attention, layerOutput } = prompt?.method ?? {}
  const { edges } = placementOf(prompt, config)
  const hasSoft = prompt !== undefined && numSoftTokens(prompt.config) > 0
  const parameters =
    prompt && (offset || attention || layerOutput || hasSoft) ? prompt.method.parameters(prompt.config, config) : []
  return {
    name: `${family.name} ${name}`,
    origin: {
      module: import.meta.url,
      parts: [family, prompt?.method],
      options: {
        config,
        prompt: prompt && { options: tensorOptions(prompt.config), parameters },
        weights: weights.hash,
        ...options.key,
      },
    },
    ...(pack !== undefined && { pack }),
    spec: () => ({
      inputs: {
        tokenIds: int32(rows),
        positions: int32(rows),
        ...(offset || layerOutput ? { textIndex: int32(rows), answerMask: float32(rows) } : {}),
        ...(layerOutput && edges ? { edgeMask: float32(rows) } : {}),
        sampled: int32('S'),
        ...options.inputs(),
        ...Object.fromEntries(parameters.map(parameter => [`parameter:${parameter.name}`, float32(...parameter.shape)])),
      },
      dims: { ...dimensions(rows, read, 'S'), ...options.dims },
      weights,
      fn: (given, weight) => {
        const values = Object.fromEntries(parameters.map(parameter => [parameter.name, given[`parameter:${parameter.name}`]!]))
        let x = embedTokens({ family, config, weight }, given.tokenIds!, values[softParameter]) // [R, d]
        if (prompt && offset) {
          const rows = { embedded: x, textIndex: given.textIndex!, answerMask: given.answerMask! }
          x = tf.add(x, offset.call(prompt.method, tensorOptions(prompt.config), values, rows))
        }
        const made: tf.Tensor[] = []
        const index = options.readIndex(given)
        const output = prompt && boundOutput({ ...prompt, parameters: values })
        const { textIndex, answerMask, edgeMask } = given
        const text = { textIndex, answerMask, ...(edgeMask && { edgeMask }), readIndex: index } as Tensors
        const hidden = family.hidden(config, {
          weight,
          x,
          positions: given.positions!,
          // The inverse serves a gradient, and there is none here.
          read: { index, inverse: index },
          attend: call => {
            made.push(call.key, call.value)
            return options.attend(call, given)
          },
          ...(prompt && attention
            ? { attendBeside: call => attention.call(prompt.method, tensorOptions(prompt.config), values, call, config) }
            : {}),
          ...(output ? { afterLayer: (layer, hidden) => changedText({ config, given: text, layer, hidden }, output) } : {}),
        })
        const logits = family.logits(config, weight, hidden) // [Q, V]
        return {
          tokens: tf.argMax(logits, -1),
          logits: tf.gather(logits, given.sampled as tf.Tensor1D),
          keyValues: tf.concat(made as tf.Tensor3D[], 0),
        }
      },
    }),
  }
}

/** Names of a layer's tensors in a program's inputs. */
export const layerInput = (name: string, layer: number): string => `${name}:${layer}`

/**
 * Decoding: the next token of each sequence and what is guessed to follow it (see `cachedAttention` for the inputs).
 *
 * @param options.sharing whether some blocks are seen by several sequences
 */
export function decodeRequest(
  model: LanguageModel,
  options: { readonly prompt?: Prompt | undefined; readonly weights: WeightFile; readonly sharing: boolean },
): ProgramRequest {
  const { prompt, weights, sharing } = options
  const { numLayers, numKeyValueHeads: heads, headDim } = model.config
  const blind = blindLayers(prompt, model.config)
  const layers = Array.from({ length: numLayers }, (_, layer) => layer)
  const cache = (name: (part: string) => string, blocks: string) => ({
    ...Object.fromEntries(layers.map(layer => [layerInput(name('keys'), layer), float32(blocks, heads, headDim, BLOCK_LENGTH)])),
    ...Object.fromEntries(
      layers.map(layer => [layerInput(name('values'), layer), float32(blocks, heads, BLOCK_LENGTH, headDim)]),
    ),
    [name('keyPositions')]: int32(blocks, BLOCK_LENGTH),
    ...(blind > 0 ? { [name('blindKeyPositions')]: int32(blocks, BLOCK_LENGTH) } : {}),
  })
  const section = (given: Tensors, layer: number, name: (part: string) => string): CacheSection => ({
    keys: given[layerInput(name('keys'), layer)]!,
    values: given[layerInput(name('values'), layer)]!,
    keyPositions: given[name(layer < blind ? 'blindKeyPositions' : 'keyPositions')]!,
    users: given[name('users')]!,
    sequenceBlocks: given[name('sequenceBlocks')]!,
    ...(given[name('userPositions')] ? { userPositions: given[name('userPositions')]! } : {}),
  })
  return extension(model, {
    name: 'decode',
    prompt,
    weights,
    rows: 'R',
    read: 'R',
    // A few rows are multiplied faster by weights that are packed.
    pack: true,
    inputs: () => ({
      firstPositions: int32('G'),
      queryIndex: int32('G', 'T'),
      querySlot: int32('R'),
      ...cache(ownPart, 'N'),
      [ownPart('users')]: int32('N'),
      [ownPart('sequenceBlocks')]: int32('G', 'J'),
      ...(sharing
        ? {
            ...cache(sharedPart, 'M'),
            [sharedPart('users')]: int32('M', 'U'),
            [sharedPart('userPositions')]: int32('M', 'U'),
            [sharedPart('sequenceBlocks')]: int32('G', 'K'),
          }
        : {}),
    }),
    dims: dimensions('G', 'T', 'N', 'J', ...(sharing ? ['M', 'U', 'K'] : [])),
    key: { sharing, blind },
    attend: (call, given) => {
      const shared = sharing ? { shared: section(given, call.layer, sharedPart) } : {}
      const { firstPositions, queryIndex, querySlot } = given as Record<string, tf.Tensor>
      const tokens = { firstPositions: firstPositions!, queryIndex: queryIndex!, querySlot: querySlot! }
      const cache = { own: section(given, call.layer, ownPart), ...shared }
      return cachedAttention(call.query, call.key, call.value, tokens, cache, call)
    },
    readIndex: given => upTo(given.tokenIds!.shape[0]!),
  })
}

export const ownPart = (part: string): string => `own.${part}`
export const sharedPart = (part: string): string => `shared.${part}`

/**
 * Prefill: many new tokens of several sequences, which see cached keys and one another.
 *
 * The keys are numbered from the cached ones (`cachedKeys` [Hkv, C, D]; number 0 is nobody's) to the new rows'. Queries stand in groups
 * of up to T rows that see the same keys, `keyIndex` [G, K]; each row that is read has a list of its own, `readKeyIndex` [Q, J].
 */
export function prefillRequest(
  model: LanguageModel,
  { prompt, weights }: { readonly prompt?: Prompt | undefined; readonly weights: WeightFile },
): ProgramRequest {
  const { numLayers, numKeyValueHeads: heads, headDim } = model.config
  const blind = blindLayers(prompt, model.config)
  const layers = Array.from({ length: numLayers }, (_, layer) => layer)
  const cached = (name: string) =>
    Object.fromEntries(layers.map(layer => [layerInput(name, layer), float32(heads, 'C', headDim)]))
  return extension(model, {
    name: 'prefill',
    prompt,
    weights,
    rows: 'R',
    read: 'Q',
    inputs: () => ({
      ...cached('cachedKeys'),
      ...cached('cachedValues'),
      keyPositions: int32('C+R'),
      ...(blind > 0 ? { blindKeyPositions: int32('C+R') } : {}),
      queryIndex: int32('G', 'T'),
      queryPositions: int32('G', 'T'),
      querySlot: int32('R'),
      keyIndex: int32('G', 'K'),
      readIndex: int32('Q'),
      readKeyIndex: int32('Q', 'J'),
    }),
    dims: dimensions('C', 'G', 'T', 'K', 'J'),
    key: { blind },
    attend: (call, given) => {
      const at = (name: string) => given[layerInput(name, call.layer)] as tf.Tensor3D
      const key = tf.concat([at('cachedKeys'), call.key as tf.Tensor3D], 1) // [Hkv, C + R, D]
      const value = tf.concat([at('cachedValues'), call.value as tf.Tensor3D], 1)
      return causalAttention(call.query, key, value, prefillLayout(given, call, blind), call)
    },
    readIndex: given => given.readIndex!,
  })
}

function prefillLayout(given: Tensors, { last, layer }: AttentionCall, blind: number): AttentionLayout {
  const keys = {
    keyPositions: given[layer < blind ? 'blindKeyPositions' : 'keyPositions']!,
    sharedPositions: tf.fill([1], EMPTY_POSITION, 'int32'),
  }
  if (!last) {
    const { queryIndex, queryPositions, querySlot, keyIndex } = given as Record<string, tf.Tensor>
    return { ...keys, queryIndex: queryIndex!, queryPositions: queryPositions!, querySlot: querySlot!, keyIndex: keyIndex!, ...noMask(queryPositions!) } // biome-ignore format: one layout
  }
  const rows = upTo(given.readIndex!.shape[0]!)
  const queryPositions = tf.expandDims(tf.gather(given.positions!, given.readIndex as tf.Tensor1D), 1) // [Q, 1]
  return { ...keys, queryIndex: tf.expandDims(rows, 1), queryPositions, querySlot: rows, keyIndex: given.readKeyIndex!, ...noMask(queryPositions) }
} // biome-ignore format: one layout

/** The mask of empty slots serves a gradient, and there is none here. */
const noMask = (queryPositions: tf.Tensor) => ({ queryMask: tf.onesLike(tf.cast(queryPositions, 'float32')) })

/**
 * Keys and values of a whole text under a prompt whose virtual tokens are rows or come from the prompt itself: where its hooks act as
 * they do in training. `keyValues` [2 layers Hkv, P + S, D], in the rows of a `Forest`.
 */
export function promptKeysRequest(model: LanguageModel, prompt: Prompt, weights: WeightFile): ProgramRequest {
  const { family, config } = model.checkpoint
  const { method } = prompt
  const placement = placementOf(prompt, config)
  const parameters = method.parameters(prompt.config, config)
  return {
    name: `${family.name} prompt keys`,
    origin: {
      module: import.meta.url,
      parts: [family, method],
      options: { config, prompt: { options: tensorOptions(prompt.config), parameters, placement }, weights: weights.hash },
    },
    spec: () => {
      const { inputs, dims } = forestSpec({ placement, layout: 'overlapping' })
      return {
        inputs: {
          ...inputs,
          ...Object.fromEntries(parameters.map(({ name, shape }) => [`parameter:${name}`, float32(...shape)])),
        },
        dims,
        weights,
        fn: (given, weight) => {
          const values = Object.fromEntries(parameters.map(({ name }) => [name, given[`parameter:${name}`]!]))
          const made: tf.Tensor[] = []
          forwardForest({
            family,
            config,
            weight,
            given,
            prompt: { ...prompt, parameters: values },
            onKeys: (_, key, value) => made.push(key, value),
          })
          return { keyValues: tf.concat(made as tf.Tensor3D[], 0) }
        },
      }
    },
  }
}
