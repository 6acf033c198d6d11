/**
 * The script that goes with a GGUF file. It needs node-llama-cpp.
 * @param tolerance how far logits may be off
 */
export const llamaSelfTest = (
  fileName: string,
  tolerance: number,
): string => `// Computes with llama.cpp what self-test.json expects of the GGUF file in this folder.
//
//     npm install node-llama-cpp && node self-test.mjs [--float32-cache]
//
// Prints a JSON line for each case and exits with 1 when one differs. NODE_LLAMA_CPP may name a folder in which it is installed.
// Greedy tokens count where the margin between the two largest logits is above ${tolerance}: llama.cpp keeps keys and values in 16 bits, but
// with --float32-cache, and rounds what it multiplies with quantised weights to 8.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
const { resolve } = createRequire(join(process.env.NODE_LLAMA_CPP ?? folder, 'package.json'))
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(resolve('node-llama-cpp')).href)
const { cases } = JSON.parse(readFileSync(join(folder, 'self-test.json'), 'utf8'))
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: 2 })
const model = await llama.loadModel({ modelPath: join(folder, ${JSON.stringify(fileName)}) })
const longest = Math.max(...cases.map(({ ids, greedy }) => ids.length + greedy.length))
const exact = { flashAttention: false, experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' }
const cache = process.argv.includes('--float32-cache') ? exact : {}
const context = await model.createContext({ contextSize: longest + 8, threads: 2, ...cache })
const sequence = context.getSequence()
let passed = cases.length > 0
for (const { ids, greedy, top, margin, text } of cases) {
  await sequence.clearHistory()
  const withProbabilities = { generateNext: { token: true, probabilities: true, options: { temperature: 0 } } }
  const outputs = await sequence.controlledEvaluate([
    ...ids.slice(0, -1),
    ...[ids.at(-1), ...greedy.slice(0, -1)].map(token => [token, withProbabilities]),
  ])
  const steps = outputs.slice(ids.length - 1)
  // The likeliest token behind each of ours: what greedy decoding says while it says the same.
  const found = steps.map(({ next }) => next.token)
  const logProbability = id => Math.log(steps[0].next.probabilities.get(id))
  const differences = top.slice(1).map(({ id, logit }) => logProbability(id) - logProbability(top[0].id) - (logit - top[0].logit))
  const read = text === undefined || [...model.tokenize(text, true)].join() === ids.join()
  const same = found.join() === greedy.join()
  const ok = read && (same || margin <= ${tolerance})
  passed &&= ok
  const off = differences.map(Math.abs)
  const mean = off.reduce((sum, difference) => sum + difference, 0) / off.length
  console.log(JSON.stringify({ ok, text: read, same, logits: Math.max(...off), mean, greedy: found }))
}
await llama.dispose()
process.exit(passed ? 0 : 1)
`
