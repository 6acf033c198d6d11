/**
 * Data sets of the Hugging Face Hub by their names: `hf:owner/name/split`, `hf:owner/name/config/split`, or `hf:owner/name/path/to/file`, each with
 * `@revision` behind the name. It finds the file of a split, or its parts, among those of the repository, and brings it into the cache; what the file holds is
 * for the readers to say.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { cachedSnapshot, type Repository } from '../hub/cache.js'
import { pageOf } from '../hub/client.js'
import { downloadFiles, listFiles } from '../hub/download.js'
import { isRepositoryPath, parseHubName } from '../hub/name.js'
import { type DownloadCaller, downloadCaller } from '../hub/news.js'
import { hubSettings } from '../hub/settings.js'

const prefix = 'hf:'
const pattern = /^hf:([^/@]+\/[^/@]+)(?:@(refs\/convert\/parquet|[^/]+))?\/(.+)$/
const dataFile = /\.(parquet|jsonl|json|csv|tsv)(\.gz)?$/i

/** Whether a text names a split of a data set: a model's name has two parts, this at least three. */
export const isHubData = (source: string): boolean => pattern.test(source)

/**
 * The paths of a data file: the one given, or where the cache has a split of a data set of the Hub, after it was downloaded if need be;
 * several where the split is stored in parts, in their order.
 * @throws GradpromptError `invalid-data-name`, `not-on-hub`, `offline`, and as downloading does
 */
export async function localFiles(source: string, caller: DownloadCaller = {}): Promise<string[]> {
  if (!source.startsWith(prefix)) return [source]
  const [, id = '', revision = 'main', rest = ''] = pattern.exec(source) ?? []
  if (parseHubName(`${id}@${revision}`) === undefined || !isRepositoryPath(rest)) {
    throw new GradpromptError('invalid-data-name', `${source} names no split of a data set`, {
      found: source,
      expected: 'hf:owner/name/split, hf:owner/name/config/split, or hf:owner/name/path/to/file.parquet',
      hint: 'the page of a data set shows its configs and splits',
    })
  }
  const settings = hubSettings()
  const repository: Repository = { kind: 'dataset', id }
  const cached = cachedSnapshot(settings, repository, revision)
  if (cached && existsSync(join(cached, rest)) && dataFile.test(rest)) return [join(cached, rest)]
  // Which file a split is, all files of the repository say; those that happen to be in the cache do where there is nothing else.
  const known = cached ? fileOf(filesIn(cached), rest) : []
  const kept = cached && (known.includes(rest) || isWhole(known)) ? known.map(path => join(cached, path)) : undefined
  if (settings.offline) {
    if (kept !== undefined) return kept
    throw new GradpromptError('offline', `${source} is not in the cache, and nothing may be downloaded`, {
      found: 'HF_HUB_OFFLINE is set',
      expected: `a data set that is in ${settings.cache}`,
      hint: 'without HF_HUB_OFFLINE it is downloaded',
    })
  }
  const { onEvent, signal } = downloadCaller(caller)
  const listing = await listFiles(settings, repository, revision, signal).catch((error: unknown) => {
    if (kept !== undefined && error instanceof GradpromptError && error.code === 'hub-unreachable') return undefined
    throw error
  })
  if (listing === undefined) return kept!
  const paths = listing.files.map(({ path }) => path)
  const found = fileOf(paths, rest)
  if (!found.includes(rest) && !isWhole(found)) throw notOne(source, paths, found, pageOf(settings, repository), id)
  const folder = await downloadFiles(settings, listing, found, { signal, onEvent })
  return found.map(path => join(folder, path))
}

const partName = /-(\d{5})-of-(\d{5})(?=[-.])/

/** Whether these are one file, or all parts of one, in their order. */
function isWhole(found: readonly string[]): boolean {
  if (found.length <= 1) return found.length === 1 && Number(partName.exec(found[0]!)?.[2] ?? 1) === 1
  const same = new Set(found.map(path => path.replace(partName, '').replace(/-[0-9a-f]{16}(?=\.)/, '')))
  return (
    same.size === 1 &&
    found.every((path, i) => {
      const [, part, count] = partName.exec(path) ?? []
      return Number(part) === i && Number(count) === found.length
    })
  )
}

/** The file of that path, or those of a split: of a config, where one is named; Parquet where there are several formats. */
function fileOf(paths: readonly string[], rest: string): string[] {
  if (paths.includes(rest)) return [rest]
  const parts = rest.split('/')
  const split = parts.at(-1)!.replace(/[^\w-]/g, '')
  const configs = parts.slice(0, -1)
  const name = new RegExp(`(^|/)${split}(-\\d{5}-of-\\d{5})?(-[0-9a-f]{16})?\\.\\w+(\\.gz)?$|(^|/)${split}/[^/]+$`)
  const found = paths.filter(
    path => dataFile.test(path) && name.test(path) && configs.every(config => path.split('/').slice(0, -1).includes(config)),
  )
  const parquet = found.filter(path => /\.parquet$/i.test(path))
  return (parquet.length > 0 ? parquet : found).sort()
}

function notOne(source: string, all: readonly string[], found: readonly string[], page: string, id: string): GradpromptError {
  const listed = (found.length > 0 ? found : all.filter(path => dataFile.test(path))).slice(0, 20)
  const example = listed[0] === undefined ? '' : `: hf:${id}/${listed[0]}`
  return new GradpromptError(
    'not-on-hub',
    `${source} is ${found.length === 0 ? 'no file' : found.length === 1 ? 'a part of a file' : `${found.length} files`} of its data set`,
    {
      found: listed.join(', ') || 'no data files',
      expected: 'one file of rows (Parquet, JSON, CSV or TSV), or all parts of one',
      hint:
        listed.length > 0
          ? `name the config before the split, or the file itself${example}`
          : `look at ${page}; data sets that are made by a script have their rows at @refs/convert/parquet`,
    },
  )
}

const filesIn = (folder: string): string[] =>
  existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(path => path.replaceAll('\\', '/')) : []
