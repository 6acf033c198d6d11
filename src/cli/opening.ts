import { stat } from 'node:fs/promises'
import type { LanguageModel, LoadOptions } from '../model/language-model.js'
import type { PromptFile } from '../store/prompt-file.js'
import type { Config } from '../train/config.js'
import type { Progress } from './messages.js'

/** What the computing process opens by the names that the user gave. */

/**
 * @param options.memory in GB
 * @param onProgress told of weights that are written to the cache, in percent
 */
export async function load(
  name: string,
  options: { device?: LoadOptions['device'] | undefined; threads?: number | undefined; memory?: number | undefined } = {},
  onProgress?: (progress: Progress) => void,
): Promise<LanguageModel> {
  const { LanguageModel } = await import('../model/language-model.js')
  const { device = 'cpu', threads, memory } = options
  return LanguageModel.load(name, {
    device,
    ...(threads !== undefined && { threads }),
    ...(memory !== undefined && { memory: memory * 1e9 }),
    ...(onProgress && { onProgress: share => onProgress({ what: 'weights', done: Math.floor(99 * share), total: 100 }) }),
  })
}

/** The prompt of a run folder, or a prompt file. */
export async function readPromptAt(path: string): Promise<PromptFile> {
  if (await isFolder(path)) {
    const { readLearnedRun } = await import('../sources/learned-run.js')
    return (await readLearnedRun(path)).prompt
  }
  const { readPrompt } = await import('../store/prompt-file.js')
  return readPrompt(path)
}

/** The config that a run was made with. */
export async function runConfig(folder: string): Promise<Config> {
  const { openRun } = await import('../store/run-folder.js')
  const { learnedConfig } = await import('../sources/learned-run.js')
  return learnedConfig(await openRun(folder))
}

export const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    found => found.isDirectory(),
    () => false,
  )
