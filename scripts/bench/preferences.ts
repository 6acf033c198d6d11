import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../../src/package-root.js'
import { float32Folder, PEERS, python } from './peer.js'
import { measure, median, round } from './processes.js'

export const usage = `npm run bench -- preferences [--rounds 3] [--pairs 64] [--batch-size 8]

Steps of \`dpo\` on a soft prompt (examples/preferences/dpo.yaml, the bundled model) beside eager torch, both sides in turn: in the first pass over the pairs,
where the reference is asked as well, and in later ones, where what it said is kept.
GRADPROMPT_BENCH_PYTHON names a Python with torch, transformers, peft, gguf and accelerate.`

/** Passes over the pairs: one in which the reference is asked, and two in which it is not. */
const PASSES = 3

/** Seconds of a step, in the first pass and later, and the loss of the first step: ln 2 on both sides. */
interface Side {
  readonly asked: number
  readonly kept: number
  readonly firstLoss: number
}

export async function run(args: readonly string[]): Promise<object> {
  process.chdir(packageRoot())
  const option = (name: string, fallback: number) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : fallback)
  const [rounds, pairs, batch] = [option('--rounds', 3), option('--pairs', 64), option('--batch-size', 8)]
  const steps = PASSES * Math.floor(pairs / batch)
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-bench-'))
  try {
    const model = float32Folder()
    const sides: { readonly ours: Side; readonly peer: Side }[] = []
    for (let i = 0; i < rounds; i++) {
      const ours = await measure(
        process.execPath,
        [
          ...[
            'dist/src/cli/main.js',
            'tune',
            '--config',
            'examples/preferences/dpo.yaml',
            '--json',
            '--out',
            join(folder, `${i}`),
          ],
          ...['--steps', `${steps}`, '--batch-size', `${batch}`, '--train.evaluate-every', `${steps + 1}`],
          ...['--data.limit.train', `${pairs}`, '--data.limit.dev', '4', '--data.limit.test', '4'],
        ],
        { quiet: true },
      )
      const theirs = await measure(
        python(),
        [
          ...[`${PEERS}/dpo.py`, '--model', model, '--steps', `${steps}`, '--pairs', `${pairs}`],
          ...['--batch', `${batch}`, '--threads', `${cpus().length}`],
        ],
        { quiet: true },
      )
      const told = ours.lines.filter(({ event }) => event === 'step') as { loss: number; seconds: number }[]
      const ourSteps = told.map(({ loss, seconds }, i) => ({ loss, seconds: seconds - (told[i - 1]?.seconds ?? 0) }))
      const theirSteps = theirs.lines.filter(({ event }) => event === 'step') as { loss: number; seconds: number }[]
      sides.push({ ours: sideOf(ourSteps), peer: sideOf(theirSteps) })
    }
    const of = (kind: 'asked' | 'kept') => ({
      ours: round(median(sides.map(({ ours }) => ours[kind]))),
      peer: round(median(sides.map(({ peer }) => peer[kind]))),
      ratio: round(median(sides.map(({ ours, peer }) => peer[kind] / ours[kind]))),
    })
    return {
      machine: `${cpus()[0]?.model}, ${cpus().length} cores`,
      ...{ rounds, pairs, batchSize: batch },
      firstLoss: { ours: sides[0]!.ours.firstLoss, peer: sides[0]!.peer.firstLoss },
      secondsOfStep: { firstPass: of('asked'), later: of('kept') },
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The first step opens programs on our side, and warms up on the other. */
function sideOf(steps: readonly { readonly loss: number; readonly seconds: number }[]): Side {
  const firstPass = steps.length / PASSES
  const seconds = (part: typeof steps) => median(part.map(step => step.seconds))
  return { asked: seconds(steps.slice(1, firstPass)), kept: seconds(steps.slice(firstPass)), firstLoss: steps[0]!.loss }
}
