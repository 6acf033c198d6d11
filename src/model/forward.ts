import { type AttentionLayout, causalAttention } from '../../kernels/causal-attention.js'
import { gatherRows } from '../../kernels/gather-rows.js'
import { tf } from '../../kernels/tf.js'
import type { TokenTargets } from '../../kernels/token-cross-entropy.js'
import type { AttentionCall, ModelConfig, ModelFamily } from '../../models/family.js'
import type { Parameters, PromptMethod } from '../prompts/method.js'
import { BEYOND } from './forest.js'

export interface ForwardOptions {
  readonly family: ModelFamily
  readonly config: ModelConfig
  readonly weight: (name: string) => tf.Tensor
  /** The tensors of a `Forest`. */
  readonly given: Readonly<Record<string, tf.Tensor>>
  readonly prompt?: { readonly method: PromptMethod; readonly config: { readonly type: string }; readonly parameters: Parameters }
  /** Told every layer's keys and values, positions applied, as attention sees them: two of [Hkv, P + S, D]. */
  readonly onKeys?: (layer: number, key: tf.Tensor, value: tf.Tensor) => void
}

/** Normalised hidden states of a forest's read rows under a soft prompt, [Q, d]: where the hooks of a method meet the model. */
export function forwardForest(options: ForwardOptions): tf.Tensor {
  const { family, config, weight, given, prompt } = options
  const placement = prompt?.method.placement(prompt.config)
  const { as = 'rows', perSequence = false, insertionLayer = 0, numVirtualTokens = 0 } = placement ?? {}
  const layouts = layoutsOf(given)
  const shared = perSequence ? 0 : numVirtualTokens
  const positions = as === 'keys' ? tf.slice(given.positions!, [shared], [-1]) : given.positions!
  const blind = insertionLayer > 0 ? blindLayouts(layouts, given, shared, perSequence) : layouts

  let embedded = family.embed(config, weight, given.tokenIds!) // [N, d]
  if (prompt?.method.offset) {
    const text = { embedded, textIndex: given.textIndex!, answerMask: given.answerMask! }
    embedded = tf.add(embedded, prompt.method.offset(prompt.config, prompt.parameters, text))
  }
  let x = embedded
  if (shared > 0 && as === 'rows') {
    const rows = prompt!.method.inputRows?.(prompt!.config, prompt!.parameters) ?? tf.zeros([shared, config.hiddenSize])
    x = tf.concat([rows as tf.Tensor2D, embedded as tf.Tensor2D], 0) // [R, d]
  }

  const attend = (call: AttentionCall) => {
    let { key, value } = call
    if (as === 'keys') {
      const own = prompt!.method.prefix!(prompt!.config, prompt!.parameters, call.layer, config)
      key = tf.concat([own.key as tf.Tensor3D, key as tf.Tensor3D], 1) // [Hkv, P + S, D]
      value = tf.concat([own.value as tf.Tensor3D, value as tf.Tensor3D], 1)
    }
    options.onKeys?.(call.layer, key, value)
    const layout = (call.layer < insertionLayer ? blind : layouts)[call.last ? 'read' : 'all']
    const attended = causalAttention(call.query, key, value, layout, { scale: call.scale, window: call.window })
    const added = prompt?.method.attention?.(prompt.config, prompt.parameters, call, config)
    return added ? tf.add(attended, added) : attended
  }

  const beforeLayer = (layer: number, hidden: tf.Tensor) => {
    const rows = prompt!.method.layerRows!(prompt!.config, prompt!.parameters, {
      layer,
      model: config,
      instructionMask: given.instructionMask!,
      instruction: () => {
        const [sequences, length] = given.instructionIndex!.shape as [number, number]
        const taken = gatherRows(hidden, tf.reshape(given.instructionIndex!, [-1]), given.instructionInverse!)
        return tf.reshape(taken, [sequences, length, config.hiddenSize])
      },
    })
    if (!rows) return hidden
    if (!perSequence) return tf.concat([rows as tf.Tensor2D, tf.slice(hidden, [shared, 0], [-1, -1]) as tf.Tensor2D], 0)
    return replaceRows(hidden, rows, given)
  }

  return family.hidden(config, {
    weight,
    x,
    positions,
    read: { index: given.readIndex!, inverse: given.readInverse! },
    attend,
    ...(prompt?.method.layerRows ? { beforeLayer } : {}),
  })
}

/** Puts each sequence's virtual tokens into their rows: [R, d], [B m, d] -> [R, d]. A row is taken once, so the gradient gathers too. */
function replaceRows(x: tf.Tensor, rows: tf.Tensor, given: Readonly<Record<string, tf.Tensor>>): tf.Tensor {
  const { virtualIndex, virtualPlace } = given as { virtualIndex: tf.Tensor; virtualPlace: tf.Tensor }
  const none = int(rows.shape[0]!)
  const nothing = tf.zerosLike(tf.slice(x, [0, 0], [1, -1])) // [1, d]
  const source = tf.concat([rows as tf.Tensor2D, nothing as tf.Tensor2D], 0) // [B m + 1, d]
  const inverse = tf.concat([tf.reshape(virtualIndex, [-1]), tf.expandDims(int(x.shape[0]!), 0)], 0) // [B m + 1]
  const isText = tf.cast(tf.expandDims(tf.equal(virtualPlace, none), 1), 'float32') // [R, 1]
  return tf.add(tf.mul(x, isText), gatherRows(source, virtualPlace, inverse))
}

/** The layouts of layers in which nothing but themselves sees the virtual tokens. */
function blindLayouts(
  layouts: Layouts,
  given: Readonly<Record<string, tf.Tensor>>,
  virtual: number,
  perSequence: boolean,
): Layouts {
  const { sharedPositions, positions, virtualPlace, virtualIndex } = given as Record<string, tf.Tensor>
  const changed = perSequence
    ? {
        keyPositions: tf.where(
          tf.less(virtualPlace!, int(virtualIndex!.shape[0]! * virtualIndex!.shape[1]!)),
          tf.fill(positions!.shape, BEYOND, 'int32'),
          positions!,
        ),
      }
    : {
        sharedPositions: tf.concat([
          tf.fill([virtual], BEYOND, 'int32'),
          tf.slice(sharedPositions!, [virtual], [-1]) as tf.Tensor1D,
        ]),
      }
  return { all: { ...layouts.all, ...changed }, read: { ...layouts.read, ...changed } }
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
      ...(given.keySlot ? { keySlot: given.keySlot } : {}),
    },
    read: {
      keyPositions: at('positions'),
      sharedPositions: at('sharedPositions'),
      queryIndex: at('readQueryIndex'),
      queryPositions: at('readQueryPositions'),
      queryMask: at('readQueryMask'),
      querySlot: at('readQuerySlot'),
      keyIndex: at('readKeyIndex'),
      ...(given.readKeySlot ? { keySlot: given.readKeySlot } : {}),
    },
  }
}
