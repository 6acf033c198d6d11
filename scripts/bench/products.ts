/** How close a training step comes to the machine: its matrix products' floating-point operations against ONNX Runtime's best rate for each. */
import { linear } from '../../kernels/linear.js'
import { tf } from '../../kernels/tf.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { compile } from '../../src/program/compile.js'
import { promptMethods } from '../../src/prompts/index.js'
import { Sst2Rows, sst2, startingPrompt, VIRTUAL_TOKENS } from './protocol.js'

const model = await LanguageModel.load('models/smollm2-135m-instruct')
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

async function rate(m: number, k: number, n: number, transposed: boolean): Promise<number> {
  const values = Float32Array.from({ length: k * n }, (_, i) => ((i * 7919) % 1000) / 1000 - 0.5)
  const weight = tf.tensor2d(values, transposed ? [n, k] : [k, n])
  const seconds: number[] = []
  for (const pack of [false, true]) {
    const program = await compile(({ x }) => ({ y: transposed ? linear(x!, weight) : tf.matMul(x as tf.Tensor2D, weight) }), {
      inputs: { x: { shape: [m, k], dtype: 'float32' } },
      pack,
    })
    const x = new Float32Array(m * k).fill(0.01)
    const times: number[] = []
    for (let i = 0; i < 15; i++) {
      const start = performance.now()
      await program.run({ x })
      times.push((performance.now() - start) / 1000)
    }
    seconds.push(Math.min(...times))
    await program.dispose()
  }
  weight.dispose()
  return (2 * m * k * n) / Math.min(...seconds)
}

let operations = 0
let floor = 0
for (const { rows: m, in: k, out: n, forward, backward } of shapes) {
  const each = 2 * m * k * n
  operations += each * (forward + backward)
  floor += (each * forward) / (await rate(m, k, n, true)) + (each * backward) / (await rate(m, n, k, false))
}
const times: number[] = []
for (let i = 0; i < 8; i++) {
  const start = performance.now()
  await model.promptGradient(active, batch)
  times.push((performance.now() - start) / 1000)
}
// Best against best: on a shared machine a median of one and a minimum of the other would compare the neighbours.
const step = Math.min(...times)
console.log(
  JSON.stringify({
    tokenRows: R,
    gigaflop: operations / 1e9,
    gigaflopsOfProducts: operations / floor / 1e9,
    gigaflopsOfStep: operations / step / 1e9,
    ratio: floor / step,
  }),
)
await model.dispose()
