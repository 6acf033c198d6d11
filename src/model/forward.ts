import { type AttentionLayout, causalAttention } from '../../kernels/attention/causal.js'
import { gatherRows } from '../../kernels/gather-rows.js'
import { segmentInput } from '../../kernels/segment-input.js'
import { tf } from '../../kernels/tf.js'
import type { TokenTargets } from '../../kernels/token-cross-entropy.js'
import type { AttentionCall, ModelConfig, ModelFamily } from '../../models/blocks/family.js'
import { prefixOf, tensorOf } from '../prompts/hook-results.js'
import {
  type LayerRows,
  type OutputRows,
  type Parameters,
  type PromptMethod,
  type SequenceRows,
  type TextRows,
  tensorOptions,
} from '../prompts/method.js'
import { embedTokens, numSoftTokens, softParameter } from '../prompts/soft-rows.js'
import { BEYOND } from './forest/forest.js'

interface Prompt {
  readonly method: PromptMethod
  readonly config: { readonly type: string }
  readonly parameters: Parameters
}

export interface ForwardOptions {
  readonly family: ModelFamily
  readonly config: ModelConfig
  readonly weight: (name: string) => tf.Tensor
  /** The tensors of a `Forest`. */
  readonly given: Readonly<Record<string, tf.Tensor>>
  readonly prompt?: Prompt
  /** The backward pass computes each layer's values again, from the rows that it takes, where it would keep them. */
  readonly recompute?: boolean
  /** The layer whose rows are wanted, as it takes them: those of the text, [N, d], where no virtual token has joined them below it. */
  readonly to?: number
  /** Told every layer's keys and values, positions applied, as attention sees them: two of [Hkv, R, D], virtual tokens among them. */
  readonly onKeys?: (layer: number, key: tf.Tensor, value: tf.Tensor) => void
  /** Told what the activation of every layer's MLP takes, [R, f]; in the last layer [Q, f]. */
  readonly onNeurons?: (layer: number, inner: tf.Tensor) => void
  /** Told the rows that every layer takes, [R, d], changed ones as they are then. */
  readonly onRows?: (layer: number, x: tf.Tensor) => void
  /** What every layer takes in the place of its rows, [R, d]; undefined: as they are. */
  readonly changeRows?: (layer: number, x: tf.Tensor) => tf.Tensor | undefined
  /** Told what every layer's attention asks, and the keys that it asks, [Hkv, R, D], virtual tokens among them. */
  readonly onAttention?: (call: AttentionCall, key: tf.Tensor) => void
}

/**
 * Normalised hidden states of a forest's read rows under a soft prompt, [Q, d]: where the hooks of a method meet the model.
 *
 * Virtual tokens stand before the text rows and join them at their insertion layer: the layers below see the text alone, so they cost
 * nothing there and have no gradient. As `keys` they never join, and every layer sees their keys and values beside the text's.
 *
 * Where `given` has `frozen`, [N, d], it is what the frozen layers make of the text, and only those from there on are computed.
 */
export function forwardForest(options: ForwardOptions): tf.Tensor {
  const { family, config, weight, given } = options
  const prompt = boundPrompt(options)
  const { as = 'rows', perSequence = false, insertionLayer = 0 } = prompt?.placement ?? {}
  const [texts] = given.tokenIds!.shape as [number]
  const first = given.positions!.shape[0]! - texts
  const ahead = perSequence ? 1 : 0
  const virtual = first - ahead
  const layouts = { joined: layoutsOf(given), apart: layoutsOf(given) }
  if (virtual > 0 && as === 'rows' && insertionLayer > 0) layouts.apart = textLayouts(given, first, perSequence)
  const textPositions = first > 0 ? tf.slice(given.positions!, [first], [-1]) : given.positions!
  const virtualPositions = () => tf.slice(given.positions!, [ahead], [virtual])
  const sequences = (hidden: tf.Tensor): SequenceRows => ({
    model: config,
    hidden,
    instructionMask: given.instructionMask!,
    instruction: x => {
      const taken = gatherRows(x, tf.reshape(given.instructionIndex!, [-1]), given.instructionInverse!)
      return tf.reshape(taken, [...given.instructionIndex!.shape, x.shape[1]!])
    },
    states: rows =>
      tf.slice(aloneStates(options, layouts.joined.all, join(rows, hidden)) as tf.Tensor2D, [ahead, 0], [virtual, -1]),
  })
  /** Rows before those of the text: [V, d], [N, d] -> [R, d] */
  const join = (rows: tf.Tensor, text: tf.Tensor) =>
    tf.concat([...(perSequence ? [tf.fill([1, config.hiddenSize], 0)] : []), rows, text] as tf.Tensor2D[], 0)

  let x = given.frozen ?? embedTokens(options, given.tokenIds!, options.prompt?.parameters[softParameter]) // [N, d]
  if (prompt?.offset) x = tf.add(x, prompt.offset({ embedded: x, textIndex: given.textIndex!, answerMask: given.answerMask! }))
  let joined = virtual === 0
  if (!joined && as === 'rows' && insertionLayer === 0) {
    const rows = perSequence ? prompt!.sequenceRows?.(sequences(x)) : prompt!.inputRows?.()
    if (rows) {
      x = join(rows, x)
      joined = true
    }
  }
  let positions = joined ? given.positions! : textPositions

  /** The hidden rows of the virtual tokens in the layer at hand, whose keys are seen where they are not rows themselves. */
  let current: tf.Tensor | undefined
  const withVirtual = (layer: number, hidden: tf.Tensor) => {
    if (layer < insertionLayer || !prompt?.layerRows) return undefined
    const text = joined && first > 0 ? tf.slice(hidden as tf.Tensor2D, [first, 0], [-1, -1]) : hidden
    const rows = prompt.layerRows({ ...sequences(text), layer })
    if (as === 'keys') {
      current = rows
      return undefined
    }
    if (!rows) return undefined
    const all = join(rows, text)
    joined = true
    positions = given.positions!
    return { x: all, positions }
  }
  const beforeLayer = (layer: number, rows: tf.Tensor) => {
    const hidden = options.recompute ? segmentInput(rows, layer) : rows
    const made = withVirtual(layer, hidden)
    const changed = options.changeRows?.(layer, made?.x ?? hidden)
    options.onRows?.(layer, changed ?? made?.x ?? hidden)
    return changed || options.recompute ? { x: changed ?? made?.x ?? hidden, positions } : made
  }

  const afterLayer = (layer: number, hidden: tf.Tensor) =>
    changedText({ config, given, layer, hidden }, rows => prompt!.layerOutput!(rows))

  const prefix = prompt?.prefix?.()
  const attend = (call: AttentionCall) => {
    let { key, value } = call
    if (key.shape[1] === texts && first > 0) {
      const own = prefix?.[call.layer] ?? (current && call.keysOf(current, virtualPositions()))
      const [heads, , size] = key.shape as [number, number, number]
      const none = (count: number) => tf.fill([heads, count, size], 0)
      // Rows that are in no layer yet have keys that nobody sees, so that all layers number their keys alike.
      const before = own ? (x: tf.Tensor) => [...(ahead > 0 ? [none(ahead)] : []), x] : () => [none(first)]
      key = tf.concat([...before(own?.key as tf.Tensor), key] as tf.Tensor3D[], 1) // [Hkv, R, D]
      value = tf.concat([...before(own?.value as tf.Tensor), value] as tf.Tensor3D[], 1)
    }
    options.onKeys?.(call.layer, key, value)
    options.onAttention?.(call, key)
    const layout = (call.layer < insertionLayer ? layouts.apart : layouts.joined)[call.last ? 'read' : 'all']
    return causalAttention(call.query, key, value, layout, call)
  }

  return family.hidden(config, {
    weight,
    x,
    ...(given.frozen ? { from: frozenLayers(options.prompt, config) } : {}),
    ...(options.to !== undefined ? { to: options.to } : {}),
    positions,
    read: { index: given.readIndex!, inverse: given.readInverse! },
    attend,
    ...(prompt?.layerRows || options.onRows || options.changeRows || options.recompute ? { beforeLayer } : {}),
    ...(options.onNeurons ? { onNeurons: options.onNeurons } : {}),
    ...(prompt?.attention ? { attendBeside: prompt.attention } : {}),
    ...(prompt?.layerOutput ? { afterLayer } : {}),
  })
}

/** Normalised last hidden states of all rows of a forest by the model alone, [R, d] -> [R, d]. */
function aloneStates({ family, config, weight, given }: ForwardOptions, layout: AttentionLayout, x: tf.Tensor): tf.Tensor {
  const all = tf.range(0, x.shape[0]!, 1, 'int32') // [R]
  return family.hidden(config, {
    weight,
    x,
    positions: given.positions!,
    read: { index: all, inverse: all },
    attend: call => causalAttention(call.query, call.key, call.value, layout, call),
  })
}

/**
 * Rows that a layer has made, of which a method changes those of the text: [R, d], or of a layer that virtual tokens have not joined yet
 * [N, d]; in the last layer the rows that are read, [Q, d].
 */
export function changedText(
  {
    config,
    given,
    layer,
    hidden,
  }: {
    readonly config: ModelConfig
    readonly given: Readonly<Record<string, tf.Tensor>>
    readonly layer: number
    readonly hidden: tf.Tensor
  },
  change: (rows: OutputRows) => tf.Tensor | undefined,
): tf.Tensor {
  const { textIndex, answerMask, edgeMask = tf.zerosLike(answerMask!) } = given as Record<string, tf.Tensor>
  const last = layer === config.numLayers - 1
  const [texts] = textIndex!.shape as [number]
  // In the last layer all rows have joined; where none is numbered by a gradient's inverse, none is virtual.
  const ahead = (last ? (given.readInverse?.shape[0] ?? texts) : hidden.shape[0]!) - texts
  const read = given.readIndex as tf.Tensor1D
  const places = (of: tf.Tensor) => {
    const all = last && ahead > 0 ? tf.concat([tf.zeros([ahead], of.dtype), of] as tf.Tensor1D[]) : of
    return last ? tf.gather(all, read) : all
  }
  const text = !last && ahead > 0 ? tf.slice(hidden as tf.Tensor2D, [ahead, 0], [-1, -1]) : hidden
  const changed = change({
    layer,
    model: config,
    hidden: text,
    textIndex: places(textIndex!),
    answerMask: places(answerMask!),
    edgeMask: places(edgeMask),
  })
  if (!changed) return hidden
  if (ahead === 0) return changed
  if (!last) return tf.concat([tf.slice(hidden as tf.Tensor2D, [0, 0], [ahead, -1]), changed as tf.Tensor2D], 0)
  const isText = tf.expandDims(places(tf.onesLike(answerMask!)), 1) // [Q, 1]
  return tf.add(tf.mul(changed, isText), tf.mul(hidden, tf.sub(1, isText)))
}

/** How many layers, from the first, make the same of a text whatever is learned. */
export function frozenLayers(prompt: Pick<Prompt, 'method' | 'config'> | undefined, model: ModelConfig): number {
  if (!prompt || prompt.method.offset || numSoftTokens(prompt.config) > 0) return 0
  const { method, config } = prompt
  return method.frozenLayers?.(config, model) ?? method.placement(config, model).insertionLayer ?? 0
}

/** A method's hooks with its configuration and parameters filled in. */
function boundPrompt({ prompt, config: model }: ForwardOptions) {
  if (!prompt) return undefined
  const { method, parameters } = prompt
  const config = tensorOptions(prompt.config)
  const { inputRows, sequenceRows, offset, layerRows, prefix, attention } = method
  const layerOutput = boundOutput(prompt)
  const placement = method.placement(prompt.config, model)
  const [m, d] = [placement.numVirtualTokens, model.hiddenSize]
  return {
    placement,
    inputRows: inputRows && (() => tensorOf(method, 'inputRows', inputRows.call(method, config, parameters), [m, d], 'm, d')),
    sequenceRows:
      sequenceRows &&
      ((rows: SequenceRows) =>
        tensorOf(method, 'sequenceRows', sequenceRows.call(method, config, parameters, rows), [undefined, d], 'B m, d')),
    offset:
      offset &&
      ((text: TextRows) =>
        tensorOf(method, 'offset', offset.call(method, config, parameters, text), text.embedded.shape, 'N, d')),
    layerRows:
      layerRows &&
      ((rows: LayerRows) => {
        const made = layerRows.call(method, config, parameters, rows)
        return made && tensorOf(method, 'layerRows', made, [placement.perSequence ? undefined : m, d], 'm, d')
      }),
    prefix:
      prefix && (() => prefixOf(method, prefix.call(method, config, parameters, model), { layers: model.numLayers, virtual: m })),
    attention:
      attention &&
      ((call: AttentionCall) => {
        const made = attention.call(method, config, parameters, call, model)
        return made && tensorOf(method, 'attention', made, [undefined, undefined, model.headDim], 'H, R, D')
      }),
    layerOutput,
  }
}

/** A method's hook for what layers give out, with its configuration and parameters filled in. */
export function boundOutput({ method, config, parameters }: Prompt): ((rows: OutputRows) => tf.Tensor | undefined) | undefined {
  const { layerOutput } = method
  const options = tensorOptions(config)
  return (
    layerOutput &&
    (rows => {
      const made = layerOutput.call(method, options, parameters, rows)
      return made && tensorOf(method, 'layerOutput', made, rows.hidden.shape, 'N, d')
    })
  )
}

/** The layouts of layers that are computed over the text rows alone: queries are numbered among those, keys among all rows. */
function textLayouts(given: Readonly<Record<string, tf.Tensor>>, first: number, perSequence: boolean): Layouts {
  const { all, read } = layoutsOf(given)
  const unseen = (positions: tf.Tensor) =>
    tf.concat([tf.fill([first], BEYOND, 'int32'), tf.slice(positions, [first], [-1]) as tf.Tensor1D])
  const text = {
    ...all,
    keyPositions: unseen(all.keyPositions),
    ...(perSequence ? {} : { sharedPositions: unseen(all.sharedPositions) }),
    queryIndex: tf.maximum(tf.sub(all.queryIndex, int(first)), int(0)),
    querySlot: tf.slice(all.querySlot, [first], [-1]),
  }
  // The last layer is never below the insertion layer.
  return { all: text, read }
}

interface Layouts {
  readonly all: AttentionLayout
  readonly read: AttentionLayout
}

const int = (value: number) => tf.scalar(value, 'int32')

/** What a loss takes of a forest's tensors. */
export function targetsOf(given: Readonly<Record<string, tf.Tensor>>): TokenTargets {
  const { targetRow, targetId, targetWeight, rowWeight } = given as Record<string, tf.Tensor>
  return { row: targetRow!, target: targetId!, weight: targetWeight!, rowWeight: rowWeight! }
}

/** A forest's tensors as the two layouts of attention: of all rows and of those that are read. */
function layoutsOf(given: Readonly<Record<string, tf.Tensor>>): Layouts {
  const at = (name: string) => given[name]!
  return {
    all: {
      keyPositions: at('positions'),
      sharedPositions: at('sharedPositions'),
      queryIndex: at('queryIndex'),
      queryPositions: at('queryPositions'),
      queryMask: at('queryMask'),
      querySlot: at('querySlot'),
      keyIndex: at('keyIndex'),
      ...(given.keySlot && { keySlot: given.keySlot }),
      ...(given.keyCount && { keyCount: given.keyCount }),
    },
    read: {
      keyPositions: at('positions'),
      sharedPositions: at('sharedPositions'),
      queryIndex: at('readQueryIndex'),
      queryPositions: at('readQueryPositions'),
      queryMask: at('readQueryMask'),
      querySlot: at('readQuerySlot'),
      keyIndex: at('readKeyIndex'),
      ...(given.readKeySlot && { keySlot: given.readKeySlot }),
      ...(given.readKeyCount && { keyCount: given.readKeyCount }),
    },
  }
}
