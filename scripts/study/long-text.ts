/**
 * `node dist/scripts/study/long-text.js TOKENS [--recompute] [--model NAME]`: what a training step over one text takes, behind 20 virtual tokens,
 * on the bundled model or another one: the most memory that the process has held, the estimate beside it, and seconds, as one JSON object.
 */
import { parseArgs } from 'node:util'
import { loadModel } from '../../src/index.js'
import { comparedPairs } from '../../src/model/memory.js'
import { peakMemory } from '../../src/store/environment.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    recompute: { type: 'boolean', default: false },
    model: { type: 'string', default: 'models/smollm2-135m-instruct' },
  },
})
const [virtual, answer] = [20, 20]
const length = Number(positionals[0] ?? 1500)
const { recompute } = values
const model = await loadModel(values.model)
const { hiddenSize, vocabSize } = model.config
const ids = Array.from({ length }, (_, i) => 100 + ((i * 7919) % (vocabSize - 100)))
const row = { ids, labels: ids.map((id, i) => (i >= length - answer ? id : -100)) }
const softPrompt = { data: new Float32Array(virtual * hiddenSize).fill(0.01), shape: [virtual, hiddenSize] as const }
const before = process.cpuUsage()
const started = performance.now()
const { loss } = await model.lossAndGradient({ softPrompt, rows: [row], recompute })
const seconds = (performance.now() - started) / 1000
const { user, system } = process.cpuUsage(before)
const estimate = model.memory.estimate(length + virtual, answer, true, comparedPairs(1, length, virtual), recompute)
const gigabytes = (bytes: number) => Number((bytes / 1e9).toFixed(2))
const figures = { tokens: length, recompute, loss, peakGB: gigabytes(peakMemory()), estimateGB: gigabytes(estimate) }
console.log(JSON.stringify({ ...figures, seconds: Math.round(seconds), processorSeconds: Math.round((user + system) / 1e6) }))
await model.dispose()
