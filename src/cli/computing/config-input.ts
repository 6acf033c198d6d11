import { configOrigin, loadConfigFile, mergeFlags } from '../../config/load.js'
import type { OptionSchema } from '../../config/options.js'
import type { ConfigOrigin } from '../../config/problems.js'
import { completeTexts } from '../../data/describe/suggest.js'
import type { SearchConfig, SearchConfigInput } from '../../search/config.js'
import { type Config, type ConfigInput, configJsonSchema, loadConfigEntries, parseConfig } from '../../train/config.js'
import type { ConfigRequest } from './messages.js'

/** A config as the file and the flags say it, not checked yet, and which of them says what. */
async function merged<Input>(
  { configFile, flags, flagNames = {} }: ConfigRequest,
  load: (input: unknown) => Promise<unknown>,
  schema: () => OptionSchema,
): Promise<{ readonly input: Input; readonly source: ConfigOrigin }> {
  const file = configFile === undefined ? undefined : { path: configFile, config: await loadConfigFile(configFile) }
  // What flags name is loaded as well, before flags can set its options.
  await load(file?.config ?? {})
  await load(typesOf(flags))
  const source = configOrigin(file, flags, flagNames, schema())
  // Checked by whoever parses it.
  return { input: (await load(mergeFlags(file?.config ?? {}, flags, schema()))) as Input, source }
}

const tuneInput = (request: ConfigRequest) => merged<ConfigInput>(request, loadConfigEntries, configJsonSchema)

export const configInput = async (request: ConfigRequest): Promise<ConfigInput> => (await tuneInput(request)).input

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
  const { input, source } = await tuneInput(request)
  return parseConfig(await completeTexts(input), { source })
}

/** The same of a search, checked and not filled in. @throws GradpromptError as `resolveSearchConfig` does */
export async function searchConfigInput(request: ConfigRequest): Promise<SearchConfigInput> {
  const { loadSearchEntries, parseSearchConfig, searchConfigJsonSchema } = await import('../../search/config.js')
  const { input, source } = await merged<SearchConfigInput>(request, loadSearchEntries, searchConfigJsonSchema)
  parseSearchConfig(input, { source })
  return input
}

/** @throws GradpromptError as `resolveConfig` does; `no-prompt-place` */
export async function resolveSearchConfig(request: ConfigRequest): Promise<SearchConfig> {
  const { parseSearchConfig } = await import('../../search/config.js')
  return parseSearchConfig(await searchConfigInput(request), { source: request.configFile ?? 'command line' })
}
