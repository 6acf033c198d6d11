/**
 * `node dist/scripts/crash/sweep.js [TRIALS] [WORKERS] [KILLS] [--seed N]`: a sweep of TRIALS (200) trials on the tiny model of the tests by WORKERS
 * (4) processes, of which one is ended by `kill -9` KILLS (50) times at a random moment, and another begun in its place. In the end every trial has to be
 * finished, once, with the result of its run. Exit code 1 where one is not.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { stringify } from 'yaml'
import { packageRoot } from '../../src/package-root.js'
import { randomGenerator } from '../../src/random.js'
import { scriptArguments } from '../arguments.js'

const usage = 'node dist/scripts/crash/sweep.js [TRIALS] [WORKERS] [KILLS] [--seed N]'
const { positionals, values } = scriptArguments(usage, { seed: { type: 'string' } })
const [trials = 200, workers = 4, kills = 50] = positionals.map(Number)
const seed = Number(values.seed ?? Date.now() >>> 0)
const random = randomGenerator(seed)
const folder = mkdtempSync(join(tmpdir(), 'gradprompt-crash-'))
const sweep = join(folder, 'sweep')
const main = join(packageRoot(), 'dist/src/cli/main.js')

const words = ['wine', 'stone']
const rows = Array.from({ length: 48 }, (_, i) => `${['the', 'on', 'at', 'it'][(i >> 1) % 4]} ${words[i % 2]}\t${i % 2}`)
writeFileSync(join(folder, 'toy.tsv'), `${rows.join('\n')}\n`)
const config = {
  model: join(packageRoot(), 'test/fixtures/models/llama-gqa'),
  data: { train: join(folder, 'toy.tsv'), split: { dev: 12 }, columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } },
  template: '{text} -',
  answer: ' {label}',
  answerEnd: 'none',
  method: { type: 'prompt-tuning', numVirtualTokens: 4 },
  train: { steps: 60, batchSize: 8, checkpointEvery: 10 },
  threads: 1,
  sweep: { over: { 'train.learningRate': { min: 0.01, max: 0.3, log: true } }, strategy: 'random', trials },
}
writeFileSync(join(folder, 'config.yaml'), stringify(config))

console.log(`${trials} trials, ${workers} workers, ${kills} kills, seed ${seed}`)
const started = performance.now()
const running = new Set<ChildProcess>()
const begin = (what: string) => {
  const out = what === sweep ? [] : ['--out', sweep]
  const child = spawn(process.execPath, [main, 'sweep', what, '--quiet', ...out], { stdio: ['ignore', 'ignore', 'inherit'] })
  running.add(child)
  child.once('close', () => running.delete(child))
  return child
}
begin(join(folder, 'config.yaml'))
while (!existsSync(join(sweep, 'journal.log'))) await setTimeout(50)
for (let i = 1; i < workers; i++) begin(sweep)
let killed = 0
while (running.size > 0) {
  await setTimeout(uniformInt(random, 0, 3000))
  if (killed >= kills || running.size === 0) continue
  const chosen = [...running][uniformInt(random, 0, running.size - 1)]!
  const gone = new Promise(resolve => chosen.once('close', resolve))
  if (!chosen.kill('SIGKILL')) continue
  killed++
  await gone
  begin(sweep)
}
const records = readFileSync(join(sweep, 'journal.log'), 'utf8')
  .split('\n')
  .filter(line => line !== '')
  .map(line => JSON.parse(line.slice(line.indexOf(' ') + 1)) as { type: string; trial?: number; steps?: number })
const finished = new Map<number, number>()
for (const { type, trial } of records) if (type === 'finished') finished.set(trial!, (finished.get(trial!) ?? 0) + 1)
const all = Array.from({ length: trials }, (_, trial) => trial)
const lost = all.filter(trial => !finished.has(trial))
const twice = all.filter(trial => finished.get(trial)! > 1)
const without = all.filter(trial => !existsSync(join(sweep, 'trials', String(trial).padStart(4, '0'), 'result.json')))
const others = [...finished.keys()].filter(trial => trial >= trials)
const seconds = (performance.now() - started) / 1000
const taken = records.filter(({ type }) => type === 'taken').length
console.log(`${killed} kills; ${finished.size} trials finished, ${taken} taken up from another; ${seconds.toFixed(0)} s`)
const wrong = Object.entries({ lost, twice, without, others }).filter(([, of]) => of.length > 0)
for (const [name, of] of wrong) console.log(`${name}: ${of.join(', ')}`)
if (wrong.length === 0) rmSync(folder, { recursive: true, force: true })
else console.log(`the sweep is in ${folder}`)
process.exit(wrong.length === 0 ? 0 : 1)
