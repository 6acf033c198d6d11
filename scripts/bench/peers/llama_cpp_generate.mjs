// Greedy generation with llama.cpp (node-llama-cpp, CPU) on a GGUF file: one other side of gradprompt's `generate` benchmark.
// GRADPROMPT_BENCH_LLAMA names the folder in which `npm install node-llama-cpp` was run. Options are JSON on the command line:
// { model: the GGUF file, prompts: file with a list of lists of ids, newTokens, repeat, threads?, logProbabilities? }. Prints one JSON line.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const options = JSON.parse(process.argv[2])
const resolve = createRequire(join(process.env.GRADPROMPT_BENCH_LLAMA, 'package.json')).resolve
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(resolve('node-llama-cpp')).href)
const prompts = JSON.parse(readFileSync(options.prompts, 'utf8'))

// Left to itself it may wait for ever on a machine of two cores.
const threads = options.threads ?? availableParallelism()
const llama = await getLlama({
  gpu: false,
  build: 'never',
  logLevel: LlamaLogLevel.error,
  maxThreads: threads,
})
const model = await llama.loadModel({ modelPath: options.model })
const longest = Math.max(...prompts.map(ids => ids.length))
const context = await model.createContext({
  sequences: prompts.length,
  contextSize: longest + options.newTokens + 8,
  batchSize: 512,
  threads,
})
const sequences = prompts.map(() => context.getSequence())

async function answer(sequence, ids, newTokens, first) {
  const start = performance.now()
  const tokens = []
  for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    if (tokens.length === 0) first.push((performance.now() - start) / 1000)
    tokens.push(token)
    if (tokens.length === newTokens) break
  }
  return tokens
}

async function run(newTokens) {
  for (const sequence of sequences) await sequence.clearHistory()
  const start = performance.now()
  const first = []
  const answers = await Promise.all(prompts.map((ids, i) => answer(sequences[i], ids, newTokens, first)))
  return { seconds: (performance.now() - start) / 1000, first, answers }
}

/** The likeliest token behind each place of an answer, and the log-probability that the model gives it. */
async function logProbabilities(sequence, ids, answer) {
  await sequence.clearHistory()
  const input = [
    ...ids.slice(0, -1),
    ...[ids.at(-1), ...answer.slice(0, -1)].map(token => [
      token,
      { generateNext: { probabilities: true, options: { temperature: 0 } } },
    ]),
  ]
  const outputs = await sequence.controlledEvaluate(input)
  return outputs.slice(ids.length - 1).map((output, i) => Math.log(output.next.probabilities.get(answer[i])))
}

await run(2)
const prefill = []
const whole = []
for (let i = 0; i < options.repeat; i++) prefill.push(await run(1))
if (options.newTokens > 1) for (let i = 0; i < options.repeat; i++) whole.push(await run(options.newTokens))
const result = {
  event: 'result',
  prefillSeconds: prefill.map(({ seconds }) => seconds),
  firstTokenSeconds: prefill.map(({ first }) => Math.max(...first)),
  seconds: whole.map(({ seconds }) => seconds),
  tokens: whole.at(-1)?.answers.reduce((sum, ids) => sum + ids.length, 0) ?? 0,
}
if (options.logProbabilities) {
  result.answers = whole.at(-1).answers
  result.logProbabilities = []
  for (const [i, ids] of prompts.entries())
    result.logProbabilities.push(await logProbabilities(sequences[i], ids, result.answers[i]))
}
console.log(JSON.stringify(result))
await llama.dispose()
process.exit(0)
