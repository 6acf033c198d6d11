import { basename, dirname, join, resolve } from 'node:path'
import { type EvaluateOptions, evaluate as evaluateByLikelihood } from '../../api/evaluate.js'
import { searchConfigOf } from '../../api/runs.js'
import { promptLabels } from '../../data/labels.js'
import { fillPrompt } from '../../data/prompt-place.js'
import { readRecords } from '../../data/read.js'
import { limitRecords } from '../../data/split.js'
import type { RunTask } from '../../data/task-config.js'
import type { Template } from '../../data/template.js'
import { GradpromptError } from '../../errors.js'
import { evaluateByGeneration, evaluationName } from '../../evaluate/by-generation.js'
import { RowResultFile, writeRowResults } from '../../evaluate/row-results.js'
import { loadScorer } from '../../evaluate/scorer.js'
import type { LanguageModel } from '../../model/language-model.js'
import { type EvaluationReport, evaluationPage } from '../../report/evaluation.js'
import type { Fact } from '../../report/parts/cost.js'
import { writePage } from '../../report/parts/page.js'
import { openPrompt, type PromptSource } from '../../sources/open.js'
import type { FoundRun } from '../../sources/run.js'
import { peakMemory } from '../../store/environment.js'
import type { PromptFile } from '../../store/prompt-file.js'
import { openRun } from '../../store/run-folder.js'
import type { RunResult } from '../../train/events.js'
import { resolveConfig } from './config-input.js'
import type { EvaluateRequest, EvaluateResult } from './messages.js'
import { load } from './opening.js'
import type { Context } from './tasks.js'

/** What is scored: a run of either kind, a prompt file, a PEFT adapter, or the model alone. */
interface Subject {
  readonly source: PromptSource
  /** The run's folder. */
  readonly run?: string | undefined
  /** What acts by vectors, as the user named it. */
  readonly prompt?: string | undefined
  readonly file?: PromptFile | undefined
  readonly config?: RunTask | undefined
  /** Of a text-prompt run: the template with the prompt that the search began with. */
  readonly first?: Template | undefined
  /** The text-prompt run. */
  readonly found?: FoundRun
}

type Common = EvaluateOptions & { readonly model: LanguageModel; readonly data: string }

const defaultSeed = 13

/** Scores a run, a prompt or a plain model, writes each row's result and a report. */
export async function evaluate(request: EvaluateRequest, context: Context): Promise<EvaluateResult> {
  const subject = await subjectOf(request)
  const { run, file, config } = subject
  const data = request.data ?? config?.data.test ?? config?.data.dev
  if (data === undefined) {
    throw new GradpromptError('missing-option', 'there are no rows to score', {
      found: run === undefined ? 'no --data' : 'no --data, and the run has no test or dev file',
      expected: '--data FILE',
    })
  }
  const modelName = request.model ?? config?.model
  if (modelName === undefined) {
    throw new GradpromptError('missing-option', 'there is no model to score', {
      found: 'neither a run nor --model',
      expected: 'gradprompt evaluate RUN, or --model NAME with --template and --answer',
    })
  }
  const options = {
    device: request.device ?? config?.device,
    threads: request.threads ?? config?.threads,
    memory: request.memory ?? config?.memory,
  }
  const model = await load(modelName, options, context.onProgress)
  try {
    const common: Common = {
      model,
      data,
      template: request.template ?? (file?.template as Template | undefined) ?? config?.template,
      answer: request.answer ?? file?.answer ?? config?.answer,
      columns: request.columns ?? config?.data.columns,
      task: config?.data.task,
      labels: request.labels ?? (file && promptLabels(file)) ?? config?.data.labels,
      aggregate: file?.verbalizer?.aggregate ?? config?.verbalizer?.aggregate,
      calibrate: config?.evaluate.calibrate,
      choose: request.choose,
      limit: request.limit,
      seed: request.seed ?? file?.seed ?? config?.seed,
      batchSize: request.batchSize ?? config?.evaluate.batchSize,
      force: request.force,
      signal: context.signal,
    }
    const name = evaluationName(data, request.generation?.task)
    const inRun = (extension: string) => (run === undefined ? undefined : join(run, 'evaluations', name + extension))
    const paths = { rows: request.rows ?? inRun('.jsonl'), report: request.report ?? inRun('.html') }
    const scored =
      request.generation === undefined
        ? subject.found?.config.search?.extractor === undefined
          ? await byLikelihood(request, subject, common, paths.rows, context)
          : await byReasoning(request, subject.found, common, paths.rows, context)
        : await byGeneration(request, request.generation, subject, common, paths.rows, context)
    if (paths.report !== undefined) {
      const title = run === undefined ? name : `${basename(resolve(run))} · ${name}`
      const settings = settingsOf(request, subject, common)
      await writePage(
        await inFolder(paths.report),
        evaluationPage({ name: title, model: model.name, data, settings, peakMemory: peakMemory(), ...scored.report }),
      )
    }
    return {
      model: model.name,
      data,
      ...scored.result,
      ...(paths.rows !== undefined && { results: paths.rows }),
      ...(paths.report !== undefined && { report: paths.report }),
    }
  } finally {
    await model.dispose()
  }
}

async function subjectOf({ prompt, configFile, force }: EvaluateRequest): Promise<Subject> {
  const given = configFile === undefined ? undefined : await resolveConfig({ configFile, flags: {} })
  const source = await openPrompt(prompt, { force })
  const { folder: run, file, found, task } = source
  if (found !== undefined) {
    const { initial, config } = found
    return { source, run, config: task, found, first: initial && fillPrompt(config.template, initial.prompt) }
  }
  return { source, run, prompt, file, config: given ?? task }
}

interface Scored {
  readonly result: Omit<EvaluateResult, 'model' | 'data'>
  readonly report: Omit<EvaluationReport, 'name' | 'model' | 'data' | 'settings' | 'peakMemory'>
}

async function byLikelihood(
  request: EvaluateRequest,
  { run, prompt, config, first }: Subject,
  common: Common,
  rowsPath: string | undefined,
  { onProgress, onEvent }: Context,
): Promise<Scored> {
  const { instruction } = request
  const progress = (what: string) => (done: number, total: number) => onProgress({ what, done, total })
  const isSearch = run !== undefined && prompt === undefined
  const main = await evaluateByLikelihood({
    ...common,
    ...(prompt === undefined ? { instruction } : { prompt }),
    onProgress: progress('rows'),
    onWarning: warning => onEvent({ event: 'warning', ...warning }),
  })
  const { metrics, rows, labels, confusion, seconds, rowsPerSecond } = main
  if (rowsPath !== undefined) await writeRowResults(rowsPath, main.results)
  // Beside a prompt the base model with a plain instruction; beside an instruction the base model without; beside a found prompt the
  // one that the search began with.
  const words = prompt === undefined ? null : (instruction ?? (await usualInstruction(run, config)))
  const hasControl = request.control && (prompt !== undefined || instruction !== undefined || first !== undefined)
  const control = hasControl
    ? await evaluateByLikelihood({
        ...common,
        ...(first !== undefined && { template: first }),
        instruction: words ?? undefined,
        truncate: true,
        onProgress: progress(first === undefined ? 'rows, base model' : 'rows, first prompt'),
      })
    : undefined
  const condition = isSearch
    ? 'found prompt'
    : prompt !== undefined
      ? 'tuned'
      : instruction === undefined
        ? 'base model'
        : 'base model, instructed'
  const controlName = first !== undefined ? 'first prompt' : words === null ? 'base model' : 'base model, instructed'
  return {
    result: {
      condition,
      metrics,
      rows,
      ...(labels && { labels }),
      ...(confusion && { confusion }),
      seconds,
      rowsPerSecond,
      ...(control && { control: { name: controlName, metrics: control.metrics, instruction: words } }),
    },
    report: {
      metrics,
      rows: main.results,
      labels,
      confusion,
      condition,
      control: control && { name: controlName, metrics: control.metrics, rows: control.results },
      seconds: seconds + (control?.seconds ?? 0),
    },
  }
}

/** A prompt of a search over reasoning is judged as the search did: the model reasons, and the extractor asks. */
async function byReasoning(
  request: EvaluateRequest,
  { folder, config: stored, ids, initial }: FoundRun,
  common: Common,
  rowsPath: string | undefined,
  { onProgress }: Context,
): Promise<Scored> {
  const { evaluateReasoned, refuseUnread } = await import('../../search/run/judge.js')
  refuseUnread(request)
  const config = searchConfigOf({ folder, config: stored })
  const started = performance.now()
  const { records: all } = await readRecords(common.data, { columns: common.columns, task: common.task })
  const seed = common.seed ?? defaultSeed
  const records = limitRecords(all, common.limit, seed)
  const prompts = [ids, ...(request.control && initial !== undefined ? [initial.ids] : [])]
  const [found, first] = await evaluateReasoned({ ...config, seed }, common.model, records, prompts, {
    batchSize: common.batchSize,
    signal: common.signal,
    onProgress: (done, total) => onProgress({ what: 'answers', done, total }),
  })
  if (rowsPath !== undefined) await writeRowResults(rowsPath, found!.results)
  const { metrics, rows } = found!.judged
  const seconds = (performance.now() - started) / 1000
  const [condition, name] = ['found prompt', 'first prompt']
  return {
    result: {
      ...{ condition, metrics, rows, seconds, rowsPerSecond: rows / seconds },
      ...(first && { control: { name, metrics: first.judged.metrics, instruction: null } }),
    },
    report: {
      ...{ metrics, rows: found!.results, condition, seconds },
      control: first && { name, metrics: first.judged.metrics, rows: first.results },
    },
  }
}

async function byGeneration(
  { instruction }: EvaluateRequest,
  { examples, scorer, shots, ...settings }: NonNullable<EvaluateRequest['generation']>,
  { source, prompt, run }: Subject,
  common: Common,
  rowsPath: string | undefined,
  { onProgress }: Context,
): Promise<Scored> {
  const results = rowsPath === undefined ? undefined : await RowResultFile.open(rowsPath)
  try {
    const { metrics, rows, seconds, unextracted, cut, rules, filters, errors, ...evaluated } = await evaluateByGeneration({
      ...common,
      ...settings,
      seed: common.seed ?? defaultSeed,
      instruction,
      prompt: await source.active(common.model),
      examples: examples === undefined ? undefined : { file: examples, shots },
      scorer: scorer === undefined ? undefined : await loadScorer(scorer),
      results,
      onProgress: (done, total) => onProgress({ what: 'rows', done, total }),
    })
    const { task, conventions, weights, generatedTokens, resumed } = evaluated
    const condition = prompt !== undefined ? 'tuned' : run !== undefined ? 'found prompt' : 'base model'
    const figures = { unextracted: unextracted.length, cut: cut.length, rules, filters, errors }
    return {
      result: {
        condition,
        metrics,
        rows,
        seconds,
        rowsPerSecond: (rows - resumed) / seconds,
        generated: { task, weights, generatedTokens, resumed, ...figures },
      },
      report: {
        metrics,
        rows: evaluated.results,
        condition,
        generated: { task, conventions, filters, weights, generatedTokens, resumed },
        seconds,
      },
    }
  } finally {
    results?.close()
  }
}

/** The instruction that a run's own control had. */
async function usualInstruction(run: string | undefined, config: RunTask | undefined): Promise<string | null> {
  if (run !== undefined) {
    const result = (await (await openRun(run)).readResult()) as RunResult | undefined
    if (result !== undefined) return result.control.instruction
  }
  return config?.control?.instruction ?? null
}

function settingsOf(request: EvaluateRequest, { run }: Subject, { template, answer, limit, seed }: Common): Fact[] {
  const texts = typeof template === 'string' ? template : template?.map(({ role, content }) => `${role}: ${content}`).join('\n')
  const given: (readonly [string, unknown])[] = [
    ['prompt', run ?? request.prompt],
    ['template', request.generation?.task === undefined ? texts : undefined],
    ['answer', request.generation?.task === undefined ? answer : undefined],
    ['instruction', request.instruction],
    ['chosen by', request.choose],
    ['rows at most', limit],
    ['seed', seed ?? defaultSeed],
    ...Object.entries(request.generation ?? {}).filter(([name]) => name !== 'task' && name !== 'weights'),
  ]
  return given.flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as const]))
}

/** A path whose folder is there. */
async function inFolder(path: string): Promise<string> {
  const { mkdir } = await import('node:fs/promises')
  await mkdir(dirname(resolve(path)), { recursive: true })
  return path
}
