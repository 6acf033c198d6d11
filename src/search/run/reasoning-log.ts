import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writing } from '../../errors.js'
import { replaceText } from '../../store/atomic.js'
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

  /** @param count entries that are kept; later ones, of a step that was not finished, go */
  static async open(folder: string, count: number): Promise<ReasoningLog> {
    const path = join(folder, 'reasoning.jsonl')
    const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1).slice(0, count) : []
    const text = lines.map(line => `${line}\n`).join('')
    await replaceText(path, text)
    return new ReasoningLog(
      path,
      lines.map(line => JSON.parse(line) as ReasoningEntry),
    )
  }

  /** @param text the reasoning as people read it */
  append(entry: ReasoningEntry, text: string): void {
    writing(this.#path, () => appendFileSync(this.#path, `${JSON.stringify({ ...entry, text })}\n`))
  }
}
