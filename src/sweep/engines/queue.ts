import type * as Bullmq from 'bullmq'
import { GradpromptError } from '../../errors.js'

/** The queue through which machines are given sweeps to work on: BullMQ, which is loaded only where somebody asks for it. */

export const byDefault = { queue: 'gradprompt', url: 'redis://127.0.0.1:6379' }

/** A part in a sweep: the words behind `gradprompt`, and where they are said. */
export interface QueueJob {
  readonly directory: string
  readonly args: readonly string[]
}

export interface JobOutcome {
  /** Another machine is to have it. */
  readonly isGivenBack: boolean
}

export interface QueueHearer {
  /** Ends the taking: the job that is under way is waited for. */
  readonly signal: AbortSignal
  /** @throws what its attempt failed by */
  work(job: QueueJob, name: string): Promise<JobOutcome>
  say(text: string): void
}

/** Of connecting, for whoever hands in. */
const mostTries = 5
/** A machine that does not say within this time that it still works on a job has lost it. */
const lockMilliseconds = 30_000

const redisUrl = (): string => process.env.REDIS_URL || byDefault.url
/** Without a password that may stand in it. */
const shownUrl = (): string => redisUrl().replace(/\/\/[^@/]*@/, '//')

/** @throws GradpromptError `package-missing` */
export async function loadBullmq(load: () => Promise<typeof Bullmq> = () => import('bullmq')): Promise<typeof Bullmq> {
  try {
    return await load()
  } catch (cause) {
    throw new GradpromptError('package-missing', 'the package bullmq cannot be loaded', {
      found: cause instanceof Error ? cause.message.split('\n')[0]! : String(cause),
      expected: 'bullmq and ioredis beside gradprompt',
      hint: 'npm install bullmq ioredis',
      cause,
    })
  }
}

const unreachable = (found: string): GradpromptError =>
  new GradpromptError('queue-unreachable', `no Redis answers at ${shownUrl()}`, {
    found,
    expected: 'Redis or Valkey at the address of REDIS_URL',
    hint: 'start it, or set REDIS_URL=redis://HOST:6379 (redis://:PASSWORD@HOST:6379)',
    exitCode: 1,
  })

/**
 * Puts jobs into a queue. @returns their numbers
 * @throws GradpromptError `package-missing`, `queue-unreachable`
 */
export async function putJobs(queue: string, name: string, jobs: readonly QueueJob[], attempts: number): Promise<string[]> {
  const { Queue } = await loadBullmq()
  const retryStrategy = (times: number) => (times > mostTries ? null : 300)
  const open = new Queue<QueueJob>(queue, { connection: { url: redisUrl(), retryStrategy } })
  let last: Error | undefined
  open.on('error', error => {
    last = error
  })
  const keep = { removeOnComplete: 1000, removeOnFail: 1000 }
  const opts = { attempts, backoff: { type: 'exponential', delay: 2000 }, ...keep }
  try {
    const added = await open.addBulk(jobs.map(data => ({ name, data, opts })))
    return added.map(({ id }) => String(id))
  } catch (error) {
    throw unreachable(((last ?? error) as Error).message)
  } finally {
    await open.disconnect().catch(() => {})
  }
}

/**
 * Takes jobs, one at a time, until the signal. A Redis that restarts is waited for.
 * @throws GradpromptError `package-missing`
 */
export async function takeJobs(queue: string, { signal, work, say }: QueueHearer): Promise<void> {
  const { Worker, WaitingError } = await loadBullmq()
  let isAway = false
  const worker = new Worker<QueueJob>(
    queue,
    async (job, token) => {
      const { isGivenBack } = await work(job.data, job.name)
      if (!isGivenBack) return
      await job.moveToWait(token)
      throw new WaitingError()
    },
    {
      connection: { url: redisUrl(), maxRetriesPerRequest: null },
      lockDuration: lockMilliseconds,
      stalledInterval: lockMilliseconds,
      // A job whose machine has vanished is taken up as often as machines vanish.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
    },
  )
  worker.on('error', error => {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ECONNREFUSED' && code !== 'ECONNRESET' && code !== 'ENOTFOUND') return say(error.message)
    if (!isAway) say(`no Redis answers at ${shownUrl()} (${code}); waiting for it`)
    isAway = true
  })
  worker.on('ready', () => {
    say(`takes from the queue ${queue} at ${shownUrl()}`)
    isAway = false
  })
  if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
  // Where Redis is away there is nothing to wait for.
  await worker.close(isAway)
}
