import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gelu } from '../../../kernels/gelu.js'
import { layerNorm } from '../../../kernels/layer-norm.js'
import { rational } from '../../../kernels/rational.js'
import { rmsNorm } from '../../../kernels/rms-norm.js'
import { rotaryEmbedding } from '../../../kernels/rotary-embedding.js'
import { rotaryTable } from '../../../kernels/rotary-table.js'
import { swiGlu } from '../../../kernels/silu.js'
import { tf } from '../../../kernels/tf.js'
import { ConfigReader } from '../../../models/blocks/config-reader.js'
import { findFamily } from '../../../models/index.js'
import { writeSafetensors } from '../../formats/safetensors-writer.js'
import { elementCount } from '../../numbers.js'
import { compile } from '../../program/compile.js'
import type { Device } from '../../program/devices.js'
import type { Precision } from '../../program/precision.js'
import { LanguageModel } from '../language-model.js'

/** What a device is tried with: functions one by one with their gradients, whole training steps, and a product for its speed. */

/** Numbers by what they are of. */
export type Results = Readonly<Record<string, Float32Array>>

/** Numbers between -scale and scale, the same everywhere: the fractional parts of multiples of the golden ratio. */
function numbers(count: number, seed: number, scale = 1): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => scale * (2 * (((i + 1) * 0.618_033_988_749_895 + seed * 0.317) % 1) - 1))
}

const [ROWS, WIDTH] = [24, 16]

/** Functions of x [24, 16], a weight [16] and whole numbers k [24, 16]: what models are made of beside products and attention, and what graphics processors lack. */
const functions: Readonly<Record<string, (x: tf.Tensor2D, w: tf.Tensor1D, k: tf.Tensor2D) => tf.Tensor>> = {
  'RMS norm': (x, w) => rmsNorm(x, w, 1e-5),
  'layer norm': (x, w) => layerNorm(x, w, tf.mul(w, 0.5), 1e-5),
  'rotary embedding': (x, _, k) => {
    // Of an input: tables of positions that are known would be made while the program is opened.
    const positions = tf.abs(tf.reshape(tf.slice(k, [0, 0], [-1, 1]), [ROWS])) // [24]
    const table = (of: 'cos' | 'sin') => rotaryTable(of, positions, [1, 0.31, 0.1, 0.031, 0.01, 0.0031, 0.001, 0.00031], 1)
    return rotaryEmbedding(tf.reshape(x, [1, ROWS, WIDTH]), table('cos'), table('sin'))
  },
  'GELU by tanh': x => gelu(x, 'tanh'),
  'GELU by erf': x => gelu(x, 'erf'),
  SwiGLU: (x, w) => swiGlu(x, tf.mul(x, w)),
  'rational activation': x => rational(x, tf.tensor1d([0.1, 0.5, 0.4, 0.2]), tf.tensor1d([0.1, 0.4])),
  softmax: x => tf.softmax(tf.mul(x, 20)),
  'log-softmax': x => tf.logSoftmax(tf.mul(x, 20)),
  'exp of large numbers': x => tf.exp(tf.mul(x, 28)),
  'log, sqrt and power': x => tf.add(tf.log(tf.add(tf.square(x), 1)), tf.pow(tf.sqrt(tf.add(tf.abs(x), 1)), 3)),
  'sin and cos': x => tf.add(tf.sin(tf.mul(x, 30)), tf.cos(tf.mul(x, 30))),
  'sums and largest': x => tf.add(tf.sum(x, 0), tf.max(x, 1, true)),
  product: x => tf.matMul(x, x, false, true),
}

/** Functions of whole numbers k [24, 16] between -200 and 200. */
const ofIntegers: Readonly<Record<string, (k: tf.Tensor2D) => tf.Tensor>> = {
  'integer division': k => tf.floorDiv(k, tf.scalar(7, 'int32')),
  'integer remainder': k => tf.mod(k, tf.scalar(7, 'int32')),
  'remainder of numbers': k => tf.mod(tf.cast(k, 'float32'), 7),
}

/** Every function and its gradient, from one program. */
export async function functionResults(device: Device, threads: number): Promise<Results> {
  const matrix = (dtype: 'float32' | 'int32') => ({ shape: [ROWS, WIDTH], dtype }) as const
  await using program = await compile(
    ({ x, w, k, c }) => {
      const made: Record<string, tf.Tensor> = {}
      for (const [name, fn] of Object.entries(functions)) {
        const loss = (y: tf.Tensor) => {
          const value = fn(y as tf.Tensor2D, w as tf.Tensor1D, k as tf.Tensor2D)
          made[name] = tf.keep(value)
          // By numbers that differ, as the sum of a softmax has no slope.
          return tf.sum(tf.mul(value, tf.reshape(tf.slice(tf.reshape(c!, [-1]), [0], [value.size]), value.shape))) as tf.Scalar
        }
        made[`the gradient of ${name}`] = tf.grad(loss)(x!)
      }
      for (const [name, fn] of Object.entries(ofIntegers)) made[name] = tf.cast(fn(k as tf.Tensor2D), 'float32')
      return made
    },
    {
      inputs: {
        x: matrix('float32'),
        w: { shape: [WIDTH], dtype: 'float32' },
        k: matrix('int32'),
        c: { shape: [ROWS, ROWS], dtype: 'float32' },
      },
      device,
      threads,
      name: 'trial of functions',
    },
  )
  const results = await program.run({
    x: numbers(ROWS * WIDTH, 1, 3),
    w: numbers(WIDTH, 2).map(x => 1 + 0.5 * x),
    k: Int32Array.from(numbers(ROWS * WIDTH, 3, 200), Math.trunc),
    c: numbers(ROWS * ROWS, 4),
  })
  return results as Record<string, Float32Array>
}

const sizes = { vocab_size: 64, bos_token_id: 0, eos_token_id: 0, tie_word_embeddings: true }

/** Two small models, which have between them every kernel that most models have. */
const models: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'a step with rotations, RMS norms and SwiGLU': {
    ...sizes,
    model_type: 'llama',
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
  },
  'a step with learned positions, layer norms and GELU': {
    ...sizes,
    model_type: 'gpt2',
    n_embd: 32,
    n_inner: 48,
    n_layer: 2,
    n_head: 4,
    n_positions: 128,
    layer_norm_epsilon: 1e-5,
    activation_function: 'gelu_new',
  },
}

/**
 * Logits, loss and gradient of a training step of each small model, through the whole of what loads and computes models.
 * @param options.most so many models
 */
export async function stepResults(
  device: Device,
  threads: number,
  { precision, most }: { readonly precision?: Precision; readonly most?: number } = {},
): Promise<Results> {
  const results: Record<string, Float32Array> = {}
  for (const [name, config] of Object.entries(models).slice(0, most)) {
    const folder = await mkdtemp(join(tmpdir(), 'gradprompt-trial-'))
    try {
      await writeModel(folder, config)
      await using model = await LanguageModel.load(folder, { device, threads, precision })
      const rows = [11, 23, 30].map((length, i) => {
        const ids = Array.from(numbers(length, i, 31), x => 32 + Math.floor(x))
        return { ids, labels: ids.map((id, at) => (at >= length - 3 ? id : -100)) }
      })
      const { hiddenSize } = model.config
      const softPrompt = { data: numbers(4 * hiddenSize, 9), shape: [4, hiddenSize] as const }
      const { loss, gradient } = await model.lossAndGradient({ softPrompt, rows })
      results[`${name}: the loss`] = Float32Array.of(loss)
      results[`${name}: the gradient`] = gradient
      results[`${name}: logits`] = (await model.logits([rows[2]!.ids]))[0]!
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
  return results
}

async function writeModel(folder: string, config: Readonly<Record<string, unknown>>): Promise<void> {
  const family = findFamily('modelType', config.model_type as string, 'trial')
  const parts = family.weights(family.parseConfig(new ConfigReader(config, 'trial'))).flatMap(weight => weight.parts)
  const tensors = parts.map(({ source, shape, transposed }, i) => ({
    name: source,
    shape: transposed ? shape.toReversed() : shape,
    // Norms multiply by numbers around 1.
    data: numbers(elementCount(shape), i, 0.3).map(x => (shape.length === 1 && source.endsWith('weight') ? 1 + x : x)),
  }))
  await writeSafetensors(join(folder, 'model.safetensors'), tensors)
  await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  const vocab = Object.fromEntries(Array.from({ length: sizes.vocab_size }, (_, id) => [`t${id}`, id]))
  const byteLevel = { type: 'ByteLevel' }
  const tokenizer = {
    model: { type: 'BPE', vocab, merges: [] },
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    added_tokens: [],
  }
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
}

/** Products until one chain takes so many seconds; smaller ones say more of what starting them costs. */
const [PRODUCTS, LONG_ENOUGH] = [4, 0.05]

/** Operations a second in chains of products of square matrices, of the largest that take no longer than they must. */
export async function productRate(device: Device, threads: number): Promise<number> {
  const matrix = { shape: ['N', 'N'], dtype: 'float32' } as const
  await using program = await compile(
    ({ x, y }) => {
      let z = x as tf.Tensor2D
      for (let i = 0; i < PRODUCTS; i++) z = tf.mul(tf.matMul(z, y as tf.Tensor2D), 1e-3) as tf.Tensor2D
      return { z: tf.sum(z) }
    },
    { inputs: { x: matrix, y: matrix }, dims: { N: [1, 4096] }, device, threads, name: 'trial of speed' },
  )
  let rate = 0
  for (const side of [128, 256, 512, 1024, 2048]) {
    const shape = [side, side]
    const inputs = { x: { data: numbers(side * side, 1), shape }, y: { data: numbers(side * side, 2), shape } }
    await program.run(inputs)
    const started = performance.now()
    await program.run(inputs)
    const seconds = (performance.now() - started) / 1000
    rate = (PRODUCTS * 2 * side ** 3) / seconds
    if (seconds > LONG_ENOUGH) break
  }
  return rate
}
