import type { TensorMeta } from '../../../kernels/kernel.js'
import { broadcast, ONNX_TYPES, type Operation, type OperationLowering, type OperationTable } from './operation.js'

/** Operations that treat every element alike. */

const unary = (lower: string | ((x: string, l: OperationLowering) => string), dtype?: 'bool' | 'float32'): Operation => ({
  infer: ([x]) => [{ shape: x!.shape, dtype: dtype ?? x!.dtype }],
  lower: l => (typeof lower === 'string' ? l.emit(lower, [l.inputs[0]!.name]) : lower(l.inputs[0]!.name, l)),
})

const binary = (
  lower: string | ((a: string, b: string, l: OperationLowering) => string),
  dtype?: 'bool' | 'int32',
): Operation => ({
  inputs: ['a', 'b'],
  infer: ([a, b]) => [{ shape: broadcast(a!.shape, b!.shape), dtype: dtype ?? a!.dtype }],
  lower: l => {
    const [a, b] = l.inputs.map(input => input.name) as [string, string]
    return typeof lower === 'string' ? l.emit(lower, [a, b]) : lower(a, b, l)
  },
})

const cast = (l: OperationLowering, x: string, dtype: string) => l.emit('Cast', [x], { to: ONNX_TYPES[dtype]! })

/** A constant of the type of the operation's output. */
const like = (l: OperationLowering, value: number) => {
  const { dtype } = l.outputs[0]!
  if (dtype !== 'int32') return l.float(value)
  const whole = Math.trunc(Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, value)))
  return l.emit('Squeeze', [cast(l, l.int64([whole]), dtype), l.int64([0])])
}

const isInteger = (l: OperationLowering) => l.inputs.every(({ dtype }) => dtype === 'int32')

/** The remainder has the divisor's sign. */
const modulo = (a: string, b: string, l: OperationLowering): string =>
  isInteger(l) ? l.emit('Mod', [a, b]) : l.emit('Sub', [a, l.emit('Mul', [l.emit('Floor', [l.emit('Div', [a, b])]), b])])

export const elementwise: OperationTable = {
  Abs: unary('Abs'),
  Acos: unary('Acos'),
  Asin: unary('Asin'),
  Atan: unary('Atan'),
  Ceil: unary('Ceil'),
  Cos: unary('Cos'),
  Cosh: unary('Cosh'),
  Elu: unary('Elu'),
  Erf: unary('Erf'),
  Exp: unary((x, l) => l.emit('Exp', [l.inputs[0]!.dtype === 'float32' ? x : cast(l, x, 'float32')]), 'float32'),
  // exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which loses nothing near zero.
  Expm1: unary((x, l) =>
    l.emit('Mul', [l.emit('Tanh', [l.emit('Mul', [x, l.float(0.5)])]), l.emit('Add', [l.emit('Exp', [x]), l.float(1)])]),
  ),
  Floor: unary('Floor'),
  IsNan: unary('IsNaN', 'bool'),
  Log: unary('Log'),
  // log(1 + x) = 2 atanh(x / (2 + x)), which loses nothing near zero.
  Log1p: unary((x, l) =>
    l.emit('Where', [
      l.emit('Less', [l.emit('Abs', [x]), l.float(0.5)]),
      l.emit('Mul', [l.emit('Atanh', [l.emit('Div', [x, l.emit('Add', [x, l.float(2)])])]), l.float(2)]),
      l.emit('Log', [l.emit('Add', [x, l.float(1)])]),
    ]),
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
  Sin: unary('Sin'),
  Sinh: unary('Sinh'),
  Softplus: unary('Softplus'),
  Sqrt: unary('Sqrt'),
  Square: unary((x, l) => l.emit('Mul', [x, x])),
  Tan: unary('Tan'),
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
  FloorDiv: binary(
    (a, b, l) =>
      isInteger(l)
        ? l.emit('Div', [l.emit('Sub', [a, modulo(a, b, l)]), b])
        : cast(l, l.emit('Floor', [l.emit('Div', [a, b])]), 'int32'),
    'int32',
  ),
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
    lower: l => cast(l, l.inputs[0]!.name, l.outputs[0]!.dtype),
  },
  Identity: {
    alias: () => true,
    infer: ([x]) => [x!],
    lower: l => l.inputs[0]!.name,
  },
}
