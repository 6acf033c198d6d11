import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { GradpromptError, writing } from '../../errors.js'
import { replaceText } from '../../store/atomic.js'
import { wholeLines } from '../../store/whole-lines.js'
import type { ReasoningEntry } from '../score/reasoning.js'

/**
 * `reasoning.jsonl` in a run's folder: what the model wrote on each question under each prompt, an entry a line. A resumed search goes on
 * with the entries that its checkpoint counts, and generates none of them again.
 */
export class ReasoningLog {
  readonly #path: string

  private constructor(
    path: string,
    /** Those that the search goes on with. */
    readonly entries: readonly ReasoningEntry[],
  ) {
    this.#path = path
  }

  /**
   * @param count entries that are kept; later ones, of a step that was not finished, go
   * @throws GradpromptError `run-corrupt` where there are fewer, or one cannot be read: the search would go on with others
   */
  static async open(folder: string, count: number): Promise<ReasoningLog> {
    const path = join(folder, 'reasoning.jsonl')
    const lines = wholeLines(path).slice(0, count)
    const entries = lines.flatMap(line => entryOf(line) ?? [])
    if (entries.length < count)
      throw new GradpromptError('run-corrupt', `${path} does not hold what the checkpoint counts`, {
        found: `${entries.length} entries that can be read`,
        expected: String(count),
        hint: 'restore the file from a copy, or begin the search anew',
      })
    await replaceText(path, lines.map(line => `${line}\n`).join(''))
    return new ReasoningLog(path, entries)
  }

  /** @param text the reasoning as people read it */
  append(entry: ReasoningEntry, text: string): void {
    writing(this.#path, () => appendFileSync(this.#path, `${JSON.stringify({ ...entry, text })}\n`))
  }
}

function entryOf(line: string): ReasoningEntry | undefined {
  try {
    const entry: unknown = JSON.parse(line)
    return typeof entry === 'object' && entry !== null ? (entry as ReasoningEntry) : undefined
  } catch {
    return undefined
  }
}
