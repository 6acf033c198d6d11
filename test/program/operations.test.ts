import { describe } from 'vitest'
import { tf } from '../../kernels/tf.js'
import {
  between,
  bool,
  compareRows,
  finite,
  float,
  ids,
  int,
  none,
  oneOf,
  positive,
  type Row,
  RT,
  signed,
  size,
  unit,
} from '../support/operations.js'

const UNARY: Row[] = [
  ...(
    ['abs', 'atan', 'ceil', 'cos', 'cosh', 'elu', 'erf', 'exp', 'expm1', 'floor', 'neg', 'relu', 'relu6', 'round', 'selu', 'sigmoid',
    'sign', 'sin', 'sinh', 'softplus', 'square', 'tan', 'tanh'] as const // biome-ignore format: a list
  )
    .map((name): Row => [name, [name === 'tan' ? unit(...RT) : float(...RT)], x => tf[name](x), name === 'round' ? none : {}]),
  ...(['log', 'log1p', 'reciprocal', 'rsqrt', 'sqrt'] as const).map((name): Row => [name, [positive(...RT)], x => tf[name](x)]),
  ...(['acos', 'asin'] as const).map((name): Row => [name, [unit(...RT)], x => tf[name](x)]),
  ['asinh', [between(-30, 30)(...RT)], x => tf.asinh(x), finite],
  ['asinh near zero', [between(-1e-4, 1e-4)(...RT)], x => tf.asinh(x)],
  ['acosh', [between(1.2, 30)(...RT)], x => tf.acosh(x), finite],
  ['atanh', [unit(...RT)], x => tf.atanh(x), finite],
  ['atanh near zero', [between(-1e-4, 1e-4)(...RT)], x => tf.atanh(x)],
  [
    'isFinite, isInf and isNaN',
    [oneOf('float32', 0, 1.5, -3e38, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)(...RT)],
    x => [tf.isFinite(x), tf.isInf(x), tf.isNaN(x)],
    none,
  ],
  ['isFinite, isInf and isNaN of integers', [signed(...RT)], x => [tf.isFinite(x), tf.isInf(x), tf.isNaN(x)], none],
  ['expm1 near zero', [between(-1e-4, 1e-4)(...RT)], x => tf.expm1(x)],
  ['log1p near zero', [between(-1e-4, 1e-4)(...RT)], x => tf.log1p(x)],
  ['log1p of large numbers', [between(0, 1e9)(...RT)], x => tf.log1p(x)],
  ['erf near zero and far away', [between(-30, 30)(...RT)], x => tf.erf(tf.mul(x, x))],
  ['leakyRelu', [float(...RT)], x => tf.leakyRelu(x, 0.3)],
  ['leakyRelu with a slope of 1', [float(...RT)], x => tf.leakyRelu(x, 1)],
  ['prelu', [float(...RT), float('T')], (x, a) => tf.prelu(x, a)],
  ['clipByValue', [float(...RT)], x => tf.clipByValue(x, -0.5, 1)],
  ['clipByValue from below alone', [float(...RT)], x => tf.clipByValue(x, 0, Number.POSITIVE_INFINITY)],
  ['step', [float(...RT)], x => tf.step(x, 0.2), none],
  ['isNaN', [float(...RT)], x => tf.isNaN(tf.sqrt(x)), none],
  ['hardTanh by composition', [float(...RT)], x => tf.minimum(tf.maximum(x, -1), 1)],
  ['logSigmoid', [float(...RT)], x => tf.logSigmoid(x)],
  ['abs, neg, sign, square of integers', [signed(...RT)], x => [tf.abs(x), tf.neg(x), tf.sign(x), tf.square(x)], none],
  ['relu and relu6 of integers', [int(-9, 9)(...RT)], x => [tf.relu(x), tf.relu6(x)], none],
  ['exp of integers', [signed(...RT)], x => tf.exp(x), none],
  [
    'clipByValue of integers',
    [signed(...RT)],
    x => [tf.clipByValue(x, -2, 3), tf.clipByValue(x, Number.NEGATIVE_INFINITY, 2)],
    none,
  ],
  ['clipByValue at a size', [float(...RT)], x => tf.clipByValue(tf.mul(x, 40), 0, size(x, 0))],
  ['logicalNot', [bool(...RT)], x => tf.logicalNot(x), none],
]

const LOWEST = -(2 ** 31)
const EDGES = [0, -0, 1, -1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]

const BINARY: Row[] = [
  ['add, row by column', [float('R', 1), float(1, 'T')], (a, b) => tf.add(a, b)],
  ['sub, with a vector', [float(...RT), float('T')], (a, b) => tf.sub(a, b)],
  ['mul, with a scalar', [float(...RT), float()], (a, b) => tf.mul(a, b)],
  ['div', [float(...RT), positive('R', 1)], (a, b) => tf.div(a, b)],
  ['divNoNan', [float(...RT), int(0, 2)(...RT)], (a, b) => tf.divNoNan(a, tf.cast(b, 'float32')), none],
  ['pow', [positive(...RT), float('T')], (a, b) => tf.pow(a, b)],
  ['pow of a whole number', [float(...RT)], a => tf.pow(a, 3)],
  ['maximum', [float(...RT), float(...RT)], (a, b) => tf.maximum(a, b)],
  ['minimum', [float(...RT), float(...RT)], (a, b) => tf.minimum(a, b)],
  ['squaredDifference', [float(...RT), float(...RT)], (a, b) => tf.squaredDifference(a, b)],
  [
    'maximum, minimum and squaredDifference, with broadcasting',
    [float(...RT), float('T')],
    (a, b) => [tf.maximum(a, b), tf.minimum(a, b), tf.squaredDifference(a, b)],
    none,
  ],
  ['mod', [between(-20, 20)(...RT), between(1, 3)('T')], (a, b) => tf.mod(a, b)],
  ['mod of integers', [int(-20, 20)(...RT), int(1, 7)('T')], (a, b) => tf.mod(a, b), none],
  ['floorDiv', [between(-20, 20)(...RT), between(1, 3)('T')], (a, b) => tf.floorDiv(a, b), none],
  ['floorDiv of integers', [int(-20, 20)(...RT), int(1, 7)('T')], (a, b) => tf.floorDiv(a, b), none],
  ['floorDiv of large integers', [int(2 ** 30, 2 ** 31 - 1)(...RT), int(1, 3)('T')], (a, b) => tf.floorDiv(a, b), none],
  [
    'division of integers',
    [int(-20, 20)(...RT), oneOf('int32', -7, -1, 1, 2, 7)('T')],
    (a, b) => [tf.div(a, b), tf.floorDiv(a, b), tf.mod(a, b)],
    none,
  ],
  [
    'division of integers by zero',
    [signed(...RT), oneOf('int32', -2, 0, 3)('T')],
    (a, b) => [tf.div(a, b), tf.floorDiv(a, b), tf.mod(a, b)],
    none,
  ],
  [
    'division of the lowest and highest integers',
    [oneOf('int32', LOWEST, LOWEST + 1, 2 ** 31 - 1)(...RT), oneOf('int32', LOWEST, -3, -1, 0, 1, 3)('T')],
    (a, b) => [tf.div(a, b), tf.mod(a, b)],
    none,
  ],
  [
    'division of integers by a number',
    [int(-20, 20)(...RT)],
    a => [7, -7, 1, -1, 0].flatMap(b => [tf.div(a, tf.scalar(b, 'int32')), tf.mod(a, tf.scalar(b, 'int32'))]),
    none,
  ],
  [
    'division of integers by a size',
    [int(-50, 50)(...RT)],
    a => [tf.div(a, tf.scalar(size(a, 0), 'int32')), tf.div(a, tf.scalar(size(a, 1) - 3, 'int32'))],
    none,
  ],
  [
    'floorDiv by zero',
    [oneOf('float32', -2, 0, 5)(...RT), oneOf('float32', -0.5, 0, 0.3)('T')],
    (a, b) => tf.floorDiv(a, b),
    none,
  ],
  ['atan2', [float(...RT), positive('T')], (a, b) => [tf.atan2(a, b), tf.atan2(b, a), tf.atan2(a, tf.neg(b))], finite],
  [
    'atan2 of zeros and infinities',
    [oneOf('float32', ...EDGES)(...RT), oneOf('float32', ...EDGES)('T')],
    (a, b) => tf.atan2(a, b),
    none,
  ],
  ['arithmetic of integers', [signed(...RT), signed('T')], (a, b) => [tf.add(a, b), tf.sub(a, b), tf.mul(a, b)], none],
  ['integers with numbers', [signed(...RT), float('T')], (a, b) => tf.mul(a, b)],
  ['addN', [float(...RT), float(...RT), float(...RT)], (a, b, c) => tf.addN([a, b, c])],
  ['dot', [float('R', 3), float(3)], (a, b) => tf.dot(a, b)],
  ['comparisons', [signed(...RT), signed('T')], (a, b) => [tf.equal(a, b), tf.notEqual(a, b), tf.less(a, b), tf.lessEqual(a, b),
    tf.greater(a, b), tf.greaterEqual(a, b)], none], // biome-ignore format: a list
  [
    'comparisons of numbers',
    [float(...RT), float('R', 1)],
    (a, b) => [tf.less(a, b), tf.greaterEqual(a, b), tf.equal(a, a)],
    none,
  ],
  [
    'logicalAnd, logicalOr, logicalXor',
    [bool(...RT), bool('T')],
    (a, b) => [tf.logicalAnd(a, b), tf.logicalOr(a, b), tf.logicalXor(a, b)],
    none,
  ],
  ['where', [bool(...RT), float(...RT), float(...RT)], (c, a, b) => tf.where(c, a, b)],
  ['where, with broadcasting', [bool('R', 1), float(...RT), float('T')], (c, a, b) => tf.where(c, a, b), none],
  ['where, between integers', [bool(...RT), signed(...RT), signed(...RT)], (c, a, b) => tf.where(c, a, b), none],
  ['sigmoidCrossEntropy', [float(...RT), unit(...RT)], (a, b) => tf.losses.sigmoidCrossEntropy(tf.sigmoid(b), a)],
]

/** Where a product of all would be far from 1. */
const SMALL = [
  { R: 1, T: 1 },
  { R: 1, T: 6 },
  { R: 7, T: 1 },
  { R: 3, T: 4 },
]

const REDUCE: Row[] = [
  ...(['sum', 'mean', 'max', 'min'] as const).flatMap((name): Row[] => [
    [`${name} of all`, [float(...RT)], x => tf[name](x)],
    [`${name} over rows`, [float(...RT)], x => tf[name](x, 0)],
    [`${name} over columns, kept`, [float(...RT)], x => tf[name](x, -1, true)],
    [`${name} over two of three axes`, [float('R', 3, 'T')], x => tf[name](x, [0, 2])],
  ]),
  ['prod', [positive(...RT)], x => [tf.prod(tf.sqrt(x), 1), tf.prod(tf.sqrt(x), 0)], { ...finite, sizes: SMALL }],
  ['prod of all', [positive(...RT)], x => tf.prod(tf.sqrt(x)), { ...finite, sizes: SMALL }],
  ['sum, mean and prod of integers', [signed(...RT)], x => [tf.sum(x, 0), tf.mean(x), tf.prod(tf.minimum(x, 1), 1)], none],
  ['sum and mean of truth values', [bool(...RT)], x => [tf.sum(x, 0), tf.mean(x)], none],
  ['sum of a scalar', [float()], x => tf.sum(x)],
  ['max and min of integers', [signed(...RT)], x => [tf.max(x, 0), tf.min(x)], none],
  ['all and any', [bool(...RT)], x => [tf.all(x), tf.any(x, 0), tf.all(x, 1, true)], none],
  ['argMax and argMin', [float(...RT)], x => [tf.argMax(x, 1), tf.argMin(x, 0), tf.argMax(x, -1)], none],
  ['argMax where several are highest', [ids(...RT)], x => tf.argMax(x, 1), none],
  ['softmax', [float(...RT)], x => tf.softmax(x)],
  ['softmax of three axes', [float('R', 2, 'T')], x => tf.softmax(x)],
  ['logSoftmax', [float(...RT)], x => tf.logSoftmax(x)],
  ['logSumExp', [float(...RT)], x => tf.logSumExp(x, 1)],
  ['norm', [positive(...RT)], x => tf.norm(x, 2, 1)],
  ['moments', [float(...RT)], x => { const { mean, variance } = tf.moments(x, 1); return [mean, variance] }], // biome-ignore format: one row
  ['cumsum', [float(...RT)], x => tf.cumsum(x, 1)],
  [
    'cumsum, exclusive and backwards',
    [float(...RT)],
    x => [tf.cumsum(x, 1, true), tf.cumsum(x, 1, false, true), tf.cumsum(x, 1, true, true)],
  ],
  ['cumsum over rows', [float(...RT)], x => [tf.cumsum(x, 0), tf.cumsum(x, 0, true, true)], none],
  ['cumsum of integers', [signed(...RT)], x => tf.cumsum(x, 0), none],
  ['cumprod', [between(-1.5, 1.5)(...RT)], x => tf.cumprod(x, 1), none],
  [
    'cumprod, exclusive and backwards',
    [between(-1.5, 1.5)(...RT)],
    x => [tf.cumprod(x, 1, true), tf.cumprod(x, 1, false, true), tf.cumprod(x, 1, true, true)],
    none,
  ],
  ['cumprod over rows and in the middle', [unit('R', 3, 'T')], x => [tf.cumprod(x, 0), tf.cumprod(x, 1, true)], none],
  [
    'cumprod of integers and truth values',
    [oneOf('int32', -2, 1, 1, 1)(...RT), bool(...RT)],
    (x, y) => [tf.cumprod(x, 0), tf.cumprod(y, 1)],
    none,
  ],
  ['topk', [float('R', 9)], x => { const { values, indices } = tf.topk(x, 3); return [values, indices] }, none], // biome-ignore format: one row
  ['topk with as many as there are', [float(...RT)], x => tf.topk(x, size(x, 1)).values, none],
]

describe('each operation equals its eager self at every size', () => {
  compareRows([...UNARY, ...BINARY, ...REDUCE])
})
