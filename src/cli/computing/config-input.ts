import { loadConfigFile, mergeFlags } from '../../config/load.js'
import { completeTexts } from '../../data/describe/suggest.js'
import type { SearchConfig, SearchConfigInput } from '../../search/config.js'
import { type Config, type ConfigInput, configJsonSchema, loadConfigEntries, parseConfig } from '../../train/config.js'
import type { ConfigRequest } from './messages.js'

/** A config as the file and the flags say it, not checked yet. */
export async function configInput({ configFile, flags }: ConfigRequest): Promise<ConfigInput> {
  const file = configFile === undefined ? {} : await loadConfigFile(configFile)
  // What flags name is loaded as well, before flags can set its options.
  await loadConfigEntries(file)
  await loadConfigEntries(typesOf(flags))
  // Checked by whoever parses it.
  return loadConfigEntries(mergeFlags(file, flags, configJsonSchema()) as ConfigInput)
}

/** The flags that name what other flags may set options of, as a config: `method.type`, `train.loss.type`. */
function typesOf(flags: ConfigRequest['flags']): Record<string, unknown> {
  const config: Record<string, unknown> = {}
  for (const [flag, type] of Object.entries(flags)) {
    const [part, ...rest] = flag.split('.')
    if (rest.at(-1) !== 'type') continue
    config[part!] = rest.reduceRight<unknown>((value, key) => ({ [key]: value }), type)
  }
  return config
}

/** @throws GradpromptError `file-not-found`, `invalid-config`, `unknown-option` */
export async function resolveConfig(request: ConfigRequest): Promise<Config> {
  return parseConfig(await completeTexts(await configInput(request)), { source: request.configFile ?? 'command line' })
}

/** The same of a search. */
export async function searchConfigInput({ configFile, flags }: ConfigRequest): Promise<SearchConfigInput> {
  const { loadSearchEntries, searchConfigJsonSchema } = await import('../../search/config.js')
  const file = configFile === undefined ? {} : await loadConfigFile(configFile)
  await loadSearchEntries(file)
  await loadSearchEntries(typesOf(flags))
  return loadSearchEntries(mergeFlags(file, flags, searchConfigJsonSchema()) as SearchConfigInput)
}

/** @throws GradpromptError as `resolveConfig` does; `no-prompt-place` */
export async function resolveSearchConfig(request: ConfigRequest): Promise<SearchConfig> {
  const { parseSearchConfig } = await import('../../search/config.js')
  return parseSearchConfig(await searchConfigInput(request), { source: request.configFile ?? 'command line' })
}
