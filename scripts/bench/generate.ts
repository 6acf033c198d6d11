import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { GradpromptError } from '../../src/errors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { packageRoot } from '../../src/package-root.js'
import type { GenerateOursOptions } from './generate-ours.js'
import { chooseModel, float32Folder, modelFile, PEERS, python } from './peer.js'
import { measure, measurePart, median, round } from './processes.js'
import { sst2 } from './protocol.js'

export const usage = `npm run bench -- generate [--model FILE.gguf] [--rounds 3] [--rows 1,16,64] [--only decode,limited,prefill,shared,gsm8k,equal,changed,distance,memory] [--questions GSM8K.jsonl] [--no-prompt-lookup]

Greedy generation with the bundled model, or the one that is named (with ChatML, as SmolLM2 and Qwen have it): 60-token prompts, 128 new tokens, each side in turn in every round.
Beside transformers in fp32 (GRADPROMPT_BENCH_PYTHON names a Python with torch, transformers, peft, gguf, accelerate and safetensors) and
llama.cpp on the same GGUF file (GRADPROMPT_BENCH_LLAMA names a folder with \`npm install node-llama-cpp\`); a peer that is not named is left out.
\`--no-prompt-lookup\` leaves our guesses at following tokens out; the peers make none.
Both peers wait for their threads by spinning: nothing else may run on the machine.`

const PROMPT_TOKENS = 60
const NEW_TOKENS = 128
/** Of the comparison of ids: new tokens of each prompt, and by how much a logit is above the next best where rounding does not decide. */
const EQUAL_TOKENS = 64
const NEAR_TIE = 1e-3

interface Result {
  readonly prefillSeconds: readonly number[]
  readonly seconds: readonly number[]
  readonly tokens: number
  readonly firstTokenSeconds?: readonly number[]
  readonly answers?: number[][]
  readonly logProbabilities?: number[][]
  readonly memory?: readonly number[]
}

type Side = 'stored' | 'fp32' | 'transformers' | 'llama.cpp'

export async function run(args: readonly string[]): Promise<object> {
  chooseModel(args)
  process.chdir(packageRoot())
  const option = (name: string, fallback: string) => (args.includes(name) ? args[args.indexOf(name) + 1]! : fallback)
  const only = option('--only', '').split(',').filter(Boolean)
  const bench = new Bench(Number(option('--rounds', '3')), !args.includes('--no-prompt-lookup'))
  const questions = option('--questions', '')
  const results: Record<string, unknown> = {
    machine: `${cpus()[0]?.model}, ${cpus().length} cores`,
    model: modelFile(),
    rounds: bench.rounds,
  }
  const part = async (name: string, measured: () => Promise<object>) => {
    if (only.length > 0 && !only.includes(name)) return
    results[name] = await measurePart(`generate: ${name}`, measured)
  }
  try {
    await bench.open()
    await part('decode', async () => {
      const byRows: Record<string, object> = {}
      for (const rows of option('--rows', '1,16,64').split(',').map(Number)) byRows[rows] = await bench.decode(rows)
      return byRows
    })
    await part('limited', () => bench.limited())
    await part('prefill', () => bench.prefill(0))
    await part('shared', () => bench.prefill(50))
    if (questions !== '') await part('gsm8k', () => bench.questions(questions))
    await part('equal', () => bench.equal())
    await part('changed', () => bench.changed())
    await part('distance', () => bench.distance())
    await part('memory', () => bench.memory())
    return results
  } finally {
    bench.close()
  }
}

class Bench {
  readonly #folder = mkdtempSync(join(tmpdir(), 'gradprompt-bench-'))
  /** Token ids of film reviews, one after the other: prompts are cut from it. */
  #stream: readonly number[] = []
  #endOfTurn = 0
  #encode: (text: string) => number[] = () => []
  readonly #sides: Side[]
  readonly #promptLookup: boolean

  constructor(
    readonly rounds: number,
    promptLookup: boolean,
  ) {
    this.#promptLookup = promptLookup
    this.#sides = ['stored', 'fp32']
    if (process.env.GRADPROMPT_BENCH_PYTHON) this.#sides.push('transformers')
    if (process.env.GRADPROMPT_BENCH_LLAMA) this.#sides.push('llama.cpp')
  }

  async open(): Promise<void> {
    const model = await LanguageModel.load(modelFile())
    await model.dispose()
    const { tokenizer } = model
    this.#encode = text => tokenizer.encode(text)
    this.#stream = this.#encode(
      sst2('dev.tsv')
        .map(({ text }) => text)
        .join('. '),
    )
    this.#endOfTurn = tokenizer.eosTokenId!
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Tokens per second with the prompts, seconds to the first token, and our ratios to each peer. */
  async decode(rows: number): Promise<object> {
    const runs = await this.#inTurn(this.#prompts(rows), NEW_TOKENS)
    const rate = ({ tokens, seconds }: Result) => tokens / Math.min(...seconds)
    const first = ({ prefillSeconds }: Result) => Math.min(...prefillSeconds)
    return { tokensPerSecond: this.#compare(runs, rate), firstTokenSeconds: this.#compare(runs, first, true) }
  }

  /** Tokens per second of 16 answers that are limited to JSON, and of 16 that are not, in turn; as long as each other. */
  async limited(): Promise<object> {
    const prompts = this.#write('prompts', this.#prompts(16))
    const properties = {
      film: { type: 'string' },
      review: { type: 'string' },
      stars: { type: 'integer', minimum: 1, maximum: 5 },
    }
    const item = { type: 'object', properties, required: Object.keys(properties), additionalProperties: false }
    const grammar = { jsonSchema: { type: 'array', items: item, minItems: 50 } }
    const byWeights: Record<string, object> = {}
    for (const weights of ['stored', 'fp32'] as const) {
      const rates = { free: [] as number[], limited: [] as number[] }
      for (let round = 0; round < this.rounds; round++)
        for (const kind of ['free', 'limited'] as const) {
          const options = { prompts, weights, newTokens: NEW_TOKENS, repeat: 2, ...(kind === 'limited' && { grammar }) }
          const { tokens, seconds } = await this.#ours(options)
          rates[kind].push(tokens / Math.min(...seconds))
        }
      const [free, limited] = [median(rates.free), median(rates.limited)]
      byWeights[weights] = { free: round(free), limited: round(limited), ratio: round(limited / free) }
    }
    return byWeights
  }

  /** Tokens of 16 prompts per second, of which some begin all of them. */
  async prefill(shared: number): Promise<object> {
    const runs = await this.#inTurn(this.#prompts(16, shared), 1)
    return { tokensPerSecond: this.#compare(runs, ({ prefillSeconds }) => (16 * PROMPT_TOKENS) / Math.min(...prefillSeconds)) }
  }

  /** Wall time of 64 questions, chain of thought, at most 256 new tokens; transformers in batches of 16. */
  async questions(file: string): Promise<object> {
    if (!existsSync(file)) throw new GradpromptError('file-not-found', `There is no file of questions at ${file}`)
    const asked = readFileSync(file, 'utf8')
      .split('\n')
      .filter(Boolean)
      .slice(0, 64)
      .map(line => (JSON.parse(line) as { question: string }).question)
    const prompts = asked.map(question =>
      this.#encode(`<|im_start|>user\n${question} Think step by step.<|im_end|>\n<|im_start|>assistant\n`),
    )
    const runs = await this.#inTurn(prompts, 256, {
      stop: [this.#endOfTurn],
      repeat: 1,
      sides: this.#sides.filter(side => side !== 'llama.cpp'),
    })
    return { seconds: this.#compare(runs, ({ seconds }) => Math.min(...seconds), true) }
  }

  /**
   * Rows whose greedy ids equal those of transformers, over 64 prompts and 64 tokens. Where two tokens are nearly as good, rounding
   * decides: a row counts as equal up to there if it differs from a token on that transformers prefers by less than `NEAR_TIE`.
   */
  async equal(): Promise<object> {
    const prompts = this.#write('prompts', this.#prompts(64))
    const [ids, margins] = [join(this.#folder, 'ids.json'), join(this.#folder, 'margins.json')]
    await this.#transformers(prompts, EQUAL_TOKENS, 1, ['--ids', ids, '--margins', margins, '--batch', '16'])
    const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as number[][]
    const [wanted, margin] = [read(ids), read(margins)]
    const { answers } = await this.#ours({ prompts, weights: 'fp32', newTokens: EQUAL_TOKENS, repeat: 1, answers: true })
    const parted = wanted.flatMap((row, i) => {
      const at = row.findIndex((id, j) => id !== answers![i]![j])
      return at < 0 ? [] : [{ row: i, at, margin: margin[i]![at]! }]
    })
    const differing = parted.filter(one => one.margin > NEAR_TIE)
    return { rows: wanted.length, same: wanted.length - parted.length, equal: wanted.length - differing.length, parted }
  }

  /** Of 40 short questions, those that 8 bits answer otherwise than exact arithmetic, greedily. */
  async changed(): Promise<object> {
    const countries = ['France', 'Germany', 'Italy', 'Spain', 'Japan', 'China', 'India', 'Brazil', 'Canada', 'Egypt']
    const questions = [
      (country: string) => `What is the capital of ${country}?`,
      (country: string) => `Name a food from ${country}.`,
      (country: string) => `Which continent is ${country} in?`,
      (country: string) => `What language is spoken in ${country}?`,
    ].flatMap(ask => countries.map(ask))
    const asked = questions.map(text => this.#encode(`<|im_start|>user\n${text}<|im_end|>\n<|im_start|>assistant\n`))
    const prompts = this.#write('prompts', asked)
    const options = { prompts, newTokens: 32, repeat: 1, stop: [this.#endOfTurn], batchSize: 8, answers: true }
    const exact = (await this.#ours({ ...options, weights: 'fp32' })).answers!
    const stored = (await this.#ours({ ...options, weights: 'stored' })).answers!
    const changed = exact.flatMap((ids, i) => (ids.join() === stored[i]!.join() ? [] : [i]))
    return { questions: exact.length, changed: changed.length }
  }

  /** Mean difference of the log-probabilities of llama.cpp's greedy tokens, weights at their stored width on both sides. */
  async distance(): Promise<object> {
    const rows = this.#prompts(16)
    const prompts = this.#write('prompts', rows)
    const theirs = await this.#llama(prompts, 32, 1, { logProbabilities: true })
    const score = this.#write('answers', theirs.answers!)
    const ours = await this.#ours({ prompts, weights: 'stored', newTokens: 1, repeat: 1, score })
    const differences = theirs.logProbabilities!.flatMap((row, i) =>
      row.map((x, j) => Math.abs(x - ours.logProbabilities![i]![j]!)),
    )
    return { tokens: differences.length, meanDifference: round(differences.reduce((a, b) => a + b) / differences.length) }
  }

  /** Resident memory after 100 and after 10,000 short generations. */
  async memory(): Promise<object> {
    const prompts = this.#write(
      'prompts',
      this.#prompts(64).map(ids => ids.slice(0, 12)),
    )
    const { memory } = await this.#ours({ prompts, weights: 'stored', newTokens: 2, repeat: 1, requests: 10_000, batchSize: 10 })
    // One sample every ten requests. The size swings by 5 % with what the collector has not yet freed: medians of twenty samples.
    const [early, late] = [median(memory!.slice(10, 30)), median(memory!.slice(-20))]
    const megabytes = (bytes: number) => round(bytes / 1e6)
    return {
      after100: megabytes(early),
      after10000: megabytes(late),
      most: megabytes(Math.max(...memory!)),
      growth: round(late / early - 1),
    }
  }

  /** Prompts that have nothing but the first `shared` tokens in common. */
  #prompts(rows: number, shared = 0): number[][] {
    const own = PROMPT_TOKENS - shared
    return Array.from({ length: rows }, (_, i) => [
      ...this.#stream.slice(0, shared),
      ...this.#stream.slice(shared + i * own, shared + (i + 1) * own),
    ])
  }

  #write(name: string, value: unknown): string {
    const path = join(this.#folder, `${name}.json`)
    writeFileSync(path, JSON.stringify(value))
    return path
  }

  async #inTurn(
    rows: readonly number[][],
    newTokens: number,
    {
      stop = [],
      repeat = rows.length === 1 ? 5 : 2,
      sides = this.#sides,
    }: { stop?: number[]; repeat?: number; sides?: Side[] } = {},
  ): Promise<Map<Side, Result[]>> {
    const prompts = this.#write('prompts', rows)
    const runs = new Map<Side, Result[]>(sides.map(side => [side, []]))
    for (let round = 0; round < this.rounds; round++) {
      for (const side of sides) {
        const batch = newTokens === 256 ? '16' : String(rows.length)
        const stopped = stop.length > 0 ? ['--stop', ...stop.map(String)] : []
        const result =
          side === 'transformers'
            ? await this.#transformers(prompts, newTokens, repeat, ['--batch', batch, ...stopped])
            : side === 'llama.cpp'
              ? await this.#llama(prompts, newTokens, repeat)
              : await this.#ours({ prompts, weights: side, newTokens, repeat, stop })
        runs.get(side)!.push(result)
      }
    }
    return runs
  }

  /** A figure of every side, and ours as a multiple of each peer's (`less`: less is better). */
  #compare(runs: ReadonlyMap<Side, Result[]>, figure: (result: Result) => number, less = false): object {
    const figures = Object.fromEntries([...runs].map(([side, results]) => [side, round(median(results.map(figure)))]))
    const ratios = [...runs].flatMap(([side, results]) =>
      (['transformers', 'llama.cpp'] as const).flatMap(peer => {
        const theirs = runs.get(peer)
        if (!theirs || (side !== 'stored' && side !== 'fp32')) return []
        const pairs = results.map((ours, i) => figure(ours) / figure(theirs[i]!))
        return [[`${side} / ${peer}`, round(median(less ? pairs.map(x => 1 / x) : pairs))] as const]
      }),
    )
    return { ...figures, ratios: Object.fromEntries(ratios) }
  }

  async #ours(options: GenerateOursOptions): Promise<Result> {
    const { lines } = await measure(
      process.execPath,
      ['dist/scripts/bench/generate-ours.js', JSON.stringify({ promptLookup: this.#promptLookup, ...options })],
      {
        quiet: true,
      },
    )
    return lines.at(-1) as unknown as Result
  }

  async #transformers(prompts: string, newTokens: number, repeat: number, more: readonly string[] = []): Promise<Result> {
    const command = [`${PEERS}/transformers_generate.py`, '--model', float32Folder(), '--prompts', prompts]
    const { lines } = await measure(
      python(),
      [...command, '--new-tokens', String(newTokens), '--repeat', String(repeat), ...more],
      { quiet: true },
    )
    return lines.at(-1) as unknown as Result
  }

  async #llama(prompts: string, newTokens: number, repeat: number, more: object = {}): Promise<Result> {
    if (!process.env.GRADPROMPT_BENCH_LLAMA) {
      throw new GradpromptError('peer-missing', 'The other side of the benchmark is not installed', {
        expected: 'node-llama-cpp in a folder of its own',
        hint: 'mkdir llama && cd llama && npm init -y && npm install node-llama-cpp; then GRADPROMPT_BENCH_LLAMA=$PWD',
      })
    }
    const options = JSON.stringify({ model: modelFile(), prompts, newTokens, repeat, ...more })
    const { lines } = await measure(process.execPath, [`${PEERS}/llama_cpp_generate.mjs`, options], { quiet: true })
    return lines.at(-1) as unknown as Result
  }
}
