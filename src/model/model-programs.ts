import { tf } from '../../kernels/tf.js'
import { type ActiveLoss, type LossValue, lossInputs, type ReadRows, totalLoss } from '../losses/loss.js'
import type { ProgramRequest } from '../program/open-programs.js'
import type { InputSpec, WeightFile } from '../program/program.js'
import { type Parameters, tensorOptions } from '../prompts/method.js'
import { type ActivePrompt, placementOf } from './active-prompt.js'
import type { ForestLayout } from './forest/groups.js'
import { forestSpec } from './forest/spec.js'
import { type ForwardOptions, forwardForest, frozenLayers, targetsOf } from './forward.js'
import type { Checkpoint } from './weights/checkpoint.js'

/**
 * Programs over forests, by what they compute: a reading of the model, or the gradient of losses, under a prompt or under none. Which
 * readings and losses there are is unknown here.
 */

/** What a program is of. */
export interface ProgramModel {
  readonly checkpoint: Checkpoint
  readonly weights: WeightFile
}

export type ProgramPrompt = Pick<ActivePrompt, 'method' | 'config'>

/** What is read off a forward pass, by name. */
export interface Reading {
  readonly name: string
  compute(read: Omit<ReadRows, 'given'>): Record<string, tf.Tensor>
}

/** The rows that are read; logits are computed when they are first asked for. */
export function readRows(
  hidden: tf.Tensor,
  logitsOf: (hidden: tf.Tensor) => tf.Tensor,
  given: Readonly<Record<string, tf.Tensor>>,
): Omit<ReadRows, 'given'> {
  let logits: tf.Tensor | undefined
  return {
    hidden,
    targets: targetsOf(given),
    get logits() {
      logits ??= logitsOf(hidden)
      return logits
    },
  }
}

/** The same with the prompt's rows, which are made (once more, of which nothing is left) when they are first asked for. */
const withVirtual = (
  read: Omit<ReadRows, 'given'>,
  prompt: (ProgramPrompt & { readonly parameters: Parameters }) | undefined,
): Omit<ReadRows, 'given'> => ({
  ...{ hidden: read.hidden, targets: read.targets },
  get logits() {
    return read.logits
  },
  get virtual() {
    return prompt?.method.inputRows?.(tensorOptions(prompt.config), prompt.parameters)
  },
})

/** A prompt's parameters as inputs, and what of a prompt its programs depend on. */
function promptOf({ checkpoint: { config } }: ProgramModel, prompt: ProgramPrompt | undefined) {
  const parameters = prompt?.method.parameters(prompt.config, config) ?? []
  const placement = placementOf(prompt, config)
  const inputs = parameters.map(({ name, shape }): [string, InputSpec] => [`parameter:${name}`, { shape, dtype: 'float32' }])
  return {
    parameters,
    placement,
    inputs: Object.fromEntries(inputs),
    key: prompt && { options: tensorOptions(prompt.config), parameters, placement },
    values: (given: Readonly<Record<string, tf.Tensor>>) =>
      Object.fromEntries(parameters.map(({ name }) => [name, given[`parameter:${name}`]!])),
  }
}

/**
 * What the model says of a forest's read rows.
 * @param options.layout of the forests that it takes
 */
export function readingRequest(
  model: ProgramModel,
  reading: Reading,
  prompt: ProgramPrompt | undefined,
  { layout = 'distinct' }: { readonly layout?: ForestLayout } = {},
): ProgramRequest {
  const { checkpoint, weights } = model
  const { family, config } = checkpoint
  const own = promptOf(model, prompt)
  return {
    name: `${family.name} ${reading.name}`,
    origin: {
      module: import.meta.url,
      parts: [family, prompt?.method, reading],
      options: { config, prompt: own.key, layout, weights: weights.hash },
    },
    spec: () => {
      const { inputs, dims } = forestSpec({ placement: own.placement, layout })
      return {
        inputs: { ...inputs, ...own.inputs },
        dims,
        weights,
        fn: (given, weight) => {
          const acting = prompt && { prompt: { ...prompt, parameters: own.values(given) } }
          const hidden = forwardForest({ family, config, weight, given, ...acting }) // [Q, d]
          return reading.compute(readRows(hidden, rows => family.logits(config, weight, rows), given))
        },
      }
    },
  }
}

const LOSS_SCALE = 'lossScale'

/** What a program whose gradients need a scale takes besides, see `LossScale`. */
export const scaleInput = ({ precision }: WeightFile): Record<string, InputSpec> =>
  precision === 'fp16' ? { [LOSS_SCALE]: { shape: [], dtype: 'float32' } } : {}

/** The scale for such a program; none for others. */
export const scaleFeed = (scale: number | undefined): Record<string, Float32Array> =>
  scale === undefined ? {} : { [LOSS_SCALE]: Float32Array.of(scale) }

/** What is differentiated in the place of a loss. */
export const scaled = (loss: tf.Scalar, given: Readonly<Record<string, tf.Tensor>>): tf.Scalar =>
  given[LOSS_SCALE] === undefined ? loss : tf.mul(loss, given[LOSS_SCALE])

/**
 * The sum of losses, and its gradient with respect to what of a prompt is learned: outputs `loss`, `gradient:NAME`, and the losses'
 * figures.
 *
 * @param options.frozen takes what the layers that nothing learned reaches make of the text, as an input of that name
 * @param options.recompute keeps of the forward pass what each layer takes, and no more
 * @param options.layout of the forests that it takes
 */
export function gradientRequest(
  model: ProgramModel,
  losses: readonly ActiveLoss[],
  prompt: ProgramPrompt | undefined,
  {
    frozen = false,
    recompute = false,
    layout = 'distinct',
  }: { readonly frozen?: boolean; readonly recompute?: boolean; readonly layout?: ForestLayout } = {},
): ProgramRequest {
  const { checkpoint, weights } = model
  const { family, config } = checkpoint
  const own = promptOf(model, prompt)
  return {
    name: `${family.name} ${frozen ? 'gradientFromFrozen' : 'gradient'}`,
    origin: {
      module: import.meta.url,
      parts: [family, prompt?.method, ...losses.map(({ loss }) => loss)],
      options: {
        config,
        prompt: own.key,
        losses: losses.map(({ options }) => options),
        from: frozen ? frozenLayers(prompt, config) : 0,
        ...(recompute && { recompute }),
        layout,
        weights: weights.hash,
      },
    },
    spec: () => {
      const { inputs, dims } = forestSpec({ placement: own.placement, layout })
      const { inputs: ofLosses, dims: dimsOfLosses } = lossInputs(losses, config, Object.keys(dims))
      const below: Record<string, InputSpec> = frozen
        ? { frozen: { shape: [inputs.tokenIds!.shape[0]!, config.hiddenSize], dtype: 'float32' } }
        : {}
      return {
        inputs: { ...inputs, ...below, ...ofLosses, ...own.inputs, ...scaleInput(weights) },
        dims: { ...dims, ...dimsOfLosses },
        weights,
        fn: (given, weight) => {
          const all = own.values(given)
          const names = own.parameters.filter(({ frozen }) => !frozen).map(({ name }) => name)
          let figures: Readonly<Record<string, tf.Scalar>> = {}
          const loss = (...tensors: tf.Tensor[]) => {
            const learned = Object.fromEntries(names.map((name, i) => [name, tensors[i]!]))
            const acting = prompt && { prompt: { ...prompt, parameters: { ...all, ...learned } } }
            const hidden = forwardForest({ family, config, weight, given, recompute, ...acting })
            const said = readRows(hidden, rows => family.logits(config, weight, rows), given)
            const read = withVirtual(said, acting?.prompt)
            const total = penalised(totalLoss(losses, read, given, config), acting?.prompt, read)
            figures = Object.fromEntries(
              Object.entries({ ...total.figures, loss: total.loss }).map(([name, figure]) => [name, tf.keep(figure)]),
            )
            return scaled(total.loss, given)
          }
          const { grads } = tf.valueAndGrads(loss)(names.map(name => all[name]!))
          return { ...figures, ...Object.fromEntries(names.map((name, i) => [`gradient:${name}`, grads[i]!])) }
        },
      }
    },
  }
}

/** A part's loss with its share of what a method minimises besides: the targets of a batch weigh 1 in all. */
function penalised(value: LossValue, prompt: ForwardOptions['prompt'], { targets }: Pick<ReadRows, 'targets'>): LossValue {
  const penalty = prompt?.method.penalty?.(tensorOptions(prompt.config), prompt.parameters)
  return penalty ? { ...value, loss: tf.add(value.loss, tf.mul(penalty, tf.sum(targets.weight))) } : value
}

/**
 * What the layers below one make of a text.
 * @param prompt what stands where; none of its hooks may act below
 * @param to the layer whose rows are wanted, as it takes them
 */
export function layersRequest(
  model: ProgramModel,
  given: ProgramPrompt | undefined,
  to: number,
  layout: ForestLayout = 'distinct',
): ProgramRequest {
  const { checkpoint, weights } = model
  const { family, config } = checkpoint
  const prompt = given && { method: given.method, config: given.config, parameters: {} }
  const placement = placementOf(given, config)
  return {
    name: `${family.name} layers below`,
    // No hook acts below, so that the method is no part of it, and none of its parameters is needed.
    origin: { module: import.meta.url, parts: [family], options: { config, placement, to, layout, weights: weights.hash } },
    spec: () => ({
      ...forestSpec({ placement, layout }),
      weights,
      fn: (given, weight) => ({ hidden: forwardForest({ family, config, weight, given, ...(prompt && { prompt }), to }) }),
    }),
  }
}
