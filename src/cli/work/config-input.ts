import { loadConfigFile, mergeFlags } from '../../config/load.js'
import { completeTexts } from '../../data/describe/suggest.js'
import type { SearchConfig, SearchConfigInput } from '../../search/config.js'
import { type Config, type ConfigInput, configJsonSchema, parseConfig } from '../../train/config.js'
import type { ConfigRequest } from './messages.js'

/** A config as the file and the flags say it, not checked yet. */
export async function configInput({ configFile, flags }: ConfigRequest): Promise<ConfigInput> {
  const file = configFile === undefined ? {} : await loadConfigFile(configFile)
  // Checked by whoever parses it.
  return mergeFlags(file, flags, configJsonSchema()) as ConfigInput
}

/** @throws GradpromptError `file-not-found`, `invalid-config`, `unknown-option` */
export async function resolveConfig(request: ConfigRequest): Promise<Config> {
  return parseConfig(await completeTexts(await configInput(request)), { source: request.configFile ?? 'command line' })
}

/** The same of a search. */
export async function searchConfigInput({ configFile, flags }: ConfigRequest): Promise<SearchConfigInput> {
  const { searchConfigJsonSchema } = await import('../../search/config.js')
  const file = configFile === undefined ? {} : await loadConfigFile(configFile)
  return mergeFlags(file, flags, searchConfigJsonSchema()) as SearchConfigInput
}

/** @throws GradpromptError as `resolveConfig` does; `no-prompt-place` */
export async function resolveSearchConfig(request: ConfigRequest): Promise<SearchConfig> {
  const { parseSearchConfig } = await import('../../search/config.js')
  return parseSearchConfig(await searchConfigInput(request), { source: request.configFile ?? 'command line' })
}
