import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { stringify } from 'yaml'
import { packageRoot } from '../../../src/package-root.js'
import { isAlive } from '../../../src/processes.js'

/** Sweeps on the tiny model of the tests, of which trials take seconds, and what is to be seen of them in their folders. */

const main = join(packageRoot(), 'dist/src/cli/main.js')

/** Of a trial. */
export const steps = 300

/** Writes a config into the folder, of more trials than there is time for: what is to be seen comes first, then it is told how many there are to be. Checkpoints are left to whoever stops a trial, so that one on the disk is one that was asked for. */
export function writeSweep(folder: string): string {
  const words = ['wine', 'stone']
  const rows = Array.from({ length: 48 }, (_, i) => `${['the', 'on', 'at', 'it'][(i >> 1) % 4]} ${words[i % 2]}\t${i % 2}`)
  writeFileSync(join(folder, 'toy.tsv'), `${rows.join('\n')}\n`)
  const path = join(folder, 'config.yaml')
  const config = {
    model: join(packageRoot(), 'test/fixtures/models/llama-gqa'),
    data: { train: join(folder, 'toy.tsv'), split: { dev: 12 }, columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } },
    ...{ template: '{text} -', answer: ' {label}', answerEnd: 'none', threads: 1 },
    method: { type: 'prompt-tuning', numVirtualTokens: 4 },
    train: { steps, batchSize: 8, checkpointEvery: 1_000_000, evaluateEvery: steps },
    sweep: { over: { 'train.learningRate': { min: 0.01, max: 0.3, log: true } }, strategy: 'random', trials: 1000 },
  }
  writeFileSync(path, stringify(config))
  return path
}

/** `gradprompt …` to its end. @returns what it printed @throws where it fails */
export function gradprompt(args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', env })
  if (status !== 0) throw new Error(`gradprompt ${args.join(' ')} ended with ${status}:\n${stderr}`)
  return stdout
}

/** The same, left running. */
export const begun = (args: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess =>
  spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'inherit'], env })

interface Line {
  readonly type: string
  readonly trial?: number
}

export function journalOf(sweep: string): Line[] {
  const path = join(sweep, 'journal.log')
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line.slice(line.indexOf(' ') + 1)) as Line)
}

export const countOf = (sweep: string, type: string): number => journalOf(sweep).filter(line => line.type === type).length

/** Trials that there have to be, so that those that were begun are enough. */
export const enough = (sweep: string): number => countOf(sweep, 'begun') + 2

/** @throws where a trial was not finished exactly once */
export function refuseLost(sweep: string, trials: number): void {
  for (let trial = 0; trial < trials; trial++) {
    const times = journalOf(sweep).filter(line => line.type === 'finished' && line.trial === trial).length
    if (times !== 1) throw new Error(`trial ${trial} of ${sweep} was finished ${times} times`)
  }
}

/**
 * Does a few of the trials that went from one worker to another once more, each as a `tune` of its own.
 * @returns how many @throws where one has learned something else
 */
export function refuseOtherBits(sweep: string): number {
  const taken = [...new Set(journalOf(sweep).flatMap(({ type, trial }) => (type === 'taken' ? trial! : [])))].slice(0, 3)
  for (const trial of taken) {
    const run = join(sweep, 'trials', String(trial).padStart(4, '0'))
    const again = `${sweep}-${trial}`
    gradprompt(['tune', '--config', join(run, 'config.yaml'), '--out', again, '--quiet'])
    const [one, other] = [run, again].map(folder => readFileSync(join(folder, 'prompt.safetensors')))
    if (!one!.equals(other!)) throw new Error(`trial ${trial} learned something else than alone`)
  }
  return taken.length
}

/** Process ids of those that work on a sweep on this machine. */
export function workersOf(sweep: string): number[] {
  const folder = join(sweep, 'workers')
  if (!existsSync(folder)) return []
  return readdirSync(folder).flatMap(name => {
    const { pid } = JSON.parse(readFileSync(join(folder, name), 'utf8') || '{}') as { pid?: number }
    return pid !== undefined && isAlive(pid) ? [pid] : []
  })
}

/** Steps of a trial that have a checkpoint, as its events say. */
export function checkpointsOf(sweep: string, trial: number): number[] {
  const path = join(sweep, 'trials', String(trial).padStart(4, '0'), 'events.jsonl')
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(line => line.startsWith('{"event":"checkpoint"'))
    .map(line => (JSON.parse(line) as { step: number }).step)
}

/** @throws where it does not come about in time */
export async function until(what: string, seconds: number, holds: () => boolean | Promise<boolean>): Promise<number> {
  const started = performance.now()
  while (!(await holds())) {
    if (performance.now() - started > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}`)
    await setTimeout(200)
  }
  return (performance.now() - started) / 1000
}

/** Whether a program is installed. */
export const isThere = (program: string): boolean => spawnSync(program, ['--version']).error === undefined
