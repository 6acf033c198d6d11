import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { packageRoot } from '../../src/package-root.js'
import { round } from './processes.js'

export const usage = `npm run bench -- sweep [--trials 100] [--apart 20] [--threads N] [--workers N]

One \`gradprompt sweep\` over learning rates against a \`gradprompt tune\` for each of them: 20 steps on 16 reviews a class (examples/sweeps/sst2.yaml), the bundled model.
Seconds of a trial, by the clock and of the processor. Of the trials \`--apart\` are done by themselves as well, one half before the sweep and one behind it.
\`--threads\` is of both sides, \`--workers\` of the sweep.`

/** Wall time and processor time of a command and its children, in seconds. */
interface Spent {
  readonly wall: number
  readonly processor: number
}

export async function run(args: readonly string[]): Promise<object> {
  process.chdir(packageRoot())
  const option = (name: string, fallback: number) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : fallback)
  const trials = option('--trials', 100)
  const apart = Math.min(option('--apart', 20), trials)
  const [threads, workers] = [option('--threads', 0), option('--workers', 1)]
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-bench-'))
  try {
    const { sweep: _, ...example } = parse(readFileSync('examples/sweeps/sst2.yaml', 'utf8')) as Record<string, unknown>
    const config = { ...example, ...(threads > 0 && { threads }) }
    const rates = Array.from({ length: trials }, (_, i) => Number((0.001 * 100 ** (i / (trials - 1))).toPrecision(4)))
    const [alone, together] = [join(folder, 'tune.yaml'), join(folder, 'sweep.yaml')]
    writeFileSync(alone, stringify(config))
    writeFileSync(together, stringify({ ...config, sweep: { over: { 'train.learningRate': rates } } }))
    const tune = (rate: number, name: string | number) =>
      timed('tune', '--config', alone, '--learning-rate', String(rate), '--out', join(folder, `tune-${name}`), '--quiet')
    // Programs and weights are in the cache before anything is measured, as they are from the second run on.
    tune(0.01, 'first')
    // Those that are done by themselves are spread over the whole range.
    const chosen = Array.from({ length: apart }, (_, i) => rates[Math.floor((i * trials) / apart)]!)
    const half = Math.ceil(apart / 2)
    const before = chosen.slice(0, half).map(tune)
    const one = timed('sweep', together, '--out', join(folder, 'sweep'), '--workers', String(workers), '--quiet')
    const after = chosen.slice(half).map((rate, i) => tune(rate, half + i))
    const ofTrial = (kind: keyof Spent) => {
      const each = (part: readonly Spent[]) => part.reduce((sum, spent) => sum + spent[kind], 0) / part.length
      const [own, others] = [one[kind] / trials, each([...before, ...after])]
      const drift = after.length > 0 ? { before: round(each(before)), after: round(each(after)) } : {}
      return { sweep: round(own), tune: round(others), ...drift, ratio: round(own / others) }
    }
    return {
      machine: `${cpus()[0]?.model}, ${cpus().length} cores`,
      ...{
        trials,
        apart,
        ...(threads > 0 && { threads }),
        workers,
        secondsOfTrial: ofTrial('wall'),
        processorSecondsOfTrial: ofTrial('processor'),
      },
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function timed(...args: string[]): Spent {
  const command = [process.execPath, 'dist/src/cli/main.js', ...args]
  const { status, stderr } = spawnSync('bash', ['-c', 'time -p "$0" "$@"', ...command], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  const of = (name: string) => Number(new RegExp(`^${name} ([\\d.]+)$`, 'm').exec(stderr)![1])
  return { wall: of('real'), processor: of('user') + of('sys') }
}
