/**
 * Models of the Hugging Face Hub by their names: which files of a repository make a model, found in the cache or brought there. How files come is
 * known to `hub`, what they hold to whoever opens them.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GradpromptError, unknownName } from '../../errors.js'
import { ggufModels } from '../../formats/gguf-split.js'
import { cachedSnapshot, type Repository } from '../../hub/cache.js'
import { pageOf } from '../../hub/client.js'
import { downloadFiles, type Listing, listFiles } from '../../hub/download.js'
import { formatHubName, type HubName } from '../../hub/name.js'
import { type DownloadCaller, downloadCaller } from '../../hub/news.js'
import { hubSettings } from '../../hub/settings.js'
import { ownCommand } from '../../own-command.js'

/** Beside the weights: what says how they are computed, and how text becomes tokens. */
const descriptions = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
]
const index = 'model.safetensors.index.json'
const shard = /^model-\d+-of-\d+\.safetensors$/
const splitPart = /-\d{5}-of-(\d{5})\.gguf$/

const repositoryOf = ({ id }: HubName): Repository => ({ kind: 'model', id })

/** Path of a model that is whole in the cache: its folder, or its .gguf file. */
export function cachedModel(name: HubName): string | undefined {
  const folder = cachedSnapshot(hubSettings(), repositoryOf(name), name.revision)
  return folder === undefined ? undefined : wholeModel(folder, name.file)
}

/** What of a snapshot is a whole model, if anything is. */
export function wholeModel(folder: string, file?: string): string | undefined {
  const has = (path: string) => existsSync(join(folder, path))
  if (file !== undefined) return splitParts(file).every(has) ? join(folder, file) : undefined
  if (has('config.json') && has('tokenizer.json') && hasWeights(folder)) return folder
  const models = ggufModels(readdirSync(folder))
  return models.length === 1 && splitParts(models[0]!).every(has) ? join(folder, models[0]!) : undefined
}

function hasWeights(folder: string): boolean {
  if (existsSync(join(folder, 'model.safetensors'))) return true
  try {
    const { weight_map: map } = JSON.parse(readFileSync(join(folder, index), 'utf8')) as { weight_map: Record<string, string> }
    return Object.values(map).every(name => typeof name === 'string' && existsSync(join(folder, name)))
  } catch {
    return false
  }
}

/** The files of a model that may be split: all its parts, by the name of one. */
function splitParts(file: string): string[] {
  const [suffix, of] = splitPart.exec(file) ?? []
  if (suffix === undefined) return [file]
  const stem = file.slice(0, -suffix.length)
  // A name may claim any number of parts; more than a thousand are no model.
  const count = Math.min(Number(of), 1000)
  return Array.from({ length: count }, (_, i) => `${stem}-${String(i + 1).padStart(5, '0')}-of-${of}.gguf`)
}

export interface ObtainOptions extends DownloadCaller {
  /** Looks at config.json before the weights are fetched; what it throws ends the download. */
  readonly checkConfig?: ((path: string) => Promise<void>) | undefined
}

/**
 * Brings a model into the cache: the files that it needs and no others.
 * @returns its folder, or its .gguf file
 * @throws GradpromptError `offline`, `not-on-hub`, `not-a-model`, `unsupported-format`, what `checkConfig` throws, and as `listFiles` and
 *   `downloadFiles` do
 */
export async function obtainModel(name: HubName, { checkConfig, ...caller }: ObtainOptions = {}): Promise<string> {
  const settings = hubSettings()
  const repository = repositoryOf(name)
  if (settings.offline) {
    throw new GradpromptError('offline', `${formatHubName(name)} is not in the cache, and nothing may be downloaded`, {
      found: 'HF_HUB_OFFLINE is set',
      expected: `a model that is whole in ${settings.cache}`,
      hint: `${ownCommand`models`} lists what is there; without HF_HUB_OFFLINE it is downloaded`,
    })
  }
  const { onEvent, signal } = downloadCaller(caller)
  const listing = await listFiles(settings, repository, name.revision, signal)
  const paths = filesOf(listing, name, pageOf(settings, repository))
  if (paths.includes('config.json') && checkConfig !== undefined) {
    const folder = await downloadFiles(settings, listing, ['config.json'], { signal, onEvent: () => {} })
    await checkConfig(join(folder, 'config.json'))
  }
  const folder = await downloadFiles(settings, listing, paths, { signal, onEvent })
  const single = name.file ?? (paths.includes('config.json') ? undefined : paths.find(path => path.endsWith('.gguf')))
  return single === undefined ? folder : join(folder, single)
}

/** The files of a model among those of its repository. */
function filesOf({ files, commit }: Listing, name: HubName, page: string): string[] {
  const all = new Set(files.map(({ path }) => path))
  const ggufs = ggufModels([...all])
  const print = (path: string) => `${formatHubName({ ...name, file: path })}`
  if (name.file !== undefined) {
    const missing = splitParts(name.file).find(path => !all.has(path))
    if (missing === undefined) return splitParts(name.file)
    throw unknownName('not-on-hub', `${name.id} has no file ${missing}`, missing, ggufs.slice(0, 30), {
      hint: `look at ${page}/tree/${commit}`,
      ...(ggufs.length === 0 && { expected: 'a .gguf file; the repository has none' }),
    })
  }
  const present = descriptions.filter(path => all.has(path))
  if (all.has('config.json') && all.has('model.safetensors')) return [...present, 'model.safetensors']
  if (all.has('config.json') && all.has(index)) return [...present, index, ...[...all].filter(path => shard.test(path)).sort()]
  if (ggufs.length === 1) return splitParts(ggufs[0]!)
  if (ggufs.length > 1) {
    const sizes = new Map(files.map(({ path, size }) => [path, size]))
    const list = ggufs.slice(0, 30).map(path => `${path} (${((sizes.get(path) ?? 0) / 1e9).toFixed(2)} GB)`)
    throw new GradpromptError('not-a-model', `${name.id} holds ${ggufs.length} models`, {
      found: list.join(', '),
      expected: 'one of them by its name',
      hint: `name the file: ${print(ggufs.find(path => /q4_k_m/i.test(path)) ?? ggufs[0]!)}`,
    })
  }
  const pickle = [...all].find(path => /^pytorch_model.*\.bin$|\.(pt|pth)$/.test(path))
  throw new GradpromptError(pickle ? 'unsupported-format' : 'not-a-model', `${name.id} holds no model that is read`, {
    found: pickle ? `${pickle}, a pickle, which is never opened` : [...all].slice(0, 8).join(', ') || 'no files',
    expected: 'config.json with *.safetensors, or a .gguf file',
    hint: `look at ${page} for another form of it`,
  })
}
