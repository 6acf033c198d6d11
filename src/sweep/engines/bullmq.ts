import { basename } from 'node:path'
import { GradpromptError, unknownName } from '../../errors.js'
import type { Engine } from './engine.js'
import { byDefault, putJobs, type QueueJob } from './queue.js'

/**
 * Jobs in a queue of BullMQ, on Redis or Valkey, one for each worker. `gradprompt worker` takes them on whichever machines it was started, and gives
 * each back that it cannot end: a machine that vanishes leaves its job to another.
 */

const known = ['queue', 'attempts'] as const

interface File {
  readonly queue: string
  readonly attempts: number
  readonly name: string
  readonly jobs: readonly QueueJob[]
}

export const bullmq: Engine = {
  name: 'bullmq',
  description: 'jobs for machines that run gradprompt worker, in a queue on the Redis of REDIS_URL; --set queue=gradprompt',
  file: 'bullmq.json',
  // A worker calls the gradprompt that it is.
  installedThere: true,
  text({ folder, directory, command, workers, settings }) {
    for (const name of Object.keys(settings))
      if (!known.some(one => one === name)) throw unknownName('invalid-option', `there is no setting ${name}`, name, known)
    const { queue = byDefault.queue, attempts = '3' } = settings
    if (!/^[1-9]\d?$/.test(attempts))
      throw new GradpromptError('invalid-option', '--set attempts is not valid', { found: attempts, expected: '1 to 99' })
    if (queue === '' || queue.includes(':'))
      throw new GradpromptError('invalid-option', '--set queue is not valid', { found: queue, expected: 'a name without colons' })
    const job: QueueJob = { directory, args: command.slice(1) }
    const file: File = {
      queue,
      attempts: Number(attempts),
      name: basename(folder),
      jobs: Array.from({ length: workers }, () => job),
    }
    return `${JSON.stringify(file, null, 2)}\n`
  },
  async handIn(text) {
    const { queue, attempts, name, jobs } = JSON.parse(text) as File
    const ids = await putJobs(queue, name, jobs, attempts)
    return `${queue}: ${ids.join(', ')}`
  },
}
