/**
 * Fuzzing: small real files, changed by chance, given to a reader. A reader may read them or refuse them; what it may not do is crash,
 * throw anything but a typed error, take more than two seconds, or more than 200 MB. Every case is a function of seed and number.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { GradpromptError } from '../../src/errors.js'
import { Chance } from './mutate.js'

/** A reader under test. A file a target in this folder; `scripts/fuzz/index.ts` lists them. */
export interface FuzzTarget {
  readonly name: string
  /**
   * Reads the files to start from.
   *
   * @param folder an empty folder of its own, for what cases write
   * @returns runs one case: changes a file, reads it and uses what it holds
   */
  prepare(folder: string): Promise<(chance: Chance) => Promise<unknown>>
}

export interface Failure {
  readonly target: string
  readonly seed: number
  readonly case: number
  readonly what: string
}

const maxMegabytes = 200

/**
 * @param onCase is called before each case
 * @param milliseconds what one case may take
 */
export async function fuzz(
  target: FuzzTarget,
  {
    count,
    seed,
    first = 0,
    milliseconds = 2000,
    onCase,
  }: { count: number; seed: number; first?: number; milliseconds?: number; onCase?: (number: number) => void },
): Promise<Failure[]> {
  const folder = await mkdtemp(join(tmpdir(), `gradprompt-fuzz-${target.name}-`))
  const failures: Failure[] = []
  try {
    const run = await target.prepare(folder)
    for (let number = first; number < first + count; number++) {
      onCase?.(number)
      const what = await outcome(() => run(new Chance(xoroshiro128plus(seed * 1_000_003 + number))), milliseconds)
      if (what !== undefined) failures.push({ target: target.name, seed, case: number, what })
    }
    return failures
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function outcome(run: () => Promise<unknown>, most: number): Promise<string | undefined> {
  const before = process.resourceUsage().maxRSS
  // Of the processor: a busy machine is no fault of the reader's. What waits without end is seen from outside.
  const start = process.cpuUsage()
  try {
    await run()
  } catch (error) {
    if (!(error instanceof GradpromptError))
      return error instanceof Error ? (error.stack ?? error.message) : `threw ${String(error)}`
    // A mistake of the reader's own that was taken for the template's.
    if (error.code === 'chat-template-failed' && error.cause instanceof TypeError) return error.cause.stack
  }
  const { user, system } = process.cpuUsage(start)
  const milliseconds = (user + system) / 1000
  if (milliseconds > most) return `took ${Math.round(milliseconds)} ms`
  const megabytes = (process.resourceUsage().maxRSS - before) / 1024
  return megabytes > maxMegabytes ? `took ${Math.round(megabytes)} MB` : undefined
}
