/**
 * `npm run fuzz -- TARGET COUNT [--seed N] [--from N]`: gives COUNT changed files to the reader TARGET (or `all`), and prints what it
 * did that it may not do, with the number that shows it again: `--from NUMBER` with a COUNT of 1. Exit code 1 when there was anything.
 *
 * The cases run in a thread; a case that does not come back in ten seconds is reported as a hang.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { scriptArguments } from './arguments.js'
import { targets } from './fuzz/index.js'
import { type Failure, fuzz } from './fuzz/run.js'

interface Task {
  readonly name: string
  readonly count: number
  readonly seed: number
  readonly from: number
}

const hangMilliseconds = 10_000

if (isMainThread) await main()
else await work(workerData as Task)

async function work({ name, count, seed, from }: Task): Promise<void> {
  const target = targets.find(each => each.name === name)!
  const failures = await fuzz(target, { count, seed, first: from, onCase: number => parentPort!.postMessage({ number }) })
  parentPort!.postMessage({ failures })
}

async function main(): Promise<void> {
  const usage = `npm run fuzz -- TARGET COUNT [--seed N] [--from N], TARGET one of ${targets.map(each => each.name).join(', ')}, all`
  const { positionals, values } = scriptArguments(usage, { seed: { type: 'string' }, from: { type: 'string' } })
  const [name = '', count = '1000'] = positionals
  const chosen = targets.filter(target => name === 'all' || target.name === name)
  const [cases, seed, from] = [Number(count), Number(values.seed ?? 1), Number(values.from ?? 0)]
  if (chosen.length === 0 || ![cases, seed, from].every(Number.isInteger)) {
    console.error(usage)
    process.exit(2)
  }
  for (const target of chosen) {
    const start = performance.now()
    const failures = await inThread({ name: target.name, count: cases, seed, from })
    for (const { case: number, what } of failures) console.log(`${target.name} --seed ${seed} --from ${number}: ${what}\n`)
    console.log(
      `${target.name}: ${cases} cases, ${failures.length} failures, ${((performance.now() - start) / 1000).toFixed(1)} s`,
    )
    if (failures.length > 0) process.exitCode = 1
  }
}

function inThread(task: Task): Promise<readonly Failure[]> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL(import.meta.url), { workerData: task })
    let number = task.from
    let watch: NodeJS.Timeout | undefined
    const end = (failures: readonly Failure[]) => {
      clearTimeout(watch)
      void thread.terminate()
      resolve(failures)
    }
    const failed = (what: string) => end([{ target: task.name, seed: task.seed, case: number, what }])
    thread.on('message', (message: { number?: number; failures?: readonly Failure[] }) => {
      if (message.failures !== undefined) return end(message.failures)
      number = message.number!
      clearTimeout(watch)
      watch = setTimeout(() => failed(`did not end within ${hangMilliseconds / 1000} s`), hangMilliseconds)
    })
    thread.on('error', error => failed(error.stack ?? String(error)))
    thread.on('exit', code => (code === 0 ? undefined : reject(new Error(`the thread ended with ${code}`))))
  })
}
