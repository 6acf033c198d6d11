/**
 * `npm run crash -- [KILLS] [--seed N] [--only NAME]`: KILLS (200) times a run of `tune` or of a search on the tiny model of the tests is ended by
 * `kill -9` at a random moment, and resumed until it has come to its end; then its files have to be, bit for bit, those of a run that
 * nobody has killed, and of an endpoint nothing may have been asked again that it had answered. Exit code 1 when one is not, or when a run
 * cannot be resumed. `--only NAME` takes one of them.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { randomGenerator } from '../src/random.js'
import { scriptArguments } from './arguments.js'
import { differences, newRun, subjects as ofTokens, work } from './crash/subjects.js'
import { writtenSubjects } from './crash/written.js'

const usage = 'npm run crash -- [KILLS] [--seed N] [--only NAME]'
const { positionals, values } = scriptArguments(usage, { seed: { type: 'string' }, only: { type: 'string' } })
const [kills, seed] = [Number(positionals[0] ?? 200), Number(values.seed ?? Date.now() >>> 0)]
if (!Number.isInteger(kills) || kills < 1 || !Number.isInteger(seed)) {
  console.error(usage)
  process.exit(2)
}

const random = randomGenerator(seed)
const folder = mkdtempSync(join(tmpdir(), 'gradprompt-crash-'))
let failures = 0
await using written = await writtenSubjects(folder)
const subjects = [...ofTokens, ...written.subjects].filter(({ name }) => values.only === undefined || name === values.only)
try {
  console.log(`${kills} kills, seed ${seed}`)
  for (const [i, subject] of subjects.entries()) {
    const share = Math.floor(kills / subjects.length) + (i < kills % subjects.length ? 1 : 0)
    const started = performance.now()
    const whole = newRun(subject, folder)
    const { events } = await work(whole)
    let [killed, ended] = [0, 0]
    let run = newRun(subject, folder)
    const check = () => {
      ended++
      const found = differences(whole, run)
      if (found.length === 0) return
      failures++
      console.log(`${subject.name}: ${run.out} differs in ${found.join(', ')}`)
    }
    while (killed < share) {
      // Some while it starts, most while it works, at any point of a step, a checkpoint or an evaluation.
      const after = uniformInt(random, 0, Math.ceil(events / 3))
      const milliseconds = uniformInt(random, 0, after === 0 ? 600 : 40)
      if ((await work(run, { events: after, milliseconds })).killed) {
        killed++
        subject.killed?.(run.out)
      } else {
        check()
        run = newRun(subject, folder)
      }
    }
    await work(run)
    check()
    const seconds = (performance.now() - started) / 1000
    console.log(`${subject.name}: ${killed} kills, ${ended} runs came to their end, ${seconds.toFixed(0)} s`)
  }
} catch (error) {
  failures++
  console.error(error instanceof Error ? error.message : error)
}
if (failures === 0) rmSync(folder, { recursive: true, force: true })
console.log(failures === 0 ? 'every run ended in the same bits' : `${failures} failures; the runs are in ${folder}`)
process.exitCode = failures === 0 ? 0 : 1
