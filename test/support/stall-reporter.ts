import { spawnSync } from 'node:child_process'
import type { Reporter, TestModule } from 'vitest/node'

/** Longer than any file takes between two tests, on a slow machine as well; a test alone is ended by `testTimeout`. */
const silentMinutes = 10

/**
 * Ends a run that has stopped: a loop without an end keeps a test's own timer from ever being heard. Says which files were being run, since
 * a file is told of when it is done.
 */
export default class StallReporter implements Reporter {
  readonly #running = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  onTestModuleStart({ relativeModuleId }: TestModule): void {
    this.#running.add(relativeModuleId)
    this.#heard()
  }

  onTestCaseResult(): void {
    this.#heard()
  }

  onTestModuleEnd({ relativeModuleId }: TestModule): void {
    this.#running.delete(relativeModuleId)
    this.#heard()
  }

  onTestRunEnd(): void {
    clearTimeout(this.#timer)
  }

  #heard(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      console.error(`nothing was heard for ${silentMinutes} minutes of: ${[...this.#running].join(', ')}`)
      // They would go on.
      spawnSync('pkill', ['-KILL', '-P', String(process.pid)])
      process.exit(1)
    }, silentMinutes * 60_000)
  }
}
