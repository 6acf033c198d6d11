import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { search } from '../src/api/search.js'
import { readPredictions } from '../src/evaluate/predictions.js'
import { GenerationEngine } from '../src/generate/engine/engine.js'
import { LanguageModel } from '../src/model/language-model.js'
import { bundledModel } from '../src/package-root.js'
import { randomGenerator } from '../src/random.js'
import { parseSearchConfig, type SearchConfig, type SearchConfigInput } from '../src/search/config.js'
import { rankCorrelation } from '../src/search/moves/drift.js'
import { proposeTokens } from '../src/search/moves/proposals.js'
import { prepareSearch, type SearchJob } from '../src/search/run/job.js'
import { contextOf } from '../src/search/run/loop.js'
import { readSearchTask } from '../src/search/run/task.js'
import { Budget } from '../src/search/score/budget.js'
import { Objective } from '../src/search/score/objective.js'
import { Reasoning } from '../src/search/score/reasoning.js'
import { draw, rowsOf, substituted, substitutionScores } from '../src/search/space/candidates.js'
import { replaceText } from '../src/store/atomic.js'
import { knownNames, scriptArguments } from './arguments.js'
import { appendLine, readLines } from './study/lines.js'
import { ownConclusions, studyPage } from './study/search/page.js'
import { bbhTask, handWritten, type SearchTaskName, type StudyTask, searchTasks } from './study/search/tasks.js'

/** What is compared: how the shortlist is made, or another search. */
export const conditions = {
  greater: { type: 'greater' },
  'held-reasoning': { type: 'greater', shortlist: 'held-reasoning' },
  'random-shortlist': { type: 'greater', shortlist: 'random' },
  'gradient-without-reasoning': { type: 'greater', shortlist: 'gradient-without-reasoning' },
  // The prompt is short and the budget small: a generation of a few, until four tokens are left.
  promptquine: { type: 'promptquine', begin: 'copies', population: 4, offspring: 4, minLength: 4 },
  'paper-settings': { type: 'greater', preset: 'paper', measure: 'cross-entropy', fluency: 0.2 },
  // By whole prompts, which the model under test writes itself: they read well anyhow.
  'best-of-n': { type: 'best-of-n', fluency: 0 },
  gepa: { type: 'gepa', fluency: 0 },
  miprov2: { type: 'miprov2', fluency: 0 },
  capo: { type: 'capo', fluency: 0 },
} as const
type Condition = keyof typeof conditions

const usage = `node dist/scripts/search-study.js [--model M] [--tasks ${Object.keys(searchTasks).join()}] [--seeds 13,21,42]
    [--conditions greater,random-shortlist] [--budget 12000] [--max-new-tokens 64] [--extractor TEXT] [--threads 1]
    [--out runs/search-study] [--results FILE.jsonl]
node dist/scripts/search-study.js --select BBH_FOLDER   ten hand-written prompts on train rows of every task of a BBH folder
node dist/scripts/search-study.js --table [--docs FILE.md]   writes the page from what there is

Does the gradient over reasoning find better prompts than its controls? Every condition of a task and seed has the same questions, dev
rows, test rows, first prompt and budget of generated tokens. What is finished is a line of --results; a line with the same settings is
not done again, so this goes on where it was stopped. The test rows are scored once a run, with the first prompt and with the prompt that
dev chose. A run takes 5 to 20 minutes with the bundled model on two cores. A model that reasons at greater length wants --max-new-tokens
and a larger --budget, and perhaps an --extractor of its own: \`search\` with \`extractor: auto\` and \`maxNewTokens: auto\` says which.

For example, with a model of your own, into runs/search-study/llama-3.1-8b.jsonl and .md:
    node dist/scripts/search-study.js --model models/llama-3.1-8b.gguf --tasks sst2 --seeds 13`

const { values } = scriptArguments(usage, {
  model: { type: 'string', default: bundledModel },
  tasks: { type: 'string', default: Object.keys(searchTasks).join() },
  seeds: { type: 'string', default: '13,21,42' },
  conditions: { type: 'string', default: Object.keys(conditions).join() },
  budget: { type: 'string', default: '12000' },
  'max-new-tokens': { type: 'string' },
  extractor: { type: 'string' },
  threads: { type: 'string' },
  results: { type: 'string' },
  docs: { type: 'string' },
  out: { type: 'string', default: 'runs/search-study' },
  table: { type: 'boolean', default: false },
  select: { type: 'string' },
  job: { type: 'string' },
})

const isBundled = values.model === bundledModel
const modelName = basename(values.model).replace(/\.gguf$/, '')
const results = values.results ?? (isBundled ? 'scripts/study/results/search.jsonl' : join(values.out, `${modelName}.jsonl`))
const docs = values.docs ?? (isBundled ? 'docs/search-results.md' : join(values.out, `${modelName}.md`))

/** A finished piece of the study: a line of the results. */
export interface SearchStudyLine {
  readonly kind: 'run' | 'rank'
  readonly task: string
  readonly condition?: string
  readonly seed: number
  readonly settings: object
  readonly [figure: string]: unknown
}

function configOf(task: StudyTask, condition: Condition, seed: number, out?: string): SearchConfigInput {
  const { type, ...options } = conditions[condition]
  return {
    model: values.model,
    data: task.data,
    template: task.template,
    answer: task.answer,
    answerEnd: 'none',
    search: {
      type,
      prompt: task.prompt,
      extractor: values.extractor?.replaceAll('\\n', '\n') ?? task.extractor,
      maxNewTokens: values['max-new-tokens'] === undefined ? task.maxNewTokens : Number(values['max-new-tokens']),
      questions: 24,
      // The budget ends a run.
      steps: 1000,
      budget: { generatedTokens: Number(values.budget) },
      // Ten would cost more tokens than the search itself.
      rerank: 5,
      measure: 'probability',
      fluency: 0.02,
      ...options,
    },
    seed,
    ...(values.threads !== undefined && { threads: Number(values.threads) }),
    ...(out !== undefined && { out }),
  } as SearchConfigInput
}

const settingsOf = (task: StudyTask, condition: Condition, seed: number): object => {
  const { model, data, template, answer, search } = parseSearchConfig(configOf(task, condition, seed))
  return JSON.parse(JSON.stringify({ model, data, template, answer, search })) as object
}

const finished = () =>
  readLines<SearchStudyLine>(results).filter(({ settings }) => (settings as { model?: string }).model === values.model)
const append = (line: SearchStudyLine) => appendLine(results, line)

async function runOf(name: SearchTaskName, condition: Condition, seed: number): Promise<void> {
  const task = searchTasks[name]
  const folder = join(values.out, isBundled ? '' : modelName, `${name}-${condition}-${seed}`)
  rmSync(folder, { recursive: true, force: true })
  const { result } = await search(configOf(task, condition, seed, folder), {
    onEvent: event => {
      if (event.event === 'step')
        console.error(`${name} ${condition} ${seed}: step ${event.step}, ${event.generatedTokens} tokens`)
    },
  })
  const bits = async (scoredWith: 'initial' | 'tuned') =>
    (await readPredictions(folder, 'test', scoredWith))!.map(({ correct }) => Number(correct)).join('')
  const { prompt, initial, test, steps, drifted, generatedTokens, computedTokens, seconds } = result
  append({
    ...{ kind: 'run', task: name, condition, seed, settings: settingsOf(task, condition, seed) },
    ...{ prompt, first: initial.prompt, steps, drifted, generatedTokens, computedTokens, seconds: Math.round(seconds) },
    dev: { first: initial.metrics.accuracy?.value, found: result.metrics.accuracy?.value },
    // Test rows as 1 and 0, in the order of the file.
    test: { first: await bits('initial'), found: await bits('tuned') },
    p: test!.comparison?.mcnemar?.p ?? null,
  })
}

/** Opens a job with an engine, as a search does. */
async function withJob<T>(
  config: SearchConfig,
  use: (job: SearchJob, reasoning: Reasoning, model: LanguageModel) => Promise<T>,
): Promise<T> {
  const model = await LanguageModel.load(config.model, config.threads === undefined ? {} : { threads: config.threads })
  const job = await prepareSearch(config, await readSearchTask(config), model)
  const engine = await GenerationEngine.open(model, { weights: config.search.weights!, batchSize: 64 })
  try {
    const settings = { maxNewTokens: config.search.maxNewTokens!, batchSize: 64 }
    const reasoning = new Reasoning(engine, model.tokenizer, settings)
    await reasoning.prepare(job.rows)
    return await use(job, reasoning, model)
  } finally {
    await engine.dispose()
    await job.programs.dispose()
    await model.dispose()
  }
}

/**
 * Spearman's correlation, over candidates drawn from the model's proposals at all positions, of several guesses with the exact loss: the
 * answer's probability behind fresh reasoning. The guesses are what each kind of gradient says, and the exact loss behind the first
 * prompt's own reasoning (`heldReasoning`). What the gradient has in common with the latter (`gradientWithHeld`) tells how far it is off
 * as a first-order guess; the rest of what it misses is that reasoning changes.
 */
async function rankOf(name: SearchTaskName, seed: number): Promise<void> {
  const task = searchTasks[name]
  const config = parseSearchConfig(configOf(task, 'greater', seed))
  const figures = await withJob(config, async (job, reasoning, model) => {
    const { space, rows, allowed, embedding, programs } = job
    const { measure } = config.search
    const objective = new Objective(
      model,
      programs,
      new Budget({}, () => 0),
      { free: space.free, fluency: 0, measure },
      undefined,
      reasoning,
    )
    const random = (...stream: readonly number[]) => randomGenerator(seed, 77, ...stream)
    const context = { ...contextOf({ ...job, objective, config } as never, 0), allowed, rows, random }
    const sampled = draw(rows, 5, random(1))
    const proposed = await proposeTokens(space.start, space.free, sampled, { proposals: 'mean', topk: 10, mu: 3 }, context)
    const pool = space.free.flatMap((position, j) =>
      proposed[j]!.filter(to => to !== space.start[position]).map(to => ({ position, to })),
    )
    const drawn = draw(pool, 30, random(2)).filter(swap => context.readsBack(substituted(space.start, [swap]).ids))
    const exact = await objective.score(
      drawn.map(swap => substituted(space.start, [swap]).ids),
      rows,
    )
    const held = await objective.scoreHeld(
      drawn.map(swap => substituted(space.start, [swap]).ids),
      rows,
      space.start,
    )
    const correlation = (guesses: readonly number[], losses: readonly number[]) =>
      rankCorrelation(
        drawn.map((swap, i) => ({ ...substituted(space.start, [swap], guesses[i]!), ...exact[i]!, loss: losses[i]! })),
      )
    const fresh = exact.map(({ loss }) => loss)
    const forced = held.map(({ loss }) => loss)
    const correlations: Record<string, number | null> = { heldReasoning: correlation(forced, fresh) }
    for (const withReasoning of [true, false]) {
      const { gradient } = await objective.gradient([space.start], rows, { withReasoning })
      const products = await embedding.project(rowsOf(gradient, space.free, embedding.hiddenSize))
      const scores = substitutionScores(products, space.start, space.free, embedding.vocabSize)
      const guesses = drawn.map(({ position, to }) => scores[space.free.indexOf(position) * embedding.vocabSize + to]!)
      correlations[withReasoning ? 'withReasoning' : 'withoutReasoning'] = correlation(guesses, fresh)
      if (withReasoning) correlations.gradientWithHeld = correlation(guesses, forced)
    }
    const first = (await objective.score([space.start], rows))[0]!.loss
    return { candidates: drawn.length, better: exact.filter(({ loss }) => loss < first).length, correlations }
  })
  append({ kind: 'rank', task: name, seed, settings: settingsOf(task, 'greater', seed), ...figures })
}

/** Accuracy of ten hand-written prompts on train rows, for every task of a BBH folder: as JSON lines. */
async function select(folder: string): Promise<void> {
  for (const file of readdirSync(folder).filter(name => name.endsWith('.json'))) {
    const task = bbhTask(join(folder, file))
    const config = parseSearchConfig(configOf(task, 'greater', 13))
    const accuracies = await withJob(config, async ({ rows, model }, reasoning) => {
      const found: number[] = []
      for (const text of handWritten) {
        const ids = model.tokenizer.encode(text, { addSpecialTokens: false })
        const judged = await reasoning.judge(ids, rows, { budget: new Budget({}, () => 0) })
        found.push(judged.filter(({ isRight }) => isRight).length / rows.length)
      }
      return found
    })
    const line = { task: basename(file, '.json'), spread: Math.max(...accuracies) - Math.min(...accuracies), accuracies }
    console.log(JSON.stringify(line))
  }
}

async function main(): Promise<void> {
  if (values.select !== undefined) return select(values.select)
  if (values.job !== undefined) {
    const [name, condition, seed] = JSON.parse(values.job) as [SearchTaskName, Condition | 'rank', number]
    return condition === 'rank' ? rankOf(name, seed) : runOf(name, condition, seed)
  }
  if (!values.table) {
    mkdirSync(dirname(results), { recursive: true })
    const tasks = knownNames(usage, '--tasks', values.tasks, Object.keys(searchTasks) as SearchTaskName[])
    const compared = knownNames(usage, '--conditions', values.conditions, Object.keys(conditions) as Condition[])
    const wanted = values.seeds.split(',').flatMap(seed =>
      tasks.flatMap(name =>
        [...compared, 'rank' as const].map(condition => ({
          name,
          condition,
          seed: Number(seed),
        })),
      ),
    )
    for (const { name, condition, seed } of wanted) {
      const settings = settingsOf(searchTasks[name], condition === 'rank' ? 'greater' : condition, seed)
      const isDone = finished().some(
        line =>
          line.task === name &&
          line.seed === seed &&
          (condition === 'rank' ? line.kind === 'rank' : line.condition === condition) &&
          isDeepStrictEqual(line.settings, settings),
      )
      if (isDone) continue
      const job = JSON.stringify([name, condition, seed])
      const { status, signal } = spawnSync(
        process.execPath,
        [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--job', job],
        {
          stdio: 'inherit',
        },
      )
      if (signal !== null || status === 130) process.exit(130)
      if (status !== 0) console.error(`${job}: failed`)
    }
  }
  mkdirSync(dirname(docs), { recursive: true })
  const about = {
    model: isBundled ? 'SmolLM2-135M-Instruct' : modelName,
    results,
    conclusions: isBundled ? ownConclusions : undefined,
  }
  await replaceText(docs, studyPage(finished(), Object.keys(conditions), about))
}
await main()
