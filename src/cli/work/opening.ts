import { stat } from 'node:fs/promises'
import type { LanguageModel, LoadOptions } from '../../model/language-model.js'
import { defaultDevice } from '../../program/devices.js'
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
  const { LanguageModel } = await import('../../model/language-model.js')
  const { device = defaultDevice, threads, memory } = options
  return LanguageModel.load(name, {
    device,
    ...(threads !== undefined && { threads }),
    ...(memory !== undefined && { memory: memory * 1e9 }),
    ...(onProgress && { onProgress: share => onProgress({ what: 'weights', done: Math.floor(99 * share), total: 100 }) }),
  })
}

export const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    found => found.isDirectory(),
    () => false,
  )
