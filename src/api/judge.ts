import { defaultSeed, type OptionNames, refuseUnknown } from '../config/call-options.js'
import type { DataNotice } from '../data/readers/reader.js'
import { GradpromptError, refuseAborted } from '../errors.js'
import { compareConditions } from '../evaluate/comparison.js'
import { endpointJudge, type JudgeEndpoint } from '../evaluate/judging/endpoint.js'
import { bothOrders, type Judge, modelJudge, usualInstruction } from '../evaluate/judging/judge.js'
import {
  type Agreement,
  type AnswerPair,
  agreementOf,
  type JudgedPairs,
  type Judgement,
  judgedPairs,
  judgementOf,
} from '../evaluate/judging/verdicts.js'
import type { RowResult } from '../evaluate/row-results.js'
import { exists } from '../files.js'
import { LanguageModel } from '../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, useModel } from '../model/with-model.js'
import { ownCommand } from '../own-command.js'
import { shuffle, streams } from '../random.js'
import { replaceText } from '../store/atomic.js'
import { type Compared, readCompared } from './compare.js'

/** Generated answers of two evaluations, compared by a judge: the library's `judgeRuns`, and `gradprompt compare --judge`. */

/** A model, the name of one, or an OpenAI-compatible endpoint. */
export type JudgeGiven = string | LanguageModel | JudgeEndpoint

export interface JudgeOptions extends ModelSettings {
  /** Who judges; of several, how far they agree is said as well. */
  readonly judges: readonly JudgeGiven[]
  /** What is asked of a judge, before both answers. */
  readonly instruction?: string | undefined
  /** Which evaluation of the runs; by default the one that they have in common. */
  readonly evaluation?: string | undefined
  /** Judge this many rows, drawn by seed. */
  readonly limit?: number | undefined
  /** Decides the rows of `limit` and the resamples; by default 13. */
  readonly seed?: number | undefined
  /** A file for what each judge said of each row: JSON lines, the first of each judge says who it is and what it was asked. */
  readonly judgements?: string | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

export interface JudgedRuns {
  readonly baseline: string
  readonly other: string
  readonly instruction: string
  readonly judges: readonly (JudgedPairs & {
    readonly name: string
    readonly identity: string
    /** Rows that did not fit its context. */
    readonly leftOut: number
    /** How often it took the first of two answers that were the same: 0.5 where the place says nothing; absent without rows. */
    readonly firstOfEqual: number
  })[]
  /** Between the judges, in their order: [i][j]. */
  readonly agreement?: readonly (readonly Agreement[])[]
}

const names = {
  ...modelSettingNames, judges: true, instruction: true, evaluation: true, limit: true, seed: true, judgements: true, signal: true,
  onProgress: true, onWarning: true,
} satisfies OptionNames<JudgeOptions> // biome-ignore format: a list

/** Rows whose first answer is shown twice, to see what the place does. */
const checked = 20

/**
 * Compares the generated answers of two evaluations over the same rows: which of both a judge prefers, each pair in both orders.
 *
 * ```ts
 * const { judges } = await judgeRuns(['runs/a', 'runs/b'], { judges: ['models/judge.gguf'] })
 * const [{ winRate, lengthControlled, consistency }] = judges
 * ```
 *
 * @throws GradpromptError `unknown-option`, `missing-option` without a judge, `no-texts` where answers were not generated, `file-exists`,
 *   `invalid-config`, those of `Endpoint.chat`, `aborted`, and as `compareRuns` and loading a model do
 */
export async function judgeRuns(runs: readonly [Compared, Compared], options: JudgeOptions): Promise<JudgedRuns> {
  refuseUnknown('judgeRuns', options, names)
  const { instruction = usualInstruction, seed = defaultSeed, judgements: output, signal, onProgress, onWarning } = options
  if (options.judges.length === 0) throw new GradpromptError('missing-option', 'nobody judges', { expected: 'one judge or more' })
  if (output !== undefined && (await exists(output)))
    throw new GradpromptError('file-exists', `there is already a file ${output}`, {
      found: output,
      expected: 'a new name: nothing is overwritten',
    })
  const { compared } = await readCompared(runs, options.evaluation)
  const [baseline, other] = compared as [(typeof compared)[number], (typeof compared)[number]]
  if (compared.some(({ seeds }) => seeds.length > 1))
    throw new GradpromptError('invalid-option', 'a judge compares one result with another, and here several seeds are pooled', {
      found: compared.map(({ name, seeds }) => `${name}: ${seeds.length}`).join(', '),
      expected: 'one run or file on each side',
    })
  // It refuses what is not of the same rows.
  compareConditions(compared, { seed })
  const pairs = pairsOf(baseline.name, baseline.seeds[0]!, other.name, other.seeds[0]!)
  const drawn = options.limit === undefined ? pairs : shuffle(pairs, seed, streams.limit).slice(0, options.limit)
  const rows = [...drawn].sort((a, b) => a.index - b.index)

  const results: JudgedRuns['judges'][number][] = []
  const said: Judgement[][] = []
  const lines: object[] = []
  for (const given of options.judges) {
    await using opened = await openJudge(given, options, { instruction, seed, signal })
    const { judge } = opened
    const told = await judged(judge, rows, { signal, onProgress: (done, total) => onProgress?.(done, total, judge.name) })
    const { judgements, asked, leftOut } = told
    if (judgements.length === 0)
      throw new GradpromptError('context-exceeded', `no pair of answers fits the context of the judge ${judge.name}`, {
        found: `${leftOut} pairs, all too long`,
        expected: 'a judge with a longer context',
      })
    const result = judgedPairs(judgements, { seed, asked })
    const firstOfEqual = await firstOfEqualAnswers(judge, rows)
    results.push({ name: judge.name, identity: judge.identity, leftOut, firstOfEqual, ...result })
    said.push(judgements)
    lines.push(
      { judge: judge.name, identity: judge.identity, instruction, seed, baseline: baseline.name, other: other.name },
      ...judgements,
    )
    if (leftOut > 0)
      onWarning?.({
        code: 'pairs-too-long',
        message: `${leftOut} pairs do not fit the context of ${judge.name}, and are left out`,
      })
    if (asked.length > 0 && result.consistency === 0)
      onWarning?.({
        code: 'judge-answers-alike',
        message: `${judge.name} decides no pair: asked in both orders it ${
          result.firstRate === 1
            ? 'always takes the first answer'
            : result.firstRate === 0
              ? 'always takes the second answer'
              : 'never agrees with itself'
        }`,
      })
  }
  if (output !== undefined) await replaceText(output, lines.map(line => `${JSON.stringify(line)}\n`).join(''))
  const shared = sharedRows(said)
  return {
    baseline: baseline.name,
    other: other.name,
    instruction,
    judges: results,
    ...(said.length > 1 && { agreement: shared.map(one => shared.map(another => agreementOf(one, another))) }),
  }
}

/** @throws GradpromptError `no-texts` */
function pairsOf(baseline: string, before: readonly RowResult[], other: string, after: readonly RowResult[]): AnswerPair[] {
  const places = new Map(after.map(row => [row.index, row]))
  const textOf = (name: string, { text, index }: RowResult): string => {
    if (text !== undefined) return text
    throw new GradpromptError('no-texts', `${name} has no generated answers to judge`, {
      found: `no text in row ${index}`,
      expected: 'answers that were generated',
      hint: ownCommand`evaluate RUN --generate --data FILE`,
    })
  }
  return before.map(row => {
    const same = places.get(row.index)!
    const input = row.input ?? row.prompt ?? same.input ?? same.prompt ?? ''
    return { index: row.index, input, baseline: textOf(baseline, row), other: textOf(other, same) }
  })
}

async function judged(
  judge: Judge,
  pairs: readonly AnswerPair[],
  { signal, onProgress }: { signal: AbortSignal | undefined; onProgress: (done: number, total: number) => void },
): Promise<{ judgements: Judgement[]; asked: Judgement[]; leftOut: number }> {
  const judgements: Judgement[] = []
  const asked: Judgement[] = []
  let leftOut = 0
  for (const [done, pair] of pairs.entries()) {
    refuseAborted(signal)
    onProgress(done, pairs.length)
    // Nobody needs to be asked about two answers that are the same.
    if (pair.baseline === pair.other) {
      judgements.push(judgementOf(pair, 0.5, 0.5))
      continue
    }
    const [baselineFirst, otherFirst] = bothOrders(pair)
    const [one, two] = [await judge.prefer(baselineFirst), await judge.prefer(otherFirst)]
    if (one === null || two === null) {
      leftOut++
      continue
    }
    const judgement = judgementOf(pair, one, two)
    judgements.push(judgement)
    asked.push(judgement)
  }
  return { judgements, asked, leftOut }
}

/** How often a judge takes the first of two answers that are the same. */
async function firstOfEqualAnswers(judge: Judge, pairs: readonly AnswerPair[]): Promise<number> {
  const said: number[] = []
  for (const { input, baseline } of pairs.slice(0, checked)) {
    const first = await judge.prefer({ input, first: baseline, second: baseline })
    if (first !== null) said.push(first === 0.5 ? 0.5 : Number(first > 0.5))
  }
  return said.length === 0 ? 0.5 : said.reduce((sum, value) => sum + value, 0) / said.length
}

/** Of each judge, the rows that all have judged. */
function sharedRows(said: readonly (readonly Judgement[])[]): Judgement[][] {
  const known = said.map(one => new Set(one.map(({ index }) => index)))
  return said.map(one => one.filter(({ index }) => known.every(indices => indices.has(index))))
}

async function openJudge(
  given: JudgeGiven,
  settings: ModelSettings,
  asking: { readonly instruction: string; readonly seed: number; readonly signal: AbortSignal | undefined },
): Promise<{ readonly judge: Judge } & AsyncDisposable> {
  if (typeof given === 'object' && !(given instanceof LanguageModel))
    return { judge: await endpointJudge(given, asking), async [Symbol.asyncDispose]() {} }
  const used = await useModel(given, firstOf(settings))
  return { judge: modelJudge(used.model, asking.instruction), [Symbol.asyncDispose]: () => used[Symbol.asyncDispose]() }
}
