/** gradprompt's side of the `generate` benchmark: one process, one JSON line, as the peers print them. Options are JSON on the command line. */
import { readFileSync } from 'node:fs'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import type { WrittenGrammar } from '../../src/generate/limits/grammars.js'
import type { WeightWidth } from '../../src/generate/programs.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { modelFile } from './peer.js'

export interface GenerateOursOptions {
  /** JSON file: a list of lists of token ids. */
  prompts: string
  weights: WeightWidth
  newTokens: number
  repeat: number
  batchSize?: number
  /** Token ids that end an answer; by default none does, so that all sides generate the same number of tokens. */
  stop?: readonly number[]
  threads?: number
  promptLookup?: boolean
  answers?: boolean
  /** What every answer is limited to. */
  grammar?: WrittenGrammar
  /** JSON file: answers whose tokens' log-probabilities are wanted. */
  score?: string
  /** So many requests of a few tokens, one after the other in tens: what the process holds after 100 and after all of them. */
  requests?: number
}

const options = JSON.parse(process.argv[2]!) as GenerateOursOptions
const prompts = JSON.parse(readFileSync(options.prompts, 'utf8')) as number[][]
const model = await LanguageModel.load(modelFile(), options.threads ? { threads: options.threads } : {})
const engine = await GenerationEngine.open(model, {
  weights: options.weights,
  batchSize: options.batchSize ?? Math.min(64, prompts.length),
  endTokenIds: options.stop ?? [],
  promptLookup: options.promptLookup ?? true,
})

const grammar = options.grammar && { grammar: options.grammar }

async function run(maxNewTokens: number) {
  // Every repetition computes its prompts, as the peers do.
  engine.forget()
  const start = performance.now()
  const answers = await Promise.all(prompts.map(ids => engine.generate({ ids, maxNewTokens, ...grammar })))
  return { seconds: (performance.now() - start) / 1000, answers: answers.map(({ ids }) => ids) }
}

const result: Record<string, unknown> = { event: 'result' }
if (options.requests) {
  const memory: number[] = []
  for (let i = 0; i < options.requests; i += 10) {
    await Promise.all(
      Array.from({ length: 10 }, (_, j) =>
        engine.generate({ ids: [...prompts[(i + j) % prompts.length]!, i % 40_000, j], maxNewTokens: 2 }),
      ),
    )
    memory.push(process.memoryUsage.rss())
  }
  result.memory = memory
} else {
  await run(2)
  const times = async (newTokens: number) => {
    const runs = []
    for (let i = 0; i < options.repeat; i++) runs.push(await run(newTokens))
    return runs
  }
  const prefill = await times(1)
  const whole = options.newTokens > 1 ? await times(options.newTokens) : []
  result.prefillSeconds = prefill.map(({ seconds }) => seconds)
  result.seconds = whole.map(({ seconds }) => seconds)
  result.tokens = whole.at(-1)?.answers.reduce((sum, ids) => sum + ids.length, 0) ?? 0
  if (options.answers) result.answers = whole.at(-1)!.answers
}
if (options.score) {
  const answers = JSON.parse(readFileSync(options.score, 'utf8')) as number[][]
  result.logProbabilities = await scores(answers)
}
console.log(JSON.stringify(result))
await engine.dispose()
await model.dispose()

/** Log-probabilities of the tokens of given answers, each behind its prompt and the answer so far, as the engine itself decodes them. */
async function scores(answers: readonly number[][]): Promise<(readonly number[])[]> {
  const scored = await Promise.all(
    prompts.map((ids, i) =>
      engine.generate({ ids, maxNewTokens: 0, continuation: { ids: answers[i]!, scored: answers[i]!.length } }),
    ),
  )
  return scored.map(({ continuation }) => continuation!.logProbabilities)
}
