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
  type Row,
  RT,
  signed,
  size,
  type T,
} from '../support/operations.js'

/** Where something must be that long. */
const FROM_4 = { dims: { R: [4, 64], T: [4, 48] }, sizes: [{ R: 4, T: 4 }, { R: 5, T: 9 }] } as const // biome-ignore format: one line

const conv1d = (x: T, w: T, stride: number, pad: 'valid' | 'same', dilation = 1) =>
  tf.conv1d(x as tf.Tensor3D, w as tf.Tensor3D, stride, pad, 'NWC', dilation)
const conv2d = (x: T, w: T, strides: [number, number], pad: 'valid' | 'same', format: 'NHWC' | 'NCHW' = 'NHWC') =>
  tf.conv2d(x as Parameters<typeof tf.conv2d>[0] as tf.Tensor3D, w as Parameters<typeof tf.conv2d>[1], strides, pad, format)

const DENSE = [
  tf.layers.dense({ inputShape: [4], units: 5, activation: 'tanh', kernelInitializer: tf.initializers.heNormal({ seed: 3 }) }),
  tf.layers.dense({ inputShape: [5], units: 2, kernelInitializer: tf.initializers.heNormal({ seed: 4 }) }),
]

// A layer draws its weights when it is built, which a trace would refuse.
for (const [i, layer] of DENSE.entries()) layer.build([null, [4, 5][i]!])

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
  ['gather in batches', [float('R', 5, 'T'), ids('R', 3)], (x, i) => tf.gather(x, i, 1, 1), finite],
  ['gather in batches along the last axis', [float('R', 'T', 5), ids('R', 2, 2)], (x, i) => tf.gather(x, i, 2, 1), finite],
  [
    'gather in batches of two axes',
    [float('R', 'T', 5, 2), ids('R', 'T', 3)],
    (x, i) => tf.gather(x, i, 2, 2),
    // The eager gradient takes time by the square of the batches.
    {
      ...finite,
      sizes: [
        { R: 1, T: 6 },
        { R: 7, T: 1 },
        { R: 3, T: 5 },
      ],
    },
  ],
  ['gather in batches, one index each', [float('R', 5), ids('R')], (x, i) => tf.gather(x, i, 1, 1)],
  ['gather in batches counted from the end', [float('R', 5, 2), ids('R', 3)], (x, i) => tf.gather(x, i, -2, -1), none],
  ['gatherND of rows', [float(5, 'T'), ids('R', 1)], (x, i) => tf.gatherND(x, i), none],
  ['gatherND of elements', [float(5, 5, 'T'), ids('R', 3, 2)], (x, i) => tf.gatherND(x, i), none],
  [
    'gatherND in sizes that vary',
    [float(...RT), int(0, 1)('R', 2)],
    (x, i) => tf.gatherND(x, tf.add(i, tf.tensor1d([0, 0], 'int32'))),
    none,
  ],
  ['scatterND', [ids('R', 1), float('R', 'T')], (i, x) => tf.scatterND(i, x, [5, size(x, 1)]), none],
  ['scatterND of elements', [ids('R', 2), float('R')], (i, x) => tf.scatterND(i, x, [5, 6]), none],
  [
    'scatterND of integers into a size',
    [int(0, 1)('R', 1), signed('R'), float('T')],
    (i, x, y) => tf.scatterND(i, x, [size(y, 0)]),
    none,
  ],
  [
    'mirrorPad',
    [float(...RT)],
    x => [
      tf.mirrorPad(
        x,
        [
          [0, 0],
          [2, 3],
        ],
        'reflect',
      ),
      tf.mirrorPad(
        x,
        [
          [1, 2],
          [4, 0],
        ],
        'symmetric',
      ),
    ],
    { ...finite, ...FROM_4 },
  ],
  [
    'mirrorPad with its whole',
    [float(4, 'T')],
    x => [
      tf.mirrorPad(
        x,
        [
          [3, 3],
          [0, 0],
        ],
        'reflect',
      ),
      tf.mirrorPad(
        x,
        [
          [4, 4],
          [0, 1],
        ],
        'symmetric',
      ),
    ],
    finite,
  ],
  [
    'mirrorPad of integers',
    [signed(...RT)],
    x =>
      tf.mirrorPad(
        x,
        [
          [1, 1],
          [0, 1],
        ],
        'symmetric',
      ),
    none,
  ],
  [
    'unsortedSegmentSum of rows without a segment',
    [float('R', 3), int(-3, 8)('R')],
    (x, i) => tf.unsortedSegmentSum(x, i as T as tf.Tensor1D, 5),
    none,
  ],
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
  ['range backwards by itself', [float('R')], x => [tf.range(size(x, 0), 0), tf.range(3, -size(x, 0), 1, 'int32')], none],
  [
    'linspace',
    [float(...RT)],
    x => [tf.linspace(-1, 2, size(x, 0)), tf.linspace(0, size(x, 1), 5), tf.linspace(size(x, 0), 0, size(x, 1) + 1)],
    none,
  ],
  [
    'eye',
    [float(...RT)],
    x => [tf.eye(size(x, 0)), tf.eye(3), tf.eye(size(x, 0), size(x, 1), undefined, 'int32'), tf.eye(2, size(x, 1), [3])],
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
  [
    'cast of what no integer holds',
    [oneOf('float32', Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e10, -3e9, 2.9, -2.9, 3e9)(...RT)],
    x => tf.cast(x, 'int32'),
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
  ...(['linear', 'relu', 'sigmoid', 'elu', 'relu6'] as const).map(
    (activation): Row => [
      `fused.matMul with ${activation}`,
      [float('R', 5), float(5, 'T'), float('T')],
      (a, b, bias) => tf.fused.matMul({ a, b, bias, activation }),
      activation === 'linear' || activation === 'sigmoid' ? finite : {},
    ],
  ),
  [
    'fused.matMul with transposes',
    [float(5, 'R'), float('T', 5)],
    (a, b) => tf.fused.matMul({ a, b, transposeA: true, transposeB: true }),
    finite,
  ],
  ['fused.matMul with slopes', [float('R', 5), float(5, 'T'), float('T')], (a, b, slope) => [
    tf.fused.matMul({ a, b, activation: 'prelu', preluActivationWeights: slope }),
    tf.fused.matMul({ a, b, activation: 'leakyrelu', leakyreluAlpha: 0.3 })]], // biome-ignore format: one row
  [
    'dense layers',
    [float('R', 4)],
    x => DENSE.reduce<tf.Tensor>((y, layer) => layer.apply(y) as tf.Tensor, x) as tf.Tensor2D,
    finite,
  ],
  ...(['valid', 'same'] as const).map(
    (pad): Row => [
      `conv1d, ${pad}`,
      [float('R', 'T', 3), float(4, 3, 2)],
      (x, w) => conv1d(x, w, 1, pad),
      { ...finite, ...FROM_4 },
    ],
  ),
  ['conv1d of one row', [float('T', 3), float(3, 3, 2)], (x, w) => tf.conv1d(x, w as T as tf.Tensor3D, 1, 'same'), finite],
  [
    'conv1d with a stride',
    [float('R', 11, 3), float(4, 3, 2)],
    (x, w) => [conv1d(x, w, 2, 'same'), conv1d(x, w, 3, 'valid')],
    finite,
  ],
  [
    'conv1d with a stride over a size that it divides',
    [float('R', '2*T', 3), float(2, 3, 2)],
    (x, w) => conv1d(x, w, 2, 'valid'),
    finite,
  ],
  ['conv1d with gaps', [float('R', 'T', 3), float(3, 3, 2)], (x, w) => conv1d(x, w, 1, 'same', 2), none],
  [
    'conv2d',
    [float('R', 6, 'T', 2), float(3, 2, 2, 4)],
    (x, w) => conv2d(x, w, [2, 1], 'same'),
    {
      ...finite,
      sizes: [
        { R: 1, T: 1 },
        { R: 3, T: 5 },
      ],
    },
  ],
  ['conv2d, channels first', [float('R', 2, 6, 'T'), float(3, 1, 2, 4)], (x, w) => conv2d(x, w, [1, 1], 'valid', 'NCHW'), none],
  ['outerProduct', [float('R'), float('T')], (x, y) => tf.outerProduct(x as T as tf.Tensor1D, y as T as tf.Tensor1D)],
]

describe('each operation equals its eager self at every size', () => {
  compareRows([...SHAPE, ...PRODUCTS])
})
