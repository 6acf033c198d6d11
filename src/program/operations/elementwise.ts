import type { TensorMeta } from '../../../kernels/kernel.js'
import { broadcast, cast, like, type Operation, type OperationLowering, type OperationTable, scalar } from './operation.js'
import { SizeExpression } from './sizes.js'

/** Operations that treat every element alike. */

type Unary = string | ((x: string, l: OperationLowering) => string)
type Binary = string | ((a: string, b: string, l: OperationLowering) => string)

const unary = (lower: Unary, dtype?: 'bool' | 'float32'): Operation => ({
  infer: ([x]) => [{ shape: x!.shape, dtype: dtype ?? x!.dtype }],
  lower: l => (typeof lower === 'string' ? l.emit(lower, [l.inputs[0]!.name]) : lower(l.inputs[0]!.name, l)),
})

const binary = (lower: Binary, dtype?: 'bool' | 'int32'): Operation => ({
  inputs: ['a', 'b'],
  infer: ([a, b]) => [{ shape: broadcast(a!.shape, b!.shape), dtype: dtype ?? a!.dtype }],
  lower: l => {
    const [a, b] = l.inputs.map(input => input.name) as [string, string]
    return typeof lower === 'string' ? l.emit(lower, [a, b]) : lower(a, b, l)
  },
})

/**
 * A function that ONNX has by name, for devices that compute it well, and what it is in terms of others, which are exact in double
 * precision: the host computes these for a device that would lose digits.
 */
const precise = (operator: string, onDevice: Unary, inDouble: (x: string, l: OperationLowering) => string): Operation =>
  unary((x, l) => {
    if (l.isCoarse(operator)) return cast(l, inDouble(cast(l, x, 'float64'), l), 'float32')
    return typeof onDevice === 'string' ? l.emit(onDevice, [x]) : onDevice(x, l)
  })

const double = (l: OperationLowering, value: number) => cast(l, l.float(value), 'float64')

const isInteger = (l: OperationLowering) => l.inputs.every(({ dtype }) => dtype === 'int32')
const asFloat = (l: OperationLowering, x: string) => (l.inputs[0]!.dtype === 'float32' ? x : cast(l, x, 'float32'))

/** Whether all elements are known now to be neither 0 nor -1: then a processor can divide by them. A dimension is 1 at least. */
function dividesSafely(l: OperationLowering): boolean {
  const divisor = l.inputs[1]!.uniform
  if (divisor instanceof SizeExpression)
    return divisor.terms.every(({ coefficient, factors }) => coefficient > 0 && factors.length > 0)
  return typeof divisor === 'number' && divisor !== 0 && divisor !== -1
}

/**
 * A division by whole numbers: 0 and -1 become 1 before, as processors stop at `x / 0` and at the lowest number `/ -1`. `fix` says what
 * comes of them.
 */
function guarded(b: string, l: OperationLowering, divide: (b: string) => string, fix: { zero: string; minus: string }): string {
  if (dividesSafely(l)) return divide(b)
  const isZero = l.emit('Equal', [b, l.int32(0)])
  const isMinus = l.emit('Equal', [b, l.int32(-1)])
  const result = divide(l.emit('Where', [l.emit('Or', [isZero, isMinus]), l.int32(1), b]))
  return l.emit('Where', [isZero, fix.zero, l.emit('Where', [isMinus, fix.minus, result])])
}

/** The remainder has the divisor's sign; of whole numbers, that of a division by 0 is 0. */
function modulo(a: string, b: string, l: OperationLowering): string {
  if (!isInteger(l)) return l.emit('Sub', [a, l.emit('Mul', [l.emit('Floor', [l.emit('Div', [a, b])]), b])])
  const zero = l.int32(0)
  return guarded(b, l, divisor => l.emit('Mod', [a, divisor]), { zero, minus: zero })
}

/** Rounded down; of whole numbers, a division by 0 gives 0, as it does when JavaScript stores infinity as an integer. */
function floorDivide(a: string, b: string, l: OperationLowering): string {
  if (isInteger(l)) {
    // ONNX cuts the quotient off: one too much where the remainder has another sign than the divisor.
    const divide = (divisor: string) => {
      const [down, cut] = [0, 1].map(fmod => l.emit('Mod', [a, divisor], { fmod })) as [string, string]
      return l.emit('Sub', [l.emit('Div', [a, divisor]), cast(l, l.emit('Not', [l.emit('Equal', [down, cut])]), 'int32')])
    }
    return guarded(b, l, divide, { zero: l.int32(0), minus: l.emit('Neg', [a]) })
  }
  return wholeNumber(l, l.emit('Floor', [l.emit('Div', [a, b])]))
}

/** A number cut off to an integer of 32 bits as JavaScript does it: what is not finite becomes 0, and what is too large wraps. */
function wholeNumber(l: OperationLowering, x: string): string {
  const isNumber = l.emit('Equal', [l.emit('Sub', [x, x]), l.float(0)])
  const long = cast(l, l.emit('Where', [isNumber, x, l.float(0)]), 'int64')
  // In arithmetic, as two casts in a row would be made one.
  const [half, whole] = [2 ** 31, 2 ** 32].map(value => scalar(l, value, 'int64')) as [string, string]
  return cast(l, l.emit('Sub', [l.emit('Mod', [l.emit('Add', [long, half]), whole]), half]), 'int32')
}

/** The angle of the point (x, y): ONNX has the quotient's alone. Zeros keep their signs, as in `Math.atan2`. */
function arcTangent(y: string, x: string, l: OperationLowering): string {
  const [zero, one, pi] = [l.float(0), l.float(1), l.float(Math.PI)]
  const isNegative = (value: string) =>
    l.emit('Less', [l.emit('Where', [l.emit('Equal', [value, zero]), l.emit('Div', [one, value]), value]), zero])
  // Two infinities have the angle of two ones.
  const isInfinite = (value: string) => l.emit('Equal', [l.emit('Abs', [value]), l.float(Number.POSITIVE_INFINITY)])
  const both = l.emit('And', [isInfinite(y), isInfinite(x)])
  const [top, bottom] = [y, x].map(value => l.emit('Where', [both, l.emit('Sign', [value]), value])) as [string, string]
  const isOrigin = l.emit('And', [l.emit('Equal', [y, zero]), l.emit('Equal', [x, zero])])
  const angle = l.emit('Where', [isOrigin, y, l.emit('Atan', [l.emit('Div', [top, bottom])])])
  const turned = l.emit('Where', [isNegative(y), l.emit('Sub', [angle, pi]), l.emit('Add', [angle, pi])])
  return l.emit('Where', [isNegative(x), turned, angle])
}

export const elementwise: OperationTable = {
  Abs: unary('Abs'),
  // acos(x) = 2 atan(sqrt((1 - x) / (1 + x))); the arc tangent is a device's to compute well.
  Acos: unary((x, l) => {
    if (!l.isCoarse('Acos')) return l.emit('Acos', [x])
    const one = l.float(1)
    const quotient = l.emit('Div', [l.emit('Sub', [one, x]), l.emit('Add', [one, x])])
    return l.emit('Mul', [l.emit('Atan', [l.emit('Sqrt', [quotient])]), l.float(2)])
  }),
  Acosh: unary('Acosh'),
  Asin: unary('Asin'),
  // asinh(x) = sign(x) log(|x| + sqrt(x² + 1))
  Asinh: precise('Asinh', 'Asinh', (x, l) => {
    const size = l.emit('Abs', [x])
    const root = l.emit('Sqrt', [l.emit('Add', [l.emit('Mul', [x, x]), double(l, 1)])])
    return l.emit('Mul', [l.emit('Sign', [x]), l.emit('Log', [l.emit('Add', [size, root])])])
  }),
  Atan: unary('Atan'),
  // atanh(x) = log((1 + x) / (1 - x)) / 2
  Atanh: precise('Atanh', 'Atanh', (x, l) => {
    const one = double(l, 1)
    const quotient = l.emit('Div', [l.emit('Add', [one, x]), l.emit('Sub', [one, x])])
    return l.emit('Mul', [l.emit('Log', [quotient]), double(l, 0.5)])
  }),
  Ceil: unary('Ceil'),
  Cos: precise('Cos', 'Cos', (x, l) => l.emit('Cos', [x])),
  Cosh: unary('Cosh'),
  Elu: unary('Elu'),
  Erf: unary('Erf'),
  Exp: unary((x, l) => l.emit('Exp', [asFloat(l, x)]), 'float32'),
  // exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which loses nothing near zero.
  Expm1: precise(
    'Expm1',
    (x, l) =>
      l.emit('Mul', [l.emit('Tanh', [l.emit('Mul', [x, l.float(0.5)])]), l.emit('Add', [l.emit('Exp', [x]), l.float(1)])]),
    (x, l) => l.emit('Sub', [l.emit('Exp', [x]), double(l, 1)]),
  ),
  Floor: unary('Floor'),
  IsFinite: unary((x, l) => {
    const number = asFloat(l, x)
    return l.emit('Not', [l.emit('Or', [l.emit('IsNaN', [number]), l.emit('IsInf', [number])])])
  }, 'bool'),
  IsInf: unary((x, l) => l.emit('IsInf', [asFloat(l, x)]), 'bool'),
  IsNan: unary((x, l) => l.emit('IsNaN', [asFloat(l, x)]), 'bool'),
  Log: unary('Log'),
  // log(1 + x) = 2 atanh(x / (2 + x)), which loses nothing near zero.
  Log1p: precise(
    'Log1p',
    (x, l) =>
      l.emit('Where', [
        l.emit('Less', [l.emit('Abs', [x]), l.float(0.5)]),
        l.emit('Mul', [l.emit('Atanh', [l.emit('Div', [x, l.emit('Add', [x, l.float(2)])])]), l.float(2)]),
        l.emit('Log', [l.emit('Add', [x, l.float(1)])]),
      ]),
    (x, l) => l.emit('Log', [l.emit('Add', [x, double(l, 1)])]),
  ),
  LogicalNot: unary('Not', 'bool'),
  Neg: unary('Neg'),
  Reciprocal: unary('Reciprocal'),
  Relu: unary('Relu'),
  Relu6: unary((x, l) => l.emit('Clip', [x, like(l, 0), like(l, 6)])),
  Round: unary('Round'),
  Rsqrt: unary((x, l) => l.emit('Reciprocal', [l.emit('Sqrt', [x])])),
  Selu: unary('Selu'),
  Sigmoid: unary('Sigmoid'),
  Sign: unary('Sign'),
  Sin: precise('Sin', 'Sin', (x, l) => l.emit('Sin', [x])),
  Sinh: unary('Sinh'),
  Softplus: unary('Softplus'),
  Sqrt: unary('Sqrt'),
  Square: unary((x, l) => l.emit('Mul', [x, x])),
  Tan: precise('Tan', 'Tan', (x, l) => l.emit('Div', [l.emit('Sin', [x]), l.emit('Cos', [x])])),
  Tanh: unary('Tanh'),
  LeakyRelu: unary((x, l) => l.emit('LeakyRelu', [x], { alpha: l.attributes.alpha })),
  Step: unary((x, l) =>
    l.emit('Where', [l.emit('Greater', [x, like(l, 0)]), like(l, 1), like(l, (l.attributes.alpha as number) ?? 0)]),
  ),
  ClipByValue: unary((x, l) =>
    l.emit('Clip', [x, like(l, l.attributes.clipValueMin as number), like(l, l.attributes.clipValueMax as number)]),
  ),

  Add: binary('Add'),
  Sub: binary('Sub'),
  Multiply: binary('Mul'),
  RealDiv: binary('Div'),
  FloorDiv: binary(floorDivide, 'int32'),
  Atan2: binary(arcTangent),
  Maximum: binary('Max'),
  Minimum: binary('Min'),
  Mod: binary(modulo),
  Pow: binary('Pow'),
  SquaredDifference: binary((a, b, l) => {
    const difference = l.emit('Sub', [a, b])
    return l.emit('Mul', [difference, difference])
  }),
  Equal: binary('Equal', 'bool'),
  NotEqual: binary((a, b, l) => l.emit('Not', [l.emit('Equal', [a, b])]), 'bool'),
  Greater: binary('Greater', 'bool'),
  GreaterEqual: binary('GreaterOrEqual', 'bool'),
  Less: binary('Less', 'bool'),
  LessEqual: binary('LessOrEqual', 'bool'),
  LogicalAnd: binary('And', 'bool'),
  LogicalOr: binary('Or', 'bool'),

  /** dy where y >= 0, dy (y + 1) elsewhere. */
  EluGrad: {
    inputs: ['dy', 'y'],
    infer: ([, y]) => [{ shape: y!.shape, dtype: y!.dtype }],
    lower: l => {
      const [dy, y] = l.inputs.map(input => input.name) as [string, string]
      return l.emit('Mul', [dy, l.emit('Min', [l.emit('Add', [y, l.float(1)]), l.float(1)])])
    },
  },
  Prelu: {
    inputs: ['x', 'alpha'],
    infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
    lower: l => l.emit('PRelu', [l.inputs[0]!.name, l.inputs[1]!.name]),
  },
  Select: {
    inputs: ['condition', 't', 'e'],
    infer: ([condition, t, e]) => [{ shape: broadcast(broadcast(condition!.shape, t!.shape), e!.shape), dtype: t!.dtype }],
    lower: l =>
      l.emit(
        'Where',
        l.inputs.map(input => input.name),
      ),
  },
  AddN: {
    infer: ([first]) => [{ shape: first!.shape, dtype: first!.dtype }],
    lower: l => l.inputs.map(input => input.name).reduce((sum, x) => l.emit('Add', [sum, x])),
  },
  Cast: {
    alias: ([x], { dtype }) => x!.dtype === dtype,
    infer: ([x], { dtype }) => [{ shape: x!.shape, dtype: dtype as TensorMeta['dtype'] }],
    lower: l => {
      const [{ name, dtype: from }, { dtype: to }] = [l.inputs[0]!, l.outputs[0]!]
      return from === 'float32' && to === 'int32' ? wholeNumber(l, name) : cast(l, name, to)
    },
  },
  Identity: {
    alias: () => true,
    infer: ([x]) => [x!],
    lower: l => l.inputs[0]!.name,
  },
}
