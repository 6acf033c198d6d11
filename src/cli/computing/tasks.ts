import type { GradpromptEvent } from '../../train/events.js'
import { configInput, resolveConfig, searchConfigInput } from './config-input.js'
import type { News, OwnFamilies, Progress, TaskName, Tasks } from './messages.js'
import { onceFree } from './once-free.js'

/** What the computing process does. Each task loads what it needs. */

export interface Context<Name extends TaskName = TaskName> {
  readonly signal: AbortSignal
  readonly onEvent: (event: GradpromptEvent) => void
  readonly onProgress: (progress: Progress) => void
  readonly onNews: (news: News<Name>) => Promise<void>
}

type Task<Name extends TaskName> = (request: Tasks[Name]['request'], context: Context<Name>) => Promise<Tasks[Name]['result']>

const tasks: { readonly [Name in TaskName]: Task<Name> } = {
  async tune(request, { signal, onEvent, onProgress }) {
    const [config, { tune }] = await Promise.all([resolveConfig(request), import('../../api/tune.js')])
    return (await tune(config, { signal, onEvent, onProgress })).result
  },

  async reject({ families: _, ...request }, { signal, onEvent, onProgress }) {
    const { reject } = await import('../../api/foreign/reject.js')
    const { result, rejection, foreignLabels, texts, measured } = await reject({ ...request, signal, onEvent, onProgress })
    return { result, rejection, foreignLabels, texts, measured }
  },

  async compress({ families: _, ...request }, { signal, onEvent, onProgress }) {
    const { compress } = await import('../../api/compress.js')
    const { result, conversations, textTokens, retained } = await compress({ ...request, signal, onEvent, onProgress })
    return { result, conversations, textTokens, retained }
  },

  async hints({ configFile, flags, flagNames, ...options }, { signal, onEvent, onProgress }) {
    const request = { configFile, flags, ...(flagNames && { flagNames }) }
    // Says which flag is wrong, or what of the file.
    await resolveConfig(request)
    // As it was written: what a config says of itself by default is nothing to be refused.
    const [config, { hints }] = await Promise.all([configInput(request), import('../../api/hints/hints.js')])
    return onceFree(() => hints(config, { ...options, signal, onEvent, onProgress }))
  },

  async resume({ folder, ...options }, { signal, onEvent, onProgress }) {
    const { resumeTune } = await import('../../api/tune.js')
    return (await onceFree(() => resumeTune(folder, { ...options, signal, onEvent, onProgress }))).result
  },

  async search(request, { signal, onNews, onProgress }) {
    const [config, { search }] = await Promise.all([searchConfigInput(request), import('../../api/search.js')])
    const source = request.configFile ?? 'command line'
    return (await search(config, { signal, onEvent: onNews, onProgress, source })).result
  },

  async resumeSearch({ folder, ...options }, { signal, onNews, onProgress }) {
    const { resumeSearch } = await import('../../api/search.js')
    return (await onceFree(() => resumeSearch(folder, { ...options, signal, onEvent: onNews, onProgress }))).result
  },

  async sweep({ folder, ...options }, { signal, onNews }) {
    const { sweep } = await import('../../api/sweep/sweep.js')
    await sweep(folder, { ...options, signal, onEvent: onNews })
    return undefined
  },

  async evaluate(request, context) {
    const { evaluate } = await import('./evaluation.js')
    return evaluate(request, context)
  },

  async generate(request, context) {
    const { generate } = await import('./generation.js')
    return onceFree(() => generate(request, context))
  },

  async predict(request, context) {
    const { predict } = await import('./prediction.js')
    return predict(request, context)
  },

  async labelNext(request, context) {
    const { labelNext } = await import('./labelling.js')
    return labelNext(request, context)
  },

  async synthesize({ families: _, ...options }, { signal, onEvent, onProgress }) {
    const { synthesize } = await import('../../api/synthesis/synthesize.js')
    return synthesize({
      ...options,
      signal,
      onProgress: (done, total, what) => onProgress({ what, done, total }),
      onWarning: warning => onEvent({ event: 'warning', ...warning }),
    })
  },

  async judge({ runs, families: _, ...options }, { signal, onEvent, onProgress }) {
    const { judgeRuns } = await import('../../api/judge.js')
    return judgeRuns(runs, {
      ...options,
      signal,
      onProgress: (done, total, what) => onProgress({ what, done, total }),
      onWarning: warning => onEvent({ event: 'warning', ...warning }),
    })
  },

  async probe({ families: _, ...options }, { signal, onEvent, onProgress }) {
    const { probe } = await import('../../api/probe.js')
    return probe({
      ...options,
      signal,
      onProgress: (done, total, what) => onProgress({ what, done, total }),
      onWarning: warning => onEvent({ event: 'warning', ...warning }),
    })
  },

  async interview(request, context) {
    const { interview } = await import('./interviewing.js')
    return interview(request, context)
  },

  async prefer(request, context) {
    const { prefer } = await import('./preferring.js')
    await prefer(request, context)
    return undefined
  },

  async serve(request, context) {
    const { serve } = await import('./generation.js')
    await serve(request, context)
    return undefined
  },

  async export({ folder, ...options }, { onEvent }) {
    const { exportPrompt } = await import('../../api/export.js')
    return exportPrompt(folder, { ...options, onWarning: warning => onEvent({ event: 'warning', ...warning }) })
  },

  async nearest({ prompt, model }) {
    const { readVectors } = await import('../../api/nearest.js')
    return readVectors(prompt, model)
  },

  async report({ folder }) {
    const { writeReport } = await import('../../api/report.js')
    return { path: await writeReport(folder) }
  },
}

/** Runs one task. What comes over the wire is what `compute` sent, so its type is known by its name. */
export async function runTask(
  task: TaskName,
  request: unknown,
  context: Omit<Context, 'onNews'> & { readonly onNews: (news: unknown) => Promise<void> },
): Promise<unknown> {
  const own = (request as OwnFamilies).families ?? []
  if (own.length > 0) {
    const { families } = await import('../../../models/index.js')
    for (const family of own) await families.load(family)
  }
  return (tasks[task] as Task<TaskName>)(request as never, context)
}
