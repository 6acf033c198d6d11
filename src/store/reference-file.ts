import { closeSync, openSync, writeSync } from 'node:fs'
import { GradpromptError, readError } from '../errors.js'
import { textOfFile } from '../files.js'
import { replaceText } from './atomic.js'

/** What a run's starting prompt said of its rows: a file that grows by a line as soon as a row is known. It knows no prompt. */
export const referenceName = 'reference.jsonl'

/** The first line says which start it is of; each further one a row's key and its log-probabilities. A kill tears at most the last line. */
export class ReferenceFile {
  readonly #known: ReadonlyMap<string, Float32Array>
  readonly #path: string

  private constructor(path: string, known: ReadonlyMap<string, Float32Array>) {
    this.#path = path
    this.#known = known
  }

  /**
   * Opens a file, or makes one.
   * @param start digest of what is asked
   * @throws GradpromptError `reference-changed` where the file is of another start
   */
  static async open(path: string, start: string): Promise<ReferenceFile> {
    const lines = await linesOf(path)
    const first = lines[0]
    if (first !== undefined && first.start !== undefined && first.start !== start)
      throw new GradpromptError('reference-changed', 'the prompt that the run started from is no longer the same', {
        found: `another start than ${path} is of`,
        expected: 'the reference that the run began with: its loss is counted from there',
        hint: 'what method.init names has changed since: put it back, or begin a new run',
      })
    const rows = lines.flatMap(({ row, logProbabilities }): [string, Float32Array][] =>
      typeof row === 'string' && isNumbers(logProbabilities) ? [[row, Float32Array.from(logProbabilities)]] : [],
    )
    const known = first?.start === undefined ? [] : rows
    // Written anew, a torn line does not run into the next.
    await replaceText(path, [{ start }, ...known.map(([row, values]) => line(row, values))].map(printed).join(''))
    return new ReferenceFile(path, new Map(known))
  }

  get(row: string): Float32Array | undefined {
    return this.#known.get(row)
  }

  /** Appends before it returns. What is not finite is not kept: JSON has no such numbers. */
  append(row: string, values: Float32Array): void {
    if (!values.every(Number.isFinite)) return
    const file = openSync(this.#path, 'a')
    try {
      writeSync(file, printed(line(row, values)))
    } finally {
      closeSync(file)
    }
  }
}

interface Line {
  readonly start?: unknown
  readonly row?: unknown
  readonly logProbabilities?: unknown
}

/** The shortest text of a double reads back as the same one, and so as the same float. */
const line = (row: string, values: Float32Array) => ({ row, logProbabilities: Array.from(values) })
const printed = (value: object) => `${JSON.stringify(value)}\n`

const isNumbers = (value: unknown): value is number[] => Array.isArray(value) && value.every(Number.isFinite)

async function linesOf(path: string): Promise<Line[]> {
  let text: string
  try {
    text = await textOfFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw readError(error, path)
  }
  return text.split('\n').flatMap(line => parsed(line) ?? [])
}

function parsed(line: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}
