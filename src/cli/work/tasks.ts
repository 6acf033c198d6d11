import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { GradpromptError } from '../../errors.js'
import { readPromptAt } from '../../sources/open.js'
import type { WarningEvent } from '../../store/events.js'
import type { GradpromptEvent } from '../../train/events.js'
import { resolveConfig, searchConfigInput } from './config-input.js'
import type { News, Progress, TaskName, Tasks } from './messages.js'
import { load } from './opening.js'

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
    const [config, { tune }] = await Promise.all([resolveConfig(request), import('../../api/tune.js')])
    const { folder, result } = await tune(config, { signal, onEvent, onProgress })
    await reported(folder, onEvent)
    return result
  },

  async resume({ folder, steps }, { signal, onEvent, onProgress }) {
    const { resume } = await import('../../api/tune.js')
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

  async search(request, { signal, onNews, onProgress }) {
    const [config, { search }] = await Promise.all([searchConfigInput(request), import('../../api/search.js')])
    const { folder, result } = await search(config, {
      signal,
      onEvent: onNews,
      onProgress,
      source: request.configFile ?? 'command line',
    })
    await reported(folder, onNews)
    return result
  },

  async resumeSearch({ folder, steps }, { signal, onNews, onProgress }) {
    const { resumeSearch } = await import('../../api/search.js')
    const { result } = await onceFree(() => resumeSearch(folder, { steps, signal, onEvent: onNews, onProgress }))
    await reported(folder, onNews)
    return result
  },

  async evaluate(request, context) {
    const { evaluate } = await import('./evaluation.js')
    return evaluate(request, context)
  },

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
    const { exportPrompt } = await import('../../api/export.js')
    return exportPrompt(folder, options)
  },

  async nearest({ prompt, model: name }) {
    const { nearestTokens } = await import('../../evaluate/nearest-tokens.js')
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
async function reported(folder: string, onEvent: (event: WarningEvent) => void): Promise<void> {
  try {
    const { reportRun } = await import('./report-run.js')
    await reportRun(folder)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    onEvent({ event: 'warning', code: 'no-report', message: `report.html could not be written: ${message}` })
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
