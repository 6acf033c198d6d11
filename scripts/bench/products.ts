/** How close a training step comes to the machine: its matrix products' floating-point operations against ONNX Runtime's best rate for each. */
import { linear } from '../../kernels/linear.js'
import { tf } from '../../kernels/tf.js'
import { Forest } from '../../src/model/forest/forest.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { compile } from '../../src/program/compile.js'
import type { Program } from '../../src/program/program.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { modelFile } from './peer.js'
import { median } from './processes.js'
import { Sst2Rows, sst2, startingPrompt, VIRTUAL_TOKENS } from './protocol.js'

const model = await LanguageModel.load(modelFile())
const {
  hiddenSize: d,
  intermediateSize: f,
  numLayers,
  numAttentionHeads: heads,
  numKeyValueHeads: keyHeads,
  headDim,
  vocabSize,
} = model.config
const rows = new Sst2Rows(model)
const batch = sst2('train.tsv')
  .slice(0, 16)
  .map(row => rows.training(row))
const prompt = await startingPrompt(model)
const active = {
  method: promptMethods.get('prompt-tuning')!,
  config: { type: 'prompt-tuning', numVirtualTokens: VIRTUAL_TOKENS, position: 'before-bos' },
  parameters: new Map([['prompt', prompt]]),
}
const { rows: R } = await model.promptGradient(active, batch)

/** Products of a step over R rows: [rows, in] x [in, out], how often, and which way the weight lies. */
const attention = (heads + 2 * keyHeads) * headDim
const read = batch.length
const shapes = [
  { rows: R, in: d, out: attention, forward: numLayers - 1, backward: numLayers },
  { rows: R, in: heads * headDim, out: d, forward: numLayers - 1, backward: numLayers - 1 },
  { rows: R, in: d, out: f, forward: 2 * (numLayers - 1), backward: 2 * (numLayers - 1) },
  { rows: R, in: f, out: d, forward: numLayers - 1, backward: numLayers - 1 },
  { rows: read, in: d, out: vocabSize, forward: 1, backward: 1 },
]

/** Seconds of the fastest of two runs of any of these programs. */
async function fastest(programs: readonly Program[], inputs: Record<string, Float32Array>) {
  for (const each of programs) await each.run(inputs)
  return async () => {
    const times: number[] = []
    for (const each of [...programs, ...programs]) times.push(await seconds(() => each.run(inputs)))
    return Math.min(...times)
  }
}

/** What comes back of a product, so that its time is not that of copying the result. */
const corner = (y: tf.Tensor) =>
  tf.slice(
    y,
    y.shape.map(() => 0),
    y.shape.map(() => 1),
  )

const values = (count: number) => Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 1000) / 1000 - 0.5)

/** A product with a weight as ONNX Runtime computes it alone, with the weight as it lies and packed beforehand. */
async function withWeight(m: number, k: number, n: number, transposed: boolean) {
  const weight = tf.tensor2d(values(k * n), transposed ? [n, k] : [k, n])
  const program = async (pack: boolean) =>
    compile(({ x }) => ({ y: corner(transposed ? linear(x!, weight) : tf.matMul(x as tf.Tensor2D, weight)) }), {
      inputs: { x: { shape: [m, k], dtype: 'float32' } },
      pack,
    })
  const programs = [await program(false), await program(true)]
  weight.dispose()
  return fastest(programs, { x: values(m * k) })
}

/** A batch of products of attention alone, with either operand lying transposed or not. */
async function batched(count: number, m: number, k: number, n: number) {
  const programs: Program[] = []
  for (const [transposeA, transposeB] of [
    [false, false],
    [true, false],
    [false, true],
  ] as const) {
    const inputs = {
      a: { shape: [count, ...(transposeA ? [k, m] : [m, k])], dtype: 'float32' as const },
      b: { shape: [count, ...(transposeB ? [n, k] : [k, n])], dtype: 'float32' as const },
    }
    programs.push(await compile(({ a, b }) => ({ y: corner(tf.matMul(a!, b!, transposeA, transposeB)) }), { inputs }))
  }
  return fastest(programs, { a: values(count * m * k), b: values(count * k * n) })
}

async function seconds(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return (performance.now() - start) / 1000
}

interface Timed {
  readonly operations: number
  readonly runs: number
  readonly time: () => Promise<number>
}
const linearLayers: Timed[] = []
for (const { rows: m, in: k, out: n, forward, backward } of shapes) {
  const operations = 2 * m * k * n
  linearLayers.push({ operations, runs: forward, time: await withWeight(m, k, n, true) })
  linearLayers.push({ operations, runs: backward, time: await withWeight(m, n, k, false) })
}
const attentionProducts: Timed[] = []
{
  const forest = new Forest(
    batch.map(({ ids, labels }) => ({
      ids: ids.slice(
        0,
        labels.findLastIndex(label => label >= 0),
      ),
    })),
    { numVirtualTokens: VIRTUAL_TOKENS, position: 'before-bos' },
  )
  const { queryIndex, keyIndex } = forest.inputs([]).inputs as unknown as Record<string, { shape: number[] }>
  const [groups, length] = queryIndex!.shape as [number, number]
  const slots = (heads / keyHeads) * length
  const keys = forest.shared + keyIndex!.shape[1]!
  const count = keyHeads * groups
  const operations = 2 * count * slots * keys * headDim
  // Forward: scores and sums. Backward: gradients of the probabilities and of queries, keys and values.
  attentionProducts.push({ operations, runs: 2 * (numLayers - 1), time: await batched(count, slots, headDim, keys) })
  attentionProducts.push({ operations, runs: 2 * (numLayers - 1), time: await batched(count, slots, keys, headDim) })
  attentionProducts.push({ operations, runs: 2 * (numLayers - 1), time: await batched(count, keys, slots, headDim) })
}
// In turn, so that a busy neighbour slows both.
const rounds: { step: number; linear: number; attention: number }[] = []
const floorOf = async (products: readonly Timed[]) => {
  let floor = 0
  for (const { runs, time } of products) floor += runs * (await time())
  return floor
}
for (let i = 0; i < 9; i++) {
  rounds.push({
    step: await seconds(() => model.promptGradient(active, batch)),
    linear: await floorOf(linearLayers),
    attention: await floorOf(attentionProducts),
  })
}
const total = (products: readonly Timed[]) => products.reduce((sum, { operations, runs }) => sum + operations * runs, 0)
const of = (value: (round: (typeof rounds)[number]) => number) => median(rounds.map(value))
const operations = total(linearLayers) + total(attentionProducts)
console.log(
  JSON.stringify({
    tokenRows: R,
    gigaflop: operations / 1e9,
    gigaflopOfAttention: total(attentionProducts) / 1e9,
    gigaflopsOfProducts: operations / of(({ linear, attention }) => linear + attention) / 1e9,
    gigaflopsOfLinearLayers: total(linearLayers) / of(({ linear }) => linear) / 1e9,
    gigaflopsOfStep: operations / of(({ step }) => step) / 1e9,
    ratio: of(({ step, linear, attention }) => (linear + attention) / step),
    ratioOfLinearLayers: of(({ step, linear }) => linear / step),
    shareOfAttention: of(({ step, attention }) => attention / step),
  }),
)
await model.dispose()
