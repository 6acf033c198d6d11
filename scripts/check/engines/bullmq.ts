import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { EngineCheck } from './check.js'
import {
  begun,
  checkpointsOf,
  countOf,
  enough,
  gradprompt,
  isThere,
  journalOf,
  refuseLost,
  refuseOtherBits,
  steps,
  until,
  workersOf,
  writeSweep,
} from './sweeps.js'

/**
 * `--on bullmq` on a Redis or Valkey that is started here (Debian: `apt-get install redis-server`, or `valkey-server`). Of two workers one is stopped and
 * one is killed, and Redis restarts in between; every trial is finished once, to the bits of a run that nobody stopped.
 */

const servers = ['valkey-server', 'redis-server']

export const bullmqCheck: EngineCheck = {
  name: 'bullmq',
  missing: () =>
    servers.some(isThere) ? undefined : `neither ${servers.join(' nor ')} found (Debian: apt-get install redis-server)`,
  async run(folder, say) {
    const port = await freePort()
    const env = { ...process.env, REDIS_URL: `redis://127.0.0.1:${port}` }
    const server = servers.find(isThere)!
    const redis = () =>
      spawn(server, ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--appendonly', 'yes'], { stdio: 'ignore' })
    const running: ChildProcess[] = []
    const stopped = async (child: ChildProcess, signal: NodeJS.Signals) => {
      const ended =
        child.exitCode !== null || child.signalCode !== null ? undefined : new Promise(resolve => child.once('close', resolve))
      child.kill(signal)
      await ended
    }
    const worker = () => {
      const child = begun(['worker'], env)
      running.push(child)
      return child
    }
    let store: ChildProcess | undefined
    try {
      const config = writeSweep(folder)
      const sweep = join(folder, 'sweep')
      refuseStart(config, join(folder, 'none'), env)
      say('without Redis: refused with queue-unreachable')

      store = redis()
      const handIn = () => gradprompt(['sweep', config, '--on', 'bullmq', '--workers', '2', '--out', sweep], env)
      await until('Redis answers', 900, () => isOpen(port))
      handIn()
      const first = worker()
      const second = worker()
      await until('both workers work', 900, () => workersOf(sweep).length === 2)
      say(`${server}: two jobs, two workers`)

      await until('a few trials', 900, () => countOf(sweep, 'finished') >= 4)
      await stopped(store, 'SIGKILL')
      const before = countOf(sweep, 'finished')
      await until('trials while Redis is away', 900, () => countOf(sweep, 'finished') > before + 1)
      store = redis()
      await until('Redis answers again', 900, () => isOpen(port))
      say('Redis that was killed and came back: both went on meanwhile')

      await stopped(first, 'SIGTERM')
      const { trial } = journalOf(sweep).findLast(({ type }) => type === 'left')!
      const [at] = checkpointsOf(sweep, trial!)
      if (at === undefined || at >= steps) throw new Error(`trial ${trial} was left without a checkpoint of its own`)
      say(`a worker that was stopped: trial ${trial} left with a checkpoint at step ${at}, its job given back`)
      worker()
      await until('its job is taken by another', 900, () => workersOf(sweep).length === 2)

      second.kill('SIGKILL')
      const trials = enough(sweep)
      gradprompt(['sweep', sweep, '--trials', String(trials), '--on', 'bullmq'], env)
      worker()
      await until('all trials are finished', 1200, () => countOf(sweep, 'finished') === trials)
      refuseLost(sweep, trials)
      say(`kill -9 of the other: ${trials} trials, each finished once, ${countOf(sweep, 'taken')} taken up`)

      const bits = refuseOtherBits(sweep)
      say(`${bits} of those that were taken up, done again alone: the same, to the bit`)
    } finally {
      for (const child of running) await stopped(child, 'SIGTERM')
      if (store) await stopped(store, 'SIGKILL')
    }
  },
}

function refuseStart(config: string, out: string, env: NodeJS.ProcessEnv): void {
  try {
    gradprompt(['sweep', config, '--on', 'bullmq', '--out', out], env)
  } catch (error) {
    if (error instanceof Error && error.message.includes('error[queue-unreachable]')) return
    throw error
  }
  throw new Error('a job was handed in without Redis')
}

const freePort = (): Promise<number> =>
  new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })

const isOpen = (port: number): boolean =>
  spawnSync(process.execPath, [
    '-e',
    `require('net').connect(${port},'127.0.0.1').on('connect',()=>process.exit(0)).on('error',()=>process.exit(1))`,
  ]).status === 0
