import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Config } from '../config/schema.js'
import { promptLabels } from '../data/labels.js'
import { GradpromptError } from '../errors.js'
import type { GradpromptEvent, RunResult } from '../train/events.js'
import { resolveConfig, searchConfigInput } from './config-input.js'
import type { EvaluateRequest, News, Progress, TaskName, Tasks } from './messages.js'
import { isFolder, load, readPromptAt, runConfig } from './opening.js'

/** What the computing process does. Each task loads what it needs. */

export interface Context<Name extends TaskName = TaskName> {
  readonly signal: AbortSignal
  readonly onEvent: (event: GradpromptEvent) => void
  readonly onProgress: (progress: Progress) => void
  readonly onNews: (news: News<Name>) => void
}

type Task<Name extends TaskName> = (request: Tasks[Name]['request'], context: Context<Name>) => Promise<Tasks[Name]['result']>

const tasks: { readonly [Name in TaskName]: Task<Name> } = {
  async tune(request, { signal, onEvent, onProgress }) {
    const [config, { tune }] = await Promise.all([resolveConfig(request), import('../train/tune.js')])
    const { folder, result } = await tune(config, { signal, onEvent, onProgress })
    await reported(folder, onEvent)
    return result
  },

  async resume({ folder, steps }, { signal, onEvent, onProgress }) {
    const { resume } = await import('../train/tune.js')
    let hasLearned = false
    const heard = (event: GradpromptEvent) => {
      hasLearned ||= event.event === 'result'
      onEvent(event)
    }
    const { result } = await onceFree(() => resume(folder, { steps, signal, onEvent: heard, onProgress }))
    const isMissing = !(await exists(join(folder, 'report.html')))
    if (hasLearned || isMissing) await reported(folder, onEvent)
    return result
  },

  async search(request, { signal, onNews }) {
    const [config, { search }] = await Promise.all([searchConfigInput(request), import('../search/search.js')])
    return (await search(config, { signal, onEvent: onNews, source: request.configFile ?? 'command line' })).result
  },

  async resumeSearch({ folder, steps }, { signal, onNews }) {
    const { resumeSearch } = await import('../search/search.js')
    return (await onceFree(() => resumeSearch(folder, { steps, signal, onEvent: onNews }))).result
  },

  evaluate,

  async generate(request, context) {
    const { generate } = await import('./generation.js')
    return onceFree(() => generate(request, context))
  },

  async serve(request, context) {
    const { serve } = await import('./generation.js')
    await serve(request, context)
    return undefined
  },

  async export({ folder, ...options }) {
    const { exportPrompt } = await import('../export/index.js')
    return exportPrompt(folder, options)
  },

  async nearest({ prompt, model: name }) {
    const { nearestTokens } = await import('../evaluate/nearest-tokens.js')
    const file = await readPromptAt(prompt)
    const model = await load(name)
    try {
      return await nearestTokens(model, file)
    } finally {
      await model.dispose()
    }
  },

  async report({ folder }) {
    const { reportRun } = await import('./report-run.js')
    return { path: await reportRun(folder) }
  },

  async device({ device }) {
    const { tryDevice } = await import('./device-trial.js')
    return tryDevice(device)
  },
}

/** Runs one task. What comes over the wire is what `compute` sent, so its type is known by its name. */
export function runTask(
  task: TaskName,
  request: unknown,
  context: Omit<Context, 'onNews'> & { readonly onNews: (news: unknown) => void },
): Promise<unknown> {
  return (tasks[task] as Task<TaskName>)(request as never, context)
}

/** A command that was killed a moment ago may still hold its run: its computing process notices within a fraction of a second. */
async function onceFree<Result>(begin: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await begin()
    } catch (error) {
      if (!(error instanceof GradpromptError && error.code === 'run-locked') || attempt === 10) throw error
      await setTimeout(200)
    }
  }
}

/** A report is a convenience: without it the run is whole. */
async function reported(folder: string, onEvent: Context['onEvent']): Promise<void> {
  try {
    const { reportRun } = await import('./report-run.js')
    await reportRun(folder)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    onEvent({ event: 'warning', code: 'no-report', message: `report.html could not be written: ${message}` })
  }
}

async function evaluate(request: EvaluateRequest, { signal, onProgress }: Context): Promise<Tasks['evaluate']['result']> {
  const { evaluate, promptFor } = await import('../evaluate/evaluate.js')
  const { evaluationName } = await import('../evaluate/by-generation.js')
  const { RowResultFile } = await import('../evaluate/row-results.js')
  const { configFile, prompt: path, instruction } = request
  const adapter = path !== undefined && (await exists(join(path, 'adapter_config.json')))
  const run = path !== undefined && !adapter && (await isFolder(path)) ? path : undefined
  const file = path === undefined || adapter ? undefined : await readPromptAt(path)
  const config = await knownConfig(run, configFile)
  const template = request.template ?? file?.template ?? config?.template
  const answer = request.answer ?? file?.answer ?? config?.answer
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
  const model = await load(modelName, {
    device: request.device ?? config?.device ?? 'cpu',
    threads: request.threads ?? config?.threads,
    memory: request.memory ?? config?.memory,
  })
  try {
    const common = {
      model,
      data,
      template: template as Config['template'] | undefined,
      answer,
      columns: request.columns ?? config?.data.columns,
      labels: request.labels ?? (file && promptLabels(file)) ?? config?.data.labels,
      aggregate: file?.verbalizer?.aggregate ?? config?.verbalizer?.aggregate,
      calibrate: config?.evaluate.calibrate,
      limit: request.limit,
      seed: request.seed ?? file?.seed ?? config?.seed,
      batchSize: request.batchSize ?? config?.evaluate.batchSize,
      force: request.force,
      signal,
    }
    const progress = (what: string) => (done: number, total: number) => onProgress({ what, done, total })
    const name = evaluationName(data, request.generation?.task)
    const rowsPath = request.rows ?? (run === undefined ? undefined : join(run, 'evaluations', `${name}.jsonl`))
    if (request.generation !== undefined) {
      const { examples, scorer, shots, ...settings } = request.generation
      const { active } = await promptFor({ prompt: run ?? file ?? path, force: request.force })
      const { evaluateByGeneration } = await import('../evaluate/by-generation.js')
      const { loadScorer } = await import('../evaluate/scorer.js')
      const results = rowsPath === undefined ? undefined : await RowResultFile.open(rowsPath)
      try {
        const { metrics, rows, seconds, unextracted, rules, errors, task, weights, generatedTokens, resumed } =
          await evaluateByGeneration({
            ...common,
            ...settings,
            data,
            seed: common.seed ?? 13,
            instruction,
            prompt: await active(model),
            examples: examples === undefined ? undefined : { file: examples, shots },
            scorer: scorer === undefined ? undefined : await loadScorer(scorer),
            results,
            onProgress: progress('rows'),
          })
        return {
          model: model.name,
          data,
          metrics,
          rows,
          seconds,
          rowsPerSecond: rows / seconds,
          generated: { task, weights, generatedTokens, resumed, unextracted: unextracted.length, rules, errors },
          ...(rowsPath !== undefined && { results: rowsPath }),
        }
      } finally {
        results?.close()
      }
    }
    const main =
      path === undefined
        ? await evaluate({ ...common, instruction, onProgress: progress('rows') })
        : await evaluate({ ...common, prompt: run ?? file ?? path, onProgress: progress('rows') })
    const { metrics, rows, labels, confusion, seconds, rowsPerSecond } = main
    if (rowsPath !== undefined) {
      const results = await RowResultFile.open(rowsPath)
      for (const row of main.results) results.append(row)
      results.close()
    }
    // Beside a prompt the base model with a plain instruction; beside an instruction the base model without.
    const words = path === undefined ? null : (instruction ?? (await usualInstruction(run, config)))
    const hasControl = request.control && (path !== undefined || instruction !== undefined)
    const control = hasControl
      ? await evaluate({ ...common, instruction: words ?? undefined, truncate: true, onProgress: progress('rows, base model') })
      : undefined
    return {
      model: model.name,
      data,
      metrics,
      rows,
      ...(labels && { labels }),
      ...(confusion && { confusion }),
      seconds,
      rowsPerSecond,
      ...(control && { control: { metrics: control.metrics, instruction: words } }),
      ...(rowsPath !== undefined && { results: rowsPath }),
    }
  } finally {
    await model.dispose()
  }
}

/** The instruction that a run's own control had. */
async function usualInstruction(run: string | undefined, config: Config | undefined): Promise<string | null> {
  if (run !== undefined) {
    const { openRun } = await import('../runs/run-folder.js')
    const result = (await (await openRun(run)).readResult()) as RunResult | undefined
    if (result !== undefined) return result.control.instruction
  }
  return config?.control.instruction ?? null
}

async function knownConfig(run: string | undefined, configFile: string | undefined): Promise<Config | undefined> {
  if (configFile !== undefined) return resolveConfig({ configFile, flags: {} })
  if (run === undefined) return undefined
  return runConfig(run)
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
