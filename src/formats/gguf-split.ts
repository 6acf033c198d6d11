/**
 * GGUF models in several files, as `llama-gguf-split` cuts them: `NAME-00001-of-00003.gguf` and so on. The first part has the metadata;
 * every part says its number and how many there are. Nothing here reads tensors.
 */
import { readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { GradpromptError } from '../errors.js'
import type { GgufValue } from './gguf-header.js'

interface SplitPart {
  readonly source: { readonly path: string }
  readonly metadata: ReadonlyMap<string, GgufValue>
}

const partName = /-(\d{5})-of-(\d{5})\.gguf$/

/** Far beyond any model: each part is a file that is kept open. */
const maxParts = 512

/** Of the files of a folder those that name a model each: GGUF files, and of split models the first part. */
export function ggufModels(names: readonly string[]): string[] {
  return names.filter(name => name.endsWith('.gguf') && (partName.exec(name)?.[1] ?? '00001') === '00001')
}

/** The file to open: the path itself, or what a folder holds. */
export async function modelFile(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined)
  if (info?.isDirectory() !== true) return path
  const names = await readdir(path)
  const models = ggufModels(names)
  if (models.length === 1) return join(path, models[0]!)
  throw new GradpromptError('unreadable-file', `${path} does not hold one GGUF model`, {
    found: models.length === 0 ? `a folder with ${names.length} other files` : `a folder with ${models.length} of them`,
    expected: 'a folder with one, or its file',
    hint: 'Name the file itself; of a split model, the first part.',
  })
}

/** The paths of all parts of which `first` is the first, by its name. */
export function partPaths(first: SplitPart, count: number): readonly string[] {
  const { path } = first.source
  const [suffix, number, of] = partName.exec(path) ?? []
  if (splitNumber(first, 'split.no', 0) !== 0 || (number !== undefined && number !== '00001')) {
    throw new GradpromptError('unsupported-gguf', `${path} is not the first part of its model`, {
      found: `part ${splitNumber(first, 'split.no', 0) + 1} of ${count}`,
      expected: 'the first part, which has the metadata',
      hint: 'Name the file that ends in -00001-of-…; the others are found beside it.',
    })
  }
  if (suffix === undefined || Number(of) !== count || count > maxParts) {
    const expected =
      count > maxParts ? `at most ${maxParts} parts` : `a name that ends in -00001-of-${String(count).padStart(5, '0')}.gguf`
    throw splitError(path, 'its name does not say where its other parts are', `${count} parts`, expected)
  }
  return Array.from(
    { length: count },
    (_, i) => `${path.slice(0, -suffix.length)}-${String(i + 1).padStart(5, '0')}-of-${of}.gguf`,
  )
}

/** A part is what its name says. */
export function checkPart(part: SplitPart, index: number, count: number): void {
  const found = [splitNumber(part, 'split.no', -1), splitNumber(part, 'split.count', -1)]
  if (found[0] === index && found[1] === count) return
  throw splitError(
    part.source.path,
    'it is not the part that its name says',
    `part ${found[0]! + 1} of ${found[1]}`,
    `part ${index + 1} of ${count}`,
  )
}

export function splitNumber(part: SplitPart, key: string, otherwise = 0): number {
  const value = part.metadata.get(key) ?? otherwise
  if (typeof value === 'number' && Number.isInteger(value)) return value
  throw splitError(
    part.source.path,
    `its ${key} makes no sense`,
    typeof value === 'object' ? 'an array' : String(value),
    'a whole number',
  )
}

export function splitError(path: string, what: string, found: string, expected: string): GradpromptError {
  return new GradpromptError('invalid-gguf', `${path} is not a valid part of a split GGUF model: ${what}`, {
    found,
    expected,
    hint: `Get all parts again, beside each other in ${dirname(path)}.`,
  })
}
