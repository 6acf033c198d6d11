import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { batchOrder } from '../../src/data/batches.js'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { packageRoot } from '../../src/package-root.js'
import type { OursOptions } from './ours.js'
import { chooseModel, float32Folder, modelFile, PEERS, python } from './peer.js'
import { type Measured, measure, measurePart, median, round } from './processes.js'
import { sst2, startingPrompt, VIRTUAL_TOKENS } from './protocol.js'

export const usage = `npm run bench -- tune [--model FILE.gguf] [--rounds 3] [--steps 12] [--only train,bf16,fixed,evaluate,memory,ready,products,accuracy,scaling]

Prompt tuning on SST-2 with the bundled model, or the one that is named, beside PEFT on the same rows (scripts/bench/peers/peft_prompt_tuning.py says the protocol).
Needs Python with torch, transformers, peft, gguf, accelerate and safetensors: GRADPROMPT_BENCH_PYTHON names it (default: python3).`

export async function run(args: readonly string[]): Promise<object> {
  chooseModel(args)
  process.chdir(packageRoot())
  const option = (name: string, fallback: string) => (args.includes(name) ? args[args.indexOf(name) + 1]! : fallback)
  const only = option('--only', '').split(',').filter(Boolean)
  const wanted = (part: string) => only.length === 0 || only.includes(part)
  const bench = new Bench(Number(option('--rounds', '3')), Number(option('--steps', '12')))
  const results: Record<string, unknown> = {
    machine: `${cpus()[0]?.model}, ${cpus().length} cores`,
    rounds: bench.rounds,
    model: modelFile(),
    steps: bench.steps,
  }
  const part = async (name: string, measured: () => Promise<object>) => {
    if (!wanted(name)) return
    results[name] = await measurePart(`tune: ${name}`, measured)
  }
  try {
    await part('train', () => bench.train())
    await part('bf16', () => bench.train({ peer: ['--dtype', 'bfloat16'] }))
    await part('fixed', () => bench.train({ peer: ['--fixed-length', '64'], ours: { fixedLength: 64 } }))
    await part('evaluate', () => bench.evaluate())
    await part('memory', () => bench.memory())
    await part('ready', () => bench.ready())
    await part('products', () => bench.products())
    await part('accuracy', () => bench.accuracy())
    await part('scaling', () => bench.scaling())
    return results
  } finally {
    bench.close()
  }
}

class Bench {
  readonly #folder = mkdtempSync(join(tmpdir(), 'gradprompt-bench-'))
  readonly #order = join(this.#folder, 'order.json')

  constructor(
    readonly rounds: number,
    readonly steps: number,
  ) {
    const batches = batchOrder({ rows: sst2('train.tsv').length, batchSize: 16, seed: 13 })
    writeFileSync(this.#order, JSON.stringify(Array.from({ length: Math.max(steps, 50) }, (_, step) => batches.at(step))))
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Rows per second of training, both sides on the same batches, one after the other in every round. */
  async train({ peer = [], ours = {} }: { peer?: readonly string[]; ours?: Partial<OursOptions> } = {}): Promise<object> {
    const rates: { ours: number; peer: number }[] = []
    for (let round = 0; round < this.rounds; round++) {
      const theirs = await this.#peer(['--order', this.#order, '--steps', String(this.steps), '--eval-rows', '16', ...peer])
      const own = await this.#ours({ mode: 'train', order: this.#order, steps: this.steps, ...ours })
      rates.push({ ours: resultOf(own).rowsPerSecond!, peer: 16 / resultOf(theirs).median_step! })
    }
    return {
      rowsPerSecond: medians(rates),
      ratio: round(median(rates.map(({ ours, peer }) => ours / peer))),
    }
  }

  /** Rows per second of scoring the dev file. */
  async evaluate(): Promise<object> {
    const rates: { ours: number; peer: number }[] = []
    for (let round = 0; round < this.rounds; round++) {
      const theirs = resultOf(await this.#peer(['--order', this.#order, '--steps', '2']))
      const own = resultOf(await this.#ours({ mode: 'evaluate' }))
      rates.push({ ours: own.rowsPerSecond!, peer: theirs.eval_rows_per_second! })
    }
    return { rowsPerSecond: medians(rates), ratio: round(median(rates.map(({ ours, peer }) => ours / peer))) }
  }

  /** Peak memory of the whole process tree of `gradprompt tune`, beside the peer's process, for the same steps. */
  async memory(): Promise<object> {
    const config = join(this.#folder, 'memory.json')
    const data = { train: 'examples/sst2/train.tsv', columns: ['text', 'label'], labels: { 0: 'negative', 1: 'positive' } }
    const method = { type: 'prompt-tuning', numVirtualTokens: VIRTUAL_TOKENS }
    writeFileSync(
      config,
      JSON.stringify({
        model: modelFile(),
        ...{ data, method, template: 'Review: {text}\nSentiment:', answer: ' {label}', train: { steps: this.steps } },
        // The peer learns none.
        answerEnd: 'none',
      }),
    )
    const values: { ours: number; peer: number }[] = []
    for (let i = 0; i < this.rounds; i++) {
      const own = await measure(
        process.execPath,
        ['dist/src/cli/main.js', 'tune', '--config', config, '--json', '--out', join(this.#folder, `run-${i}`)],
        { quiet: true, memory: true },
      )
      const theirs = await this.#peer(['--order', this.#order, '--steps', String(this.steps), '--eval-rows', '16'], true)
      values.push({ ours: own.peakMemoryBytes / 1e6, peer: theirs.peakMemoryBytes / 1e6 })
    }
    return { peakMemoryMB: medians(values), ratio: round(median(values.map(({ ours, peer }) => ours / peer))) }
  }

  /** Seconds from the start of the process until the first step could run, with an empty and with a filled cache; and of two commands. */
  async ready(): Promise<object> {
    const warm: number[] = []
    const cold: number[] = []
    const help: number[] = []
    const dryRun: number[] = []
    await this.#ours({ mode: 'ready' })
    for (let i = 0; i < this.rounds; i++) {
      const cache = join(this.#folder, `cache-${i}`)
      cold.push(readyOf(await this.#ours({ mode: 'ready' }, { GRADPROMPT_CACHE: cache })))
      rmSync(cache, { recursive: true, force: true })
      warm.push(readyOf(await this.#ours({ mode: 'ready' })))
      const cli = (...args: string[]) => measure(process.execPath, ['dist/src/cli/main.js', ...args], { quiet: true })
      help.push((await cli('--help')).seconds)
      dryRun.push((await cli('tune', '--config', 'examples/sst2/quickstart.yaml', '--dry-run')).seconds)
    }
    const seconds = (values: readonly number[]) => round(median(values))
    return { coldSeconds: seconds(cold), warmSeconds: seconds(warm), helpSeconds: seconds(help), dryRunSeconds: seconds(dryRun) }
  }

  async products(): Promise<object> {
    const runs: Record<string, number>[] = []
    for (let i = 0; i < this.rounds; i++)
      runs.push((await measure(process.execPath, ['dist/scripts/bench/products.js'])).lines.at(-1) as Record<string, number>)
    return Object.fromEntries(Object.keys(runs[0]!).map(key => [key, round(median(runs.map(values => values[key]!)))]))
  }

  /** Logits, prompt gradient and loss curve against torch in float32. */
  async accuracy(): Promise<object> {
    const model = await LanguageModel.load(modelFile())
    const prompt = await startingPrompt(model)
    const start = join(this.#folder, 'start.safetensors')
    await writeSafetensors(start, [{ name: 'prompt', shape: [VIRTUAL_TOKENS, model.config.hiddenSize], data: prompt }])
    const texts = sst2('dev.tsv').slice(0, 75)
    const rows = texts.map(({ text, label }) => {
      const context = model.tokenizer.encode(`Review: ${text}\nSentiment:`)
      const answer = model.tokenizer.encode(label ? ' positive' : ' negative')
      return { ids: [...context, ...answer], labels: [...context.map(() => -100), ...answer] }
    })
    const rowsFile = join(this.#folder, 'rows.json')
    const out = join(this.#folder, 'logits.safetensors')
    writeFileSync(rowsFile, JSON.stringify(rows))
    await measure(python(), [
      `${PEERS}/logits.py`,
      '--model',
      float32Folder(),
      '--rows',
      rowsFile,
      '--prompt',
      start,
      '--out',
      out,
    ])
    const expected = await openSafetensors(out)
    const logits = await model.logits(rows.map(row => row.ids))
    const { vocabSize, hiddenSize } = model.config
    let largest = 0
    let positions = 0
    for (const [i, own] of logits.entries()) {
      const wanted = await expected.read(`logits.${i}`)
      for (const [j, value] of own.entries()) largest = Math.max(largest, Math.abs(value - wanted[j]!))
      positions += own.length / vocabSize
    }
    const { loss, gradient } = await model.lossAndGradient({
      softPrompt: { data: prompt, shape: [VIRTUAL_TOKENS, hiddenSize] },
      rows,
    })
    const torch = await expected.read('gradient')
    const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))
    const relative = norm(gradient.map((x, i) => x - torch[i]!)) / norm(torch)
    await expected.close()
    await model.dispose()
    const losses = { ours: join(this.#folder, 'ours.json'), peer: join(this.#folder, 'peer.json') }
    await this.#ours({ mode: 'train', order: this.#order, steps: 50, initFrom: start, losses: losses.ours })
    await this.#peer([
      '--order',
      this.#order,
      '--steps',
      '50',
      '--eval-rows',
      '16',
      '--init-from',
      start,
      '--losses',
      losses.peer,
    ])
    const [own, theirs] = [losses.ours, losses.peer].map(file => JSON.parse(readFileSync(file, 'utf8')) as number[]) as [
      number[],
      number[],
    ]
    return {
      positions,
      largestLogitDifference: round(largest),
      relativeGradientError: round(relative),
      loss: round(loss, 7),
      largestLossDifferenceOver50Steps: round(Math.max(...own.map((value, i) => Math.abs(value - theirs[i]!)))),
    }
  }

  /** Time by the row and memory as the batch grows. */
  async scaling(): Promise<object> {
    const order = join(this.#folder, 'large.json')
    const batches = batchOrder({ rows: sst2('train.tsv').length, batchSize: 64, seed: 13 })
    writeFileSync(order, JSON.stringify(Array.from({ length: 8 }, (_, step) => batches.at(step))))
    const results: object[] = []
    for (const batchSize of [4, 8, 16, 32, 64]) {
      const options: OursOptions = { mode: 'train', order, steps: 8, batchSize }
      const { medianStep, tokenRows } = resultOf(await this.#ours(options))
      const { peakMemoryBytes } = await this.#ours(options, {}, true)
      results.push({
        batchSize,
        millisecondsPerRow: round((1000 * medianStep!) / batchSize),
        tokenRows: round(tokenRows!),
        peakMemoryMB: round(peakMemoryBytes / 1e6),
      })
    }
    return { batches: results }
  }

  #ours(options: OursOptions, env: NodeJS.ProcessEnv = {}, memory = false): Promise<Measured> {
    return measure(process.execPath, ['dist/scripts/bench/ours.js', JSON.stringify(options)], { env, quiet: true, memory })
  }

  #peer(args: readonly string[], memory = false): Promise<Measured> {
    const command = [`${PEERS}/peft_prompt_tuning.py`, '--model', float32Folder(), ...args]
    return measure(python(), command, { quiet: true, memory })
  }
}

const resultOf = (run: Measured) =>
  run.lines.findLast(line => line.event === 'result') as unknown as Record<string, number | undefined>
const readyOf = (run: Measured) => run.lines.find(line => line.event === 'ready')!.seconds as number
const medians = (pairs: readonly { ours: number; peer: number }[]) => ({
  ours: round(median(pairs.map(pair => pair.ours))),
  peer: round(median(pairs.map(pair => pair.peer))),
})
