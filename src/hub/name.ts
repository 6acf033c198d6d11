/** What people write for a repository of the Hub: `owner/name`, `owner/name@revision`, `owner/name:file.gguf`, with or without `hf:`. */

export interface HubName {
  /** `owner/name` */
  readonly id: string
  /** A branch, a tag, or the hash of a commit. */
  readonly revision: string
  /** A file of the repository, where one is named. */
  readonly file?: string
  /** Whether it was said to be a name of the Hub (`hf:`), and can be no path. */
  readonly explicit: boolean
}

const segment = '[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?'
const pattern = new RegExp(`^(hf:)?(${segment}/${segment})(?:@([A-Za-z0-9][\\w./-]{0,199}))?(?::([^:\\\\]{1,400}\\.gguf))?$`)

/** The parts of a name, or nothing where it cannot be one. */
export function parseHubName(name: string): HubName | undefined {
  const [, prefix, id, revision = 'main', file] = pattern.exec(name) ?? []
  if (id === undefined || id.includes('..') || id.includes('--') || revision.includes('..')) return undefined
  if (file !== undefined && !isRepositoryPath(file)) return undefined
  return { id, revision, ...(file !== undefined && { file }), explicit: prefix !== undefined }
}

/** Whether a path stays in its repository, and can be a path on every system. */
export const isRepositoryPath = (path: string): boolean =>
  path.length > 0 &&
  path.length <= 400 &&
  // biome-ignore lint/suspicious/noControlCharactersInRegex: names from a server may hold any.
  !/[\\\u0000-\u001f:*?"<>|]/.test(path) &&
  path.split('/').every(part => part !== '' && part !== '.' && part !== '..')

/** As the name is written again. */
export const formatHubName = ({ id, revision, file }: Pick<HubName, 'id' | 'revision' | 'file'>): string =>
  `${id}${revision === 'main' ? '' : `@${revision}`}${file === undefined ? '' : `:${file}`}`
