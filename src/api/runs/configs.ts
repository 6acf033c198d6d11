import { join } from 'node:path'
import { storedConfig } from '../../config/stored.js'
import { loadSearchEntries, parseSearchConfig, type SearchConfig } from '../../search/config.js'
import { type LearnedRun, learnedPrompt, refuseSearch } from '../../sources/run.js'
import { openRun, type Run } from '../../store/run-folder.js'
import { type Config, loadConfigEntries, parseConfig } from '../../train/config.js'

/** Runs of both kinds with their whole configs, as the method that made them reads its own options. */

/** A run that has learned a soft prompt. */
export interface TunedRun extends LearnedRun {
  readonly config: Config
}

/** @throws GradpromptError `not-a-run`, `run-corrupt`, `not-a-soft-prompt`, `run-not-finished` */
export async function readTunedRun(folder: string): Promise<TunedRun> {
  const run = await openRun(folder)
  return { folder, config: await tuneConfigOf(run), prompt: await learnedPrompt(run) }
}

/** @throws GradpromptError `not-a-soft-prompt` for a search, `unknown-option`, `invalid-config` */
export async function tuneConfigOf(run: Pick<Run, 'folder' | 'config' | 'isSearch' | 'modules'>): Promise<Config> {
  refuseSearch(run)
  const config = await loadConfigEntries(storedConfig(run.config), run.modules)
  return parseConfig(config, { source: join(run.folder, 'config.yaml') })
}

/** @throws GradpromptError `unknown-option`, `invalid-config` */
export const searchConfigOf = async ({
  folder,
  config,
  modules = { name: folder },
}: Pick<Run, 'folder' | 'config'> & Partial<Pick<Run, 'modules'>>): Promise<SearchConfig> =>
  parseSearchConfig(await loadSearchEntries(storedConfig(config), modules), { source: join(folder, 'config.yaml') })
