import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { writing } from '../../errors.js'
import { replaceText } from '../../store/atomic.js'
import { wholeLines } from '../../store/whole-lines.js'
import type { WrittenEntry } from './engine-role.js'

/** `written.jsonl` in a run's folder: what the critic was asked and what it wrote, an answer a line. It is there to be read by people. */
export class WrittenLog {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  /**
   * @param steps those that are done: what later ones wrote is written again. A line that cannot be read goes as well.
   * @throws GradpromptError `run-corrupt`
   */
  static async open(folder: string, steps: number): Promise<WrittenLog> {
    const path = join(folder, 'written.jsonl')
    const kept = wholeLines(path).filter(line => stepOf(line) <= steps)
    await replaceText(path, kept.map(line => `${line}\n`).join(''))
    return new WrittenLog(path)
  }

  append(entry: WrittenEntry): void {
    writing(this.#path, () => appendFileSync(this.#path, `${JSON.stringify(entry)}\n`))
  }
}

function stepOf(line: string): number {
  try {
    return (JSON.parse(line) as WrittenEntry | null)?.step ?? Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
