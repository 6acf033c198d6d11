import { setTimeout } from 'node:timers/promises'
import { GradpromptError } from '../../errors.js'

/** A command that was killed a moment ago may still hold its run: its computing process notices within a fraction of a second. */
export async function onceFree<Result>(begin: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await begin()
    } catch (error) {
      if (!(error instanceof GradpromptError && error.code === 'run-locked') || attempt === 10) throw error
      await setTimeout(200)
    }
  }
}
