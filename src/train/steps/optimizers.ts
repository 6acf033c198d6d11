import { elementCount } from '../../numbers.js'

/** A part of what an optimiser remembers: one moment of one parameter, row-major. */
export interface StateTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly data: Float32Array
}

export interface OptimizerParameter {
  readonly name: string
  readonly shape: readonly number[]
  /** Multiplies the step's learning rate for this parameter. Default 1. */
  readonly learningRateFactor?: number | undefined
}

/** Loshchilov and Hutter 2019 (arXiv 1711.05101), with the arithmetic of `torch.optim.AdamW`. */
export interface AdamWOptions {
  readonly type: 'adamw'
  /** Default 0.9. */
  readonly beta1?: number | undefined
  /** Default 0.999. */
  readonly beta2?: number | undefined
  /** Default 1e-8. */
  readonly epsilon?: number | undefined
  /** Decoupled: values shrink by `learningRate * weightDecay`. Default 0. */
  readonly weightDecay?: number | undefined
}

/**
 * Shazeer and Stern 2018 (arXiv 1804.04235), with the arithmetic of transformers' `Adafactor` without parameter scaling
 * and without relative steps: the recipe of Lester et al. 2021 when the learning rate is a constant 0.3.
 */
export interface AdafactorOptions {
  readonly type: 'adafactor'
  /** The second moment forgets as `1 - step ** decayRate`. Default -0.8. */
  readonly decayRate?: number | undefined
  /** The root mean square of an update is clipped to this. Default 1. */
  readonly clipThreshold?: number | undefined
  /** Added to squared gradients. Default 1e-30. */
  readonly epsilon?: number | undefined
  /** First moment, none by default. */
  readonly beta1?: number | undefined
  /** Default 0. */
  readonly weightDecay?: number | undefined
}

/** Plain gradient descent: what a gradient says is done at once, and nothing is remembered. */
export interface SgdOptions {
  readonly type: 'sgd'
  /** Decoupled: values shrink by `learningRate * weightDecay`. Default 0. */
  readonly weightDecay?: number | undefined
}

export type OptimizerOptions = AdamWOptions | AdafactorOptions | SgdOptions

export interface Optimizer {
  /** Updates done so far. */
  readonly stepCount: number
  /**
   * One update in place. `values` and `gradients` hold an array per parameter, by its name, of its shape's size.
   * @throws RangeError when a parameter is missing or has another size.
   */
  step(values: ReadonlyMap<string, Float32Array>, gradients: ReadonlyMap<string, Float32Array>, learningRate: number): void
  /** A copy of the moments, named `<parameter>.<moment>`. With `stepCount` it is everything an optimiser remembers. */
  state(): StateTensor[]
  /**
   * Goes on from `state()` to the same bits as without the interruption.
   * @throws RangeError when a tensor is missing, unknown or of another shape.
   */
  restore(state: readonly StateTensor[], stepCount: number): void
}

/** A new optimiser for parameters of fixed names and shapes, its moments zero. */
export function createOptimizer(options: OptimizerOptions, parameters: readonly OptimizerParameter[]): Optimizer {
  const rule: Rule<'firstMoment' | 'secondMoment' | 'secondMomentRows' | 'secondMomentColumns'> =
    options.type === 'adamw' ? adamW(options) : options.type === 'sgd' ? sgd(options) : adafactor(options)
  const slots = parameters.map(parameter => ({
    parameter,
    size: elementCount(parameter.shape),
    moments: rule.moments(parameter.shape),
  }))
  let stepCount = 0
  return {
    get stepCount() {
      return stepCount
    },

    step(values, gradients, learningRate) {
      const updates = slots.map(slot => ({
        slot,
        value: sized(values, slot.parameter.name, slot.size, 'values'),
        gradient: sized(gradients, slot.parameter.name, slot.size, 'gradients'),
      }))
      stepCount++
      for (const { slot, value, gradient } of updates) {
        rule.update(value, gradient, slot.moments, learningRate * (slot.parameter.learningRateFactor ?? 1), stepCount)
      }
    },

    state: () =>
      slots.flatMap(({ parameter, moments }) =>
        Object.entries(moments).map(([moment, { shape, data }]) => ({
          name: `${parameter.name}.${moment}`,
          shape,
          data: data.slice(),
        })),
      ),

    restore(state, restoredStepCount) {
      const saved = new Map(state.map(tensor => [tensor.name, tensor]))
      for (const { parameter, moments } of slots) {
        for (const [moment, { shape, data }] of Object.entries(moments)) {
          const name = `${parameter.name}.${moment}`
          const tensor = saved.get(name)
          if (tensor === undefined) throw new RangeError(`the optimiser's state has no ${name}`)
          if (tensor.shape.join() !== shape.join() || tensor.data.length !== data.length) {
            throw new RangeError(`the optimiser's ${name} is [${tensor.shape}], not [${shape}]`)
          }
          data.set(tensor.data)
          saved.delete(name)
        }
      }
      for (const name of saved.keys()) throw new RangeError(`the optimiser has no ${name}`)
      stepCount = restoredStepCount
    },
  }
}

/**
 * Scales all gradients, in place, so that the norm of all of them together is at most `maxNorm`, as
 * `torch.nn.utils.clip_grad_norm_` does (1e-6 in the denominator included).
 * @returns the norm before; not finite when a gradient is not.
 */
export function clipByGlobalNorm(gradients: ReadonlyMap<string, Float32Array>, maxNorm: number): number {
  let sum = 0
  for (const gradient of gradients.values()) sum += sumOfSquares(gradient)
  const norm = Math.sqrt(sum)
  const scale = maxNorm / (norm + 1e-6)
  if (scale >= 1) return norm
  for (const gradient of gradients.values()) {
    for (let i = 0; i < gradient.length; i++) gradient[i]! *= scale
  }
  return norm
}

interface Moment {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

interface Rule<Name extends string> {
  moments(shape: readonly number[]): Partial<Record<Name, Moment>>
  update(
    value: Float32Array,
    gradient: Float32Array,
    moments: Partial<Record<Name, Moment>>,
    learningRate: number,
    stepCount: number,
  ): void
}

function adamW(options: AdamWOptions): Rule<'firstMoment' | 'secondMoment'> {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = options
  return {
    moments: shape => ({ firstMoment: zeros(shape), secondMoment: zeros(shape) }),

    update(value, gradient, moments, learningRate, stepCount) {
      const first = moments.firstMoment!.data
      const second = moments.secondMoment!.data
      const stepSize = learningRate / (1 - beta1 ** stepCount)
      const secondCorrection = Math.sqrt(1 - beta2 ** stepCount)
      const keep = 1 - learningRate * weightDecay
      for (let i = 0; i < value.length; i++) {
        const g = gradient[i]!
        const m = first[i]! + (1 - beta1) * (g - first[i]!)
        const v = beta2 * second[i]! + (1 - beta2) * g * g
        first[i] = m
        second[i] = v
        value[i] = value[i]! * keep - (stepSize * m) / (Math.sqrt(v) / secondCorrection + epsilon)
      }
    },
  }
}

function adafactor(options: AdafactorOptions): Rule<'firstMoment' | 'secondMoment' | 'secondMomentRows' | 'secondMomentColumns'> {
  const { decayRate = -0.8, clipThreshold = 1, epsilon = 1e-30, beta1, weightDecay = 0 } = options
  return {
    moments: shape => ({
      ...(beta1 !== undefined && { firstMoment: zeros(shape) }),
      ...(shape.length >= 2
        ? { secondMomentRows: zeros(shape.slice(0, -1)), secondMomentColumns: zeros([...shape.slice(0, -2), shape.at(-1)!]) }
        : { secondMoment: zeros(shape) }),
    }),

    update(value, gradient, moments, learningRate, stepCount) {
      const beta2 = 1 - stepCount ** decayRate
      const update = new Float64Array(value.length)
      if (moments.secondMoment) {
        const second = moments.secondMoment.data
        for (let i = 0; i < value.length; i++) {
          const g = gradient[i]!
          second[i] = beta2 * second[i]! + (1 - beta2) * (g * g + epsilon)
          update[i] = g / Math.sqrt(second[i]!)
        }
      } else {
        factoredUpdate(update, gradient, moments.secondMomentRows!, moments.secondMomentColumns!, beta2, epsilon)
      }

      const scale = learningRate / Math.max(1, Math.sqrt(sumOfSquares(update) / update.length) / clipThreshold)
      const first = moments.firstMoment?.data
      const keep = 1 - learningRate * weightDecay
      for (let i = 0; i < value.length; i++) {
        let change = update[i]! * scale
        if (first && beta1 !== undefined) {
          change = beta1 * first[i]! + (1 - beta1) * change
          first[i] = change
        }
        value[i] = value[i]! * keep - change
      }
    },
  }
}

function sgd({ weightDecay = 0 }: SgdOptions): Rule<never> {
  return {
    moments: () => ({}),
    update(value, gradient, _, learningRate) {
      const keep = 1 - learningRate * weightDecay
      for (let i = 0; i < value.length; i++) value[i] = value[i]! * keep - learningRate * gradient[i]!
    },
  }
}

/** Rows and columns of the last two dimensions keep a mean each; their outer product stands for the second moment. */
function factoredUpdate(
  update: Float64Array,
  gradient: Float32Array,
  rowMoment: Moment,
  columnMoment: Moment,
  beta2: number,
  epsilon: number,
): void {
  const rows = rowMoment.shape.at(-1)!
  const columns = columnMoment.shape.at(-1)!
  const matrix = rows * columns
  for (let at = 0, index = 0; at < gradient.length; at += matrix, index++) {
    const rowMeans = rowMoment.data.subarray(index * rows, (index + 1) * rows)
    const columnMeans = columnMoment.data.subarray(index * columns, (index + 1) * columns)
    const columnSums = new Float64Array(columns)
    let meanOfRows = 0
    for (let r = 0; r < rows; r++) {
      let rowSum = 0
      for (let c = 0; c < columns; c++) {
        const square = gradient[at + r * columns + c]! ** 2 + epsilon
        rowSum += square
        columnSums[c]! += square
      }
      rowMeans[r] = beta2 * rowMeans[r]! + ((1 - beta2) * rowSum) / columns
      meanOfRows += rowMeans[r]! / rows
    }
    for (let c = 0; c < columns; c++) columnMeans[c] = beta2 * columnMeans[c]! + ((1 - beta2) * columnSums[c]!) / rows
    for (let r = 0; r < rows; r++) {
      const rowFactor = 1 / Math.sqrt(rowMeans[r]! / meanOfRows)
      for (let c = 0; c < columns; c++) {
        const i = at + r * columns + c
        update[i] = (rowFactor / Math.sqrt(columnMeans[c]!)) * gradient[i]!
      }
    }
  }
}

const zeros = (shape: readonly number[]): Moment => ({ shape, data: new Float32Array(elementCount(shape)) })

function sumOfSquares(values: Float32Array | Float64Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  return sum
}

function sized(arrays: ReadonlyMap<string, Float32Array>, name: string, size: number, what: string): Float32Array {
  const array = arrays.get(name)
  if (array?.length !== size) throw new RangeError(`the ${what} of ${name} have ${array?.length ?? 'no'} numbers, not ${size}`)
  return array
}
