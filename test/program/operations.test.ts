import { describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { runEagerly } from '../../src/program/eager.js'
import { type InputSpec, Program, type ProgramSpec } from '../../src/program/program.js'
import { SizeExpression } from '../../src/program/sizes.js'
import { ownCache } from '../support/cache.js'
import { difference, product, random, type Values } from '../support/numbers.js'

ownCache()

/** A declared input, and how its test values are made from numbers between 0 and 1. */
interface Argument extends InputSpec {
  readonly value: (x: number) => number
}
type Shape = readonly (string | number)[]
const between =
  (low: number, high: number) =>
  (...shape: Shape): Argument => ({ shape, dtype: 'float32', value: x => low + x * (high - low) })
const float = between(-2, 2)
const positive = between(0.1, 3)
const unit = between(-0.9, 0.9)
const int =
  (low: number, high: number) =>
  (...shape: Shape): Argument => ({ shape, dtype: 'int32', value: x => Math.floor(low + x * (high - low)) })
const ids = int(0, 5)
const signed = int(-6, 6)
const bool = (...shape: Shape): Argument => ({ shape, dtype: 'bool', value: x => Number(x > 0.5) })

type T = tf.Tensor
type Row = [
  name: string,
  inputs: Argument[],
  fn: (...inputs: tf.Tensor2D[]) => T | T[],
  options?: { gradient?: false; tolerance?: number },
]
const none = { gradient: false } as const
const size = (x: T, axis: number) => x.shape[axis]!

const RT = ['R', 'T'] as const
const UNARY: Row[] = [
  ...(
    ['abs', 'atan', 'ceil', 'cos', 'cosh', 'elu', 'erf', 'exp', 'expm1', 'floor', 'neg', 'relu', 'relu6', 'round', 'selu', 'sigmoid',
    'sign', 'sin', 'sinh', 'softplus', 'square', 'tan', 'tanh'] as const // biome-ignore format: a list
  )
    .map((name): Row => [name, [name === 'tan' ? unit(...RT) : float(...RT)], x => tf[name](x), name === 'round' ? none : {}]),
  ...(['log', 'log1p', 'reciprocal', 'rsqrt', 'sqrt'] as const).map((name): Row => [name, [positive(...RT)], x => tf[name](x)]),
  ...(['acos', 'asin'] as const).map((name): Row => [name, [unit(...RT)], x => tf[name](x)]),
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

const REDUCE: Row[] = [
  ...(['sum', 'mean', 'max', 'min'] as const).flatMap((name): Row[] => [
    [`${name} of all`, [float(...RT)], x => tf[name](x)],
    [`${name} over rows`, [float(...RT)], x => tf[name](x, 0)],
    [`${name} over columns, kept`, [float(...RT)], x => tf[name](x, -1, true)],
    [`${name} over two of three axes`, [float('R', 3, 'T')], x => tf[name](x, [0, 2])],
  ]),
  ['prod', [float(...RT)], x => tf.prod(x, 1), none],
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
  ['topk', [float('R', 9)], x => { const { values, indices } = tf.topk(x, 3); return [values, indices] }, none], // biome-ignore format: one row
  ['topk with as many as there are', [float(...RT)], x => tf.topk(x, size(x, 1)).values, none],
]

const SHAPE: Row[] = [
  ['reshape to one axis', [float(...RT)], x => tf.reshape(x, [-1])],
  ['reshape, two sizes that vary', [float('R', 'T', 4)], x => tf.reshape(x, [size(x, 0) * size(x, 1), 4])],
  ['reshape to two sizes that vary', [float('R', 'T', 6)], x => tf.reshape(x, [size(x, 0), 2, size(x, 1) * 3])],
  ['reshape with swapped sizes', [float(...RT)], x => tf.reshape(x, [size(x, 1), size(x, 0)])],
  [
    'reshape to heads and back',
    [float('R', 'T', 8)],
    x => tf.reshape(tf.transpose(tf.reshape(x, [size(x, 0), size(x, 1), 2, 4]), [0, 2, 1, 3]), [-1, 8]),
  ],
  [
    'expandDims and squeeze',
    [float(...RT)],
    x => [tf.expandDims(x, 1), tf.expandDims(x, -1), tf.squeeze(tf.expandDims(x, 0), [0])],
  ],
  ['transpose', [float('R', 3, 'T')], x => [tf.transpose(x), tf.transpose(x, [1, 2, 0])]],
  ['slice', [float('R', 5)], x => [tf.slice(x, [0, 1], [-1, 3]), tf.slice(x, [0, 2]), tf.slice(x, 0, 1)]],
  ['slice of the last row', [float(...RT)], x => tf.slice(x, [size(x, 0) - 1, 0], [1, -1])],
  [
    'slice by a size of another input',
    [float('R+T', 3), ids('T')],
    (x, y) => [tf.slice(x, [0, 0], [size(y, 0), -1]), tf.slice(x, [size(y, 0), 0])],
  ],
  [
    'stridedSlice',
    [float('R', 9)],
    x => [tf.stridedSlice(x, [0, 1], [size(x, 0), 8], [1, 2]), tf.stridedSlice(x, [0, 8], [size(x, 0), 2], [1, -3])],
    none,
  ],
  ['stridedSlice with masks', [float(...RT)], x => [tf.stridedSlice(x, [0, 0], [1, 1], [1, 1], 3, 3), tf.stridedSlice(x, [0, 0], [0, 0], [-1, 1], 3, 3),
    tf.stridedSlice(x, [0, 0], [1, 1], [1, 1], 0, 2, 0, 0, 1)], none], // biome-ignore format: a list
  ['concat', [float(...RT), float(3, 'T')], (a, b) => [tf.concat([a, b, a], 0), tf.concat([a, a], 1)]],
  ['concat of integers', [signed('R'), signed('T')], (a, b) => tf.concat([a, b] as T[]), none],
  ['stack', [float(...RT), float(...RT)], (a, b) => [tf.stack([a, b]), tf.stack([a, b], 1), tf.stack([a, b], -1)]],
  ['unstack', [float('R', 3)], x => tf.unstack(x, 1)],
  ['split in equal parts', [float('R', 6)], x => tf.split(x, 3, 1)],
  ['split in parts that vary', [float('R+T', 2), ids('T')], (x, y) => tf.split(x, [size(x, 0) - size(y, 0), size(y, 0)], 0)],
  ['split an even size', [float('2*R', 3)], x => tf.split(x, 2, 0)],
  ['tile', [float(...RT)], x => tf.tile(x, [2, 3])],
  ['tile by a size', [float(1, 'T'), float('R')], (x, y) => tf.tile(x, [size(y, 0), 1]), none],
  ['broadcastTo', [float(1, 'T'), float('R')], (x, y) => tf.broadcastTo(x, [size(y, 0), size(x, 1)]), none],
  ['pad', [float(...RT)], x => tf.pad(x, [[1, 0], [0, 2]])], // biome-ignore format: one row
  ['pad with a value', [float(...RT)], x => tf.pad(x, [[1, 2], [3, 0]], -1.5), none], // biome-ignore format: one row
  ['pad by a size', [float(...RT)], x => tf.pad(x, [[0, size(x, 1)], [size(x, 0), 0]])], // biome-ignore format: one row
  ['pad integers', [signed(...RT)], x => tf.pad(x, [[1, 1], [0, 0]], 7), none], // biome-ignore format: one row
  ['reverse', [float(...RT)], x => [tf.reverse(x), tf.reverse(x, 0), tf.reverse(x, -1)]],
  ['gather', [float(5, 'T'), ids('R')], (x, i) => tf.gather(x, i)],
  ['gather along another axis', [float('R', 5), ids('T')], (x, i) => tf.gather(x, i, 1)],
  ['gather by a matrix', [float(5, 3), ids('R', 'T')], (x, i) => tf.gather(x, i)],
  ['gather of integers', [signed(5), ids('R')], (x, i) => tf.gather(x, i), none],
  ['unsortedSegmentSum', [float('R', 3), ids('R')], (x, i) => tf.unsortedSegmentSum(x, i as T as tf.Tensor1D, 5), none],
  [
    'unsortedSegmentSum into a size that varies',
    [float('R', 3), int(0, 1)('R'), float('T')],
    (x, i, y) => tf.unsortedSegmentSum(x, i as T as tf.Tensor1D, size(y, 0)),
    none,
  ],
  ['oneHot', [ids('R')], i => [tf.oneHot(i, 5), tf.oneHot(i, 3)], none],
  ['oneHot, with values and type', [ids('R', 'T')], i => tf.oneHot(i, 4, 0.9, 0.1, 'float32'), none],
  ['oneHot of what lies outside', [int(-7, 7)('R')], i => tf.oneHot(i, 4), none],
  ['oneHot as deep as a size', [ids('R'), float('T')], (i, y) => tf.oneHot(i, size(y, 0) + 2), none],
  [
    'range',
    [float(...RT)],
    x => [tf.range(0, size(x, 0)), tf.range(2, size(x, 0) + size(x, 1) + 2, 1, 'int32'), tf.range(0, 10, 3)],
    none,
  ],
  [
    'range backwards, and from a fraction',
    [float('R')],
    x => [tf.range(size(x, 0), 0, -1), tf.add(tf.range(0.5, 5, 0.75), 0)],
    none,
  ],
  [
    'fill, zeros, ones',
    [float(...RT)],
    x => [tf.fill([size(x, 0), 2], 3), tf.zeros(x.shape), tf.ones([size(x, 1)]), tf.onesLike(x), tf.zerosLike(x)],
    none,
  ],
  ['fill with a size', [float(...RT)], x => [tf.fill([2, 2], size(x, 0)), tf.fill([size(x, 1)], size(x, 0) * 2, 'int32')], none],
  [
    'fill with what is not finite',
    [float('R')],
    x => [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map(value => tf.fill([size(x, 0)], value)),
    none,
  ],
  ['a size as a number', [float(...RT)], x => tf.div(x, size(x, 0) * size(x, 1) + 1)],
  [
    'cast',
    [between(-3, 3)(...RT)],
    x => [tf.cast(x, 'int32'), tf.cast(tf.cast(x, 'int32'), 'bool'), tf.cast(x, 'float32')],
    none,
  ],
  ['cast from truth values', [bool(...RT)], x => [tf.cast(x, 'float32'), tf.cast(x, 'int32')], none],
  ['triangular mask', [float('T', 'T')], x => { const at = tf.range(0, size(x, 0)); return tf.where(tf.lessEqual(tf.expandDims(at, 0), tf.expandDims(at, 1)), x, tf.fill(x.shape, -1e9)) }, none], // biome-ignore format: one row
]

const PRODUCTS: Row[] = [
  ...[false, true].flatMap(a =>
    [false, true].map(
      (b): Row => [
        `matMul${a ? ', first transposed' : ''}${b ? ', second transposed' : ''}`,
        [a ? float(5, 'R') : float('R', 5), b ? float('T', 5) : float(5, 'T')],
        (x, y) => tf.matMul(x, y, a, b),
      ],
    ),
  ),
  ...[false, true].flatMap(a =>
    [false, true].map(
      (b): Row => [
        `matMul of batches ${a} ${b}`,
        [a ? float(3, 'T', 'R') : float(3, 'R', 'T'), b ? float(3, 4, 'T') : float(3, 'T', 4)],
        (x, y) => tf.matMul(x, y, a, b),
      ],
    ),
  ),
  ...[false, true].flatMap(a =>
    [false, true].map(
      (b): Row => [
        `matMul with a broadcast batch ${a} ${b}`,
        [a ? float(1, 5, 'R') : float(1, 'R', 5), b ? float(3, 'T', 5) : float(3, 5, 'T')],
        (x, y) => tf.matMul(x, y, a, b),
        none,
      ],
    ),
  ),
  ['matMul of a batch with a matrix', [float('R', 'T', 5), float(5, 3)], (x, y) => tf.matMul(x, y), none],
  ['matMul of batches that vary', [float('R', 2, 'T', 3), float('R', 2, 3, 'T')], (x, y) => tf.matMul(x, y)],
  [
    'einsum',
    [float('R', 'T'), float('T', 4)],
    (x, y) => [tf.einsum('ij,jk->ik', x, y), tf.einsum('ij->ji', x), tf.einsum('ij->', x)],
    none,
  ],
  ['einsum of batches', [float('R', 'T', 3), float('R', 4, 3)], (x, y) => tf.einsum('btd, bsd -> bts', x, y), none],
  ['outerProduct', [float('R'), float('T')], (x, y) => tf.outerProduct(x as T as tf.Tensor1D, y as T as tf.Tensor1D)],
]

const dims = { R: [1, 64], T: [1, 48] } as const
const SIZES = [
  { R: 1, T: 1 },
  { R: 1, T: 6 },
  { R: 7, T: 1 },
  { R: 5, T: 5 },
  { R: 13, T: 48 },
]

const inputName = (i: number) => `x${i}`

function specOf(name: string, args: readonly Argument[], fn: Row[2], gradient: boolean): ProgramSpec {
  const inputs = Object.fromEntries(args.map(({ shape, dtype }, i) => [inputName(i), { shape, dtype }]))
  const names = [
    ...new Set(
      args.flatMap(({ shape }) => shape.flatMap(part => (typeof part === 'string' ? SizeExpression.parse(part).names() : []))),
    ),
  ]
  const list = (results: T | T[]) => (Array.isArray(results) ? results : [results])
  return {
    name,
    inputs,
    dims: Object.fromEntries(Object.entries(dims).filter(([dimension]) => names.includes(dimension))),
    fn: given => {
      const tensors = args.map((_, i) => given[inputName(i)]!) as tf.Tensor2D[]
      const outputs = Object.fromEntries(list(fn(...tensors)).map((output, i) => [`output${i}`, output]))
      const floats = args.flatMap(({ dtype }, i) => (dtype === 'float32' ? [i] : []))
      if (!gradient || floats.length === 0) return outputs
      const loss = (...xs: T[]) => {
        const all = tensors.map((tensor, i) => (floats.includes(i) ? xs[floats.indexOf(i)]! : tensor))
        const results = list(fn(...(all as tf.Tensor2D[])))
        return tf.addN(results.map(y => tf.sum(tf.mul(y, tf.add(y, 1))))) as tf.Scalar
      }
      const { grads } = tf.valueAndGrads(loss)(floats.map(i => tensors[i]!))
      return { ...outputs, ...Object.fromEntries(floats.map((at, i) => [`gradient${at}`, grads[i]!])) }
    },
  }
}

function sample({ shape, dtype, value }: Argument, sizes: Record<string, number>, seed: number): Values {
  const concrete = shape.map(part => (typeof part === 'number' ? part : SizeExpression.parse(part).evaluate(sizes)))
  const numbers = random(seed, concrete, 0.5).data
  const values = Array.from({ length: product(concrete) }, (_, i) => value(numbers[i]! + 0.5))
  const data =
    dtype === 'float32' ? Float32Array.from(values) : dtype === 'int32' ? Int32Array.from(values) : Uint8Array.from(values)
  return { data, shape: concrete }
}

describe('each operation equals its eager self at every size', () => {
  test.each([...UNARY, ...BINARY, ...REDUCE, ...SHAPE, ...PRODUCTS])('%s', async (name, args, fn, options = {}) => {
    const spec = specOf(name, args, fn, options.gradient ?? true)
    const program = await Program.compile(spec, { threads: 1 })
    for (const sizes of SIZES) {
      const inputs = Object.fromEntries(args.map((arg, i) => [inputName(i), sample(arg, sizes, i + 1)]))
      const compiled = await program.runWithShapes(inputs)
      const eager = await runEagerly(spec, inputs)
      expect(Object.keys(compiled).sort()).toEqual(Object.keys(eager).sort())
      for (const [output, wanted] of Object.entries(eager)) {
        const found = compiled[output]!
        const at = `${output} at R=${sizes.R} T=${sizes.T}`
        expect([...found.shape], `shape of ${at}`).toEqual(wanted.shape)
        expect(found.data.constructor.name, `type of ${at}`).toBe(wanted.data.constructor.name)
        const worst = difference(found.data, wanted.data)
        expect(worst, at).toBeLessThan(options.tolerance ?? 1e-5)
      }
    }
    await program.dispose()
  })
})
