import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { GradpromptError } from '../../src/errors.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { mean } from '../../src/numbers.js'
import { packageRoot } from '../../src/package-root.js'
import { parseSearchConfig, type SearchConfigInput } from '../../src/search/config.js'
import { rankCorrelation } from '../../src/search/moves/drift.js'
import { prepareSearch } from '../../src/search/run/job.js'
import { readSearchTask } from '../../src/search/run/task.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import { rowsOf, substituted, substitutionScores } from '../../src/search/space/candidates.js'
import { appendLine, readLines } from '../study/lines.js'
import { pairedMean } from '../study/paired.js'
import { float32Folder, PEERS, python } from './peer.js'
import { type Measured, measure, measurePart, median, round } from './processes.js'
import { type Problem, problems } from './search-problems.js'

export const usage = `npm run bench -- search [--rounds 3] [--steps 6] [--only step,memory,gradient,losses,greater] [--problems 10] [--loss-steps 50] [--questions 18] [--without-race]

GCG with the bundled model beside nanoGCG 0.3: the same messages, targets, first string, width and options, both sides in turn. The peer
needs an environment of its own (scripts/bench/peers/nanogcg_steps.py): GRADPROMPT_NANOGCG_PYTHON names its Python. \`losses\` takes hours:
what is finished is a line of scripts/study/results/gcg-losses.jsonl, so it goes on where it was stopped.

\`greater\` compares a step of GReaTer over reasoning on GSM8K with that of the released code (scripts/bench/peers/greater_step.py, run by
GRADPROMPT_BENCH_PYTHON), once a round: the peer takes some five minutes. \`--without-race\` also takes a step in which every candidate is
answered on every question.`

const WIDTH = 128
const LOSSES = 'scripts/study/results/gcg-losses.jsonl'
const FIRST = ' x'.repeat(20)

export async function run(args: readonly string[]): Promise<object> {
  process.chdir(packageRoot())
  const option = (name: string, fallback: string) => (args.includes(name) ? args[args.indexOf(name) + 1]! : fallback)
  const only = option('--only', 'step,memory,gradient').split(',').filter(Boolean)
  const bench = new SearchBench(Number(option('--rounds', '3')), Number(option('--steps', '6')))
  const results: Record<string, unknown> = {
    machine: `${cpus()[0]?.model}, ${cpus().length} cores`,
    rounds: bench.rounds,
    steps: bench.steps,
  }
  const parts: Record<string, () => Promise<object>> = {
    step: () => bench.step(),
    memory: () => bench.memory(),
    gradient: () => bench.gradient(),
    greater: () => bench.greater(Number(option('--questions', '18')), args.includes('--without-race')),
    losses: () => bench.losses(Number(option('--problems', '10')), Number(option('--loss-steps', '50'))),
  }
  try {
    for (const name of only) {
      const part = parts[name]
      if (part === undefined)
        throw new GradpromptError('unknown-option', `there is no part ${name}`, { expected: Object.keys(parts).join(', ') })
      results[name] = await measurePart(`search: ${name}`, part)
    }
    return results
  } finally {
    bench.close()
  }
}

/** What a step takes and what it generates. */
interface Step {
  readonly seconds: number
  readonly tokens: number
}

/** The best losses of both sides for one target: a line of `LOSSES`. */
interface LossPair {
  readonly target: string
  readonly width: number
  readonly steps: number
  readonly ours: number
  readonly peer: number
}

class SearchBench {
  readonly #folder = mkdtempSync(join(tmpdir(), 'gradprompt-bench-'))
  #files = 0
  /** The first is not timed: it opens the programs. */
  readonly #reasoningSteps = 4

  constructor(
    readonly rounds: number,
    readonly steps: number,
  ) {}

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Seconds of a step, median over all but the first. */
  async step(): Promise<object> {
    const seconds: { ours: number; peer: number }[] = []
    for (let round = 0; round < this.rounds; round++) {
      const problem = problems[round % problems.length]!
      const peer = resultOf(await this.#peer([problem], this.steps)).medianStep as number
      seconds.push({ peer, ours: median(stepSeconds(await this.#ours([problem], this.steps))) })
    }
    return {
      secondsPerStep: {
        ours: round(median(seconds.map(({ ours }) => ours))),
        peer: round(median(seconds.map(({ peer }) => peer))),
      },
      ratio: round(median(seconds.map(({ ours, peer }) => peer / ours))),
    }
  }

  /** Peak memory of both sides' process trees over three steps. */
  async memory(): Promise<object> {
    const bytes: { ours: number; peer: number }[] = []
    for (let i = 0; i < this.rounds; i++) {
      const peer = await this.#peer([problems[0]!], 3, [], true)
      const ours = await this.#ours([problems[0]!], 3, true)
      bytes.push({ ours: ours.peakMemoryBytes, peer: peer.peakMemoryBytes })
    }
    return {
      peakMemoryMB: {
        ours: round(median(bytes.map(({ ours }) => ours)) / 1e6),
        peer: round(median(bytes.map(({ peer }) => peer)) / 1e6),
      },
      ratio: round(median(bytes.map(({ ours, peer }) => ours / peer))),
    }
  }

  /** Gradient scores of every allowed token at every position against the peer's, at the first state. */
  async gradient(): Promise<object> {
    const out = join(this.#folder, 'gradient.safetensors')
    await this.#peer([problems[0]!], 1, ['--gradient', out, '--width', '2'])
    const config = parseSearchConfig(this.#config([problems[0]!], 1))
    const model = await LanguageModel.load(config.model)
    const job = await prepareSearch(config, await readSearchTask(config), model)
    const { space, rows, programs, allowed } = job
    const { vocabSize, hiddenSize } = model.config
    const objective = new Objective(model, programs, new Budget({}, () => 0), {
      free: space.free,
      fluency: 0,
    })
    const { gradient } = await objective.gradient([space.start], rows)
    const products = await programs.project(rowsOf(gradient, space.free, hiddenSize))
    const [own, theirs] = [products, await peerGradient(out)].map(values =>
      substitutionScores(values, space.start, space.free, vocabSize),
    )
    const pairs = space.free.flatMap((position, j) =>
      Array.from(allowed, to => ({
        ...substituted(space.start, [{ position, to }], own![j * vocabSize + to]!),
        loss: theirs![j * vocabSize + to]!,
        rowLosses: [],
        exact: false,
        exactRows: 0,
      })),
    )
    await programs.dispose()
    await model.dispose()
    return { candidates: pairs.length, rankCorrelation: rankCorrelation(pairs) }
  }

  /** Best loss after some steps, problem by problem, and the mean paired difference to the peer's with its 95 % interval. */
  async losses(count: number, steps: number): Promise<object> {
    const known = readLines<LossPair>(LOSSES).filter(line => line.width === WIDTH && line.steps === steps)
    const pairs: LossPair[] = []
    for (const problem of problems.slice(0, count)) {
      const { target } = problem
      const finished = known.find(line => line.target === target)
      if (finished === undefined) {
        const peer = resultOf(await this.#peer([problem], steps)).bestLosses as number[]
        const own = (await this.#ours([problem], steps)).lines.findLast(line => line.event === 'step') as {
          best: { objective: number }
        }
        const line: LossPair = { target, width: WIDTH, steps, ours: own.best.objective, peer: peer[0]! }
        appendLine(LOSSES, line)
        console.error(`bench search: ${JSON.stringify(line)}`)
        pairs.push(line)
      } else pairs.push(finished)
    }
    const differences = pairs.map(({ ours, peer }) => ours - peer)
    return { steps, losses: pairs, difference: pairedMean(differences) }
  }

  /** A step over the same questions from the same prompt: shortlist of 3, at most 256 tokens of reasoning. */
  async greater(questions: number, withoutRace: boolean): Promise<object> {
    const data = join(this.#folder, 'gsm8k.jsonl')
    writeFileSync(data, `${readFileSync('examples/gsm8k/train.jsonl', 'utf8').split('\n').slice(0, questions).join('\n')}\n`)
    const rounds: { peer: Step; ours: Step; whole?: Step }[] = []
    for (let round = 0; round < this.rounds; round++) {
      const args = ['--model', float32Folder(), '--task', data, '-n', String(questions)]
      const result = resultOf(await measure(python(), [`${PEERS}/greater_step.py`, ...args], { quiet: true }))
      const peer = { seconds: result.total_seconds as number, tokens: result.generated_tokens as number }
      console.error(`bench search: ${JSON.stringify({ peer: result })}`)
      const ours = await this.#oursOnReasoning(data, questions, {})
      console.error(`bench search: ${JSON.stringify({ ours })}`)
      const whole = withoutRace ? await this.#oursOnReasoning(data, questions, { blocks: 1 }) : undefined
      rounds.push({ peer, ours, ...(whole && { whole }) })
    }
    const compared = (side: 'ours' | 'whole') => {
      const of = (pick: (step: Step, peer: Step) => number) =>
        round(median(rounds.flatMap(({ peer, [side]: own }) => (own ? [pick(own, peer)] : []))))
      return {
        secondsPerStep: of(({ seconds }) => seconds),
        ratio: of(({ seconds }, peer) => peer.seconds / seconds),
        generatedTokens: of(({ tokens }) => tokens),
        tokenRatio: of(({ tokens }, peer) => peer.tokens / tokens),
      }
    }
    const theirs = (pick: (step: Step) => number) => round(median(rounds.map(({ peer }) => pick(peer))))
    return {
      questions,
      peer: { secondsPerStep: theirs(({ seconds }) => seconds), generatedTokens: theirs(({ tokens }) => tokens) },
      ours: compared('ours'),
      ...(withoutRace && { withoutRace: compared('whole') }),
    }
  }

  async #oursOnReasoning(data: string, questions: number, options: object): Promise<Step> {
    const config = join(this.#folder, `greater-${this.#files++}.json`)
    const search = {
      ...{
        type: 'greater',
        extractor: '\nTherefore, the final answer is',
        questions,
        steps: this.#reasoningSteps,
        mu: 3,
        topk: 10,
      },
      ...{ maxNewTokens: 256, ...options },
    }
    const template = [{ role: 'user', content: '{question} Use{prompt}' }]
    writeFileSync(
      config,
      JSON.stringify({ data: { train: data, task: 'gsm8k' }, template, answer: ' {answer}', answerEnd: 'none', search }),
    )
    const command = ['dist/src/cli/main.js', 'search', '--config', config, '--json', '--out', `${config}.run`]
    const { lines } = await measure(process.execPath, command, { quiet: true })
    const steps = lines.filter(line => line.event === 'step')
    const tokens = steps.map(line => line.generatedTokens as number)
    // Means: a step behind an accepted prompt costs a gradient more.
    return {
      seconds: mean(stepSeconds({ lines })),
      tokens: (tokens.at(-1)! - tokens[0]!) / (tokens.length - 1),
    }
  }

  #config(chosen: readonly Problem[], steps: number): SearchConfigInput {
    const file = join(this.#folder, `problems-${this.#files++}.json`)
    writeFileSync(file, JSON.stringify(chosen))
    return {
      data: { train: file },
      template: [{ role: 'user', content: '{message}{prompt}' }],
      answer: '{target}',
      // The peer scores the target alone.
      answerEnd: 'none',
      search: { type: 'gcg', prompt: FIRST, steps, searchWidth: WIDTH, topk: 256, questions: chosen.length },
    }
  }

  #ours(chosen: readonly Problem[], steps: number, memory = false): Promise<Measured> {
    const config = join(this.#folder, `config-${this.#files}.json`)
    writeFileSync(config, JSON.stringify(this.#config(chosen, steps)))
    const command = [
      'dist/src/cli/main.js',
      'search',
      '--config',
      config,
      '--json',
      '--out',
      join(this.#folder, `run-${this.#files}`),
    ]
    return measure(process.execPath, command, { quiet: true, memory })
  }

  #peer(chosen: readonly Problem[], steps: number, more: readonly string[] = [], memory = false): Promise<Measured> {
    const file = join(this.#folder, `peer-${this.#files++}.json`)
    writeFileSync(file, JSON.stringify(chosen))
    const common = ['--model', float32Folder(), '--problems', file, '--steps', String(steps), '--init', FIRST]
    return measure(nanogcgPython(), [`${PEERS}/nanogcg_steps.py`, ...common, ...more], { quiet: true, memory })
  }
}

const resultOf = ({ lines }: Measured) => lines.findLast(line => line.event === 'result')!

/** Seconds from one step's event to the next. */
function stepSeconds({ lines }: Pick<Measured, 'lines'>): number[] {
  const times = lines.filter(line => line.event === 'step').map(line => line.seconds as number)
  return times.slice(1).map((time, i) => time - times[i]!)
}

/** The peer's gradient is of the loss with respect to one-hot tokens: the products that ours are. */
async function peerGradient(path: string): Promise<Float32Array> {
  const file = await openSafetensors(path)
  try {
    return await file.read('gradient')
  } finally {
    await file.close()
  }
}

/** @throws GradpromptError `peer-missing` */
function nanogcgPython(): string {
  const python = process.env.GRADPROMPT_NANOGCG_PYTHON ?? 'python3'
  if (spawnSync(python, ['-c', 'import nanogcg'], { stdio: 'ignore' }).status === 0) return python
  throw new GradpromptError('peer-missing', 'The other side of the benchmark is not installed', {
    found: `${python} without nanogcg`,
    expected: 'a Python that has it',
    hint: 'python3 -m venv nanogcg && nanogcg/bin/pip install nanogcg==0.3.0 transformers==4.47.1; then GRADPROMPT_NANOGCG_PYTHON=nanogcg/bin/python',
  })
}
