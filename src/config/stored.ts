import { isRecord } from '../json.js'

/**
 * Configs of run folders that earlier versions wrote. An option that did not exist then is missing there, and means what those versions
 * did, not today's default.
 */

/** A run's config as it was resolved, with what it left unsaid. Anything that is no config is returned as it is. */
export function storedConfig(config: unknown): unknown {
  if (!isRecord(config) || !isRecord(config.data)) return config
  const { data } = config
  return {
    ...config,
    ...(!Object.hasOwn(config, 'answerType') && { answerType: null }),
    ...(!Object.hasOwn(config, 'answerEnd') && { answerEnd: 'none' }),
    data: Object.hasOwn(data, 'splitSeed') ? data : { ...data, splitSeed: null },
  }
}
