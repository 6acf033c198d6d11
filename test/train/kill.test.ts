import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { randomGenerator } from '../../src/random.js'
import { isWhole } from '../support/whole.js'
import { temporaryFolder, toyConfig } from './toy.js'

// The built package, as its users run it: a process of its own that can be killed.
const script = `
import { existsSync, readFileSync } from 'node:fs'
import { resume, tune } from ${JSON.stringify(pathToFileURL(resolve('dist/src/index.js')).href)}
const config = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const onEvent = () => process.stdout.write('.')
await (existsSync(config.out + '/config.yaml') ? resume(config.out, { onEvent }) : tune(config, { onEvent }))
`

let folder: string
let remove: () => void
let runs = 0
beforeAll(() => {
  ;({ folder, remove } = temporaryFolder())
  writeFileSync(join(folder, 'learn.mjs'), script)
})
afterAll(() => remove())

function newRun(): { out: string; path: string } {
  const out = join(folder, `run-${runs++}`)
  const train = { steps: 120, batchSize: 8, evaluateEvery: 15, checkpointEvery: 4 }
  const path = `${out}.json`
  writeFileSync(path, JSON.stringify(toyConfig(folder, { train, out, evaluate: { batchSize: 4 }, threads: 1 })))
  return { out, path }
}

/** Runs until the end, or kills after so many events and then so many milliseconds. Tells whether it was killed. */
function learn(path: string, kill?: { events: number; milliseconds: number }): Promise<boolean> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [join(folder, 'learn.mjs'), path], { stdio: ['ignore', 'pipe', 'pipe'] })
    let events = 0
    let problem = ''
    let timer: NodeJS.Timeout | undefined
    const arm = () => {
      if (kill !== undefined && events >= kill.events) timer ??= setTimeout(() => child.kill('SIGKILL'), kill.milliseconds)
    }
    arm()
    child.stdout.on('data', (bytes: Buffer) => {
      events += bytes.length
      arm()
    })
    child.stderr.on('data', (bytes: Buffer) => {
      problem += bytes
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (signal === null && code !== 0) fail(new Error(problem))
      else done(signal === 'SIGKILL')
    })
  })
}

const bytesOf = (out: string) => readFileSync(join(out, 'prompt.safetensors'))

const most = isWhole ? 8 : 3

test(`a run that is killed at ${most} random moments ends in the same bits as one that is not`, async () => {
  const whole = newRun()
  await learn(whole.path)
  const expected = bytesOf(whole.out)
  const random = randomGenerator(Date.now() >>> 0)
  let kills = 0
  let run = newRun()
  while (kills < most) {
    // Some while it starts, most while it learns, at any point of a step, a checkpoint or an evaluation.
    const events = uniformInt(random, 0, 45)
    const milliseconds = uniformInt(random, 0, events === 0 ? 500 : 15)
    if (await learn(run.path, { events, milliseconds })) {
      kills++
      // What is there is whole.
      const result = join(run.out, 'result.json')
      if (existsSync(result)) expect(JSON.parse(readFileSync(result, 'utf8')).steps).toBe(120)
      if (existsSync(join(run.out, 'prompt.safetensors'))) expect(bytesOf(run.out).equals(expected)).toBe(true)
    } else {
      expect(bytesOf(run.out).equals(expected)).toBe(true)
      run = newRun()
    }
  }
  await learn(run.path)
  expect(bytesOf(run.out).equals(expected)).toBe(true)
  expect(readdirSync(run.out).sort()).toEqual(readdirSync(whole.out).sort())
  expect(readdirSync(join(run.out, 'checkpoints'))).toEqual(readdirSync(join(whole.out, 'checkpoints')))
}, 120_000)
