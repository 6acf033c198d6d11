import { z } from 'zod'
import { GradpromptError } from '../../../errors.js'
import type { Member } from '../../moves/member.js'
import type { SearchContext, SearchMethod } from '../../moves/method.js'
import { draw } from '../../space/candidates.js'
import { type Classes, caseAsks } from '../../writing/case-asks.js'
import { type Case, casesOf, criticOptions, roleOption, whole } from '../../writing/critic.js'
import { invented, ROUNDS } from '../../writing/invented-cases.js'
import { admitted, founder, goodness, lossOf, measured, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, refusalFigures } from '../../writing/propose.js'

export const ipcSchema = z.strictObject({
  type: z.literal('ipc'),
  ...criticOptions,
  maxPromptTokens: criticOptions.maxPromptTokens.default(150),
  maxWrittenTokens: criticOptions.maxWrittenTokens.default(240),
  task: z
    .string()
    .trim()
    .min(1)
    .describe('what is to be done with a text, in words: the first prompt, unless search.prompt is another'),
  meanings: z.record(z.string(), z.string().min(1)).default({}).describe('what a class means, by its word in the answer'),
  judge: roleOption('labels the texts').describe(
    'who labels the texts: another model on this machine, or { url, model, key } of an OpenAI-compatible endpoint, never the searched model; by default you do, in cases.csv of the run',
  ),
  maxCases: z.int().min(1).default(50).describe('texts that are made in all, at most'),
  cases: z.int().min(1).default(10).describe('texts of a batch, as many of each class'),
  maxCaseTokens: z.int().min(8).default(96).describe('tokens of a text, at most'),
  similar: z.number().positive().max(1).default(0.6).describe('texts that share so much of their runs of three words are one'),
  warmUp: z.int().min(1).default(4).describe('prompts to begin with; the last of them is the first that can be the answer'),
  patience: z.int().min(0).default(10).describe('steps without a better prompt, behind the warm-up, before the search ends'),
  minDelta: z.number().min(0).default(0.01).describe('share of right answers by which a prompt has to be better'),
  history: z.int().min(1).default(4).describe('prompts that the optimiser sees with their scores'),
  mistakes: z.int().min(1).default(4).describe('mistakes of each class that are analysed'),
})

type Options = z.output<typeof ipcSchema>

type State = {
  readonly pool: readonly Member[]
  /** Questions that were there before any was made. */
  readonly real: number
  /** The last batch that was made, counted from 1. */
  readonly batch: number
  /** Texts that were made. */
  readonly made: number
  /** Whether the labels of that batch are still to come. */
  readonly isDue: boolean
  readonly patience: number
  /** Whether the last rewrite came to a new prompt. */
  readonly isNew: boolean
}

/**
 * What a step does to the patience: one more where the newest prompt is not better, by more than `minDelta`, than the best of those before it that
 * are behind the warm-up.
 * @param scores of all prompts, the newest last
 */
export function patienceAfter(
  patience: number,
  scores: readonly number[],
  { warmUp, minDelta }: Pick<Options, 'warmUp' | 'minDelta'>,
): number {
  if (scores.length <= warmUp) return 0
  const best = Math.max(...scores.slice(warmUp - 1, -1))
  return scores.at(-1)! - best < minDelta ? patience + 1 : 0
}

/** Prompts that may be the answer: those from the last of the warm-up on; before there are any, all. */
export const finalists = <T>(pool: readonly T[], warmUp: number): readonly T[] =>
  pool.length < warmUp ? pool : pool.slice(warmUp - 1)

/** What the optimiser sees: the last prompts, or behind the warm-up at every third the best, the worst first. */
export function shownHistory<T extends { readonly score: number }>(
  pool: readonly T[],
  { warmUp, history }: Pick<Options, 'warmUp' | 'history'>,
): readonly T[] {
  if (pool.length < warmUp || pool.length % 3 > 0) return pool.slice(-history)
  return [...finalists(pool, warmUp)].sort((a, b) => a.score - b.score).slice(-history)
}

const classesOf = ({ task, meanings }: Options, { objective }: SearchContext): Classes => ({
  task,
  meanings,
  labels: objective.options.labels!.candidates,
})

/**
 * A task in words becomes a prompt, with no data: texts are made that lie where one class ends and another begins, somebody says their labels,
 * the prompt is rewritten after its mistakes on them, and harder texts are made after these. Every prompt is scored on every text, later ones
 * too, so that the scores compare; an answer that cannot be read is a wrong one.
 */
export const ipc: SearchMethod<Options, State> = {
  type: 'ipc',
  paper:
    'Levi et al. 2024, "Intent-based Prompt Calibration: Enhancing prompt optimization with synthetic boundary cases" (arXiv 2402.03099)',
  steps: 40,
  defaults: ({ task }) => ({ prompt: task, vocabulary: 'any', measure: 'mistakes' }),
  writes: true,
  judges: true,
  drawsRows: true,
  needs: ({ optimizer, judge, maxCaseTokens }) => ({ writer: optimizer, judge, cases: { tokens: maxCaseTokens } }),
  forecast: ({ maxCases, judge }, { questions, steps }) => ({
    answers: (questions + maxCases) * (2 * steps + 1),
    written: 2 * steps + ROUNDS * maxCases,
    ...(judge !== undefined && { judged: maxCases }),
  }),

  async start(options, context) {
    const real = context.questions.length
    const made = await context.cases!.keep(1, () =>
      invented(
        classesOf(options, context),
        { ...options, tried: [], real, cases: Math.min(options.maxCases, options.cases) },
        context,
      ),
    )
    const { added } = await labelled(1, options, context)
    if (real + added === 0) throw nothingWritten(made)
    return { pool: [founder(context)], real, batch: 1, made, isDue: false, patience: 0, isNew: true }
  },

  async step(state, options, context) {
    const { real } = state
    const { added, left } = state.isDue ? await labelled(state.batch, options, context) : { added: 0, left: 0 }
    const rows = context.questions
    const pool = await measured(state.pool, rows, context)
    const scores = pool.map(member => goodness(member, rows, context))
    const newest = pool.at(-1)!
    const patience = state.isNew ? patienceAfter(state.patience, scores, options) : state.patience + 1
    const figures = { cases: rows.length - real, added, left, patience, newest: scores.at(-1)! }
    const report = (all: readonly Member[], next: Omit<State, 'pool' | 'real'>, more: object, isDone = false) => {
      const tried = finalists(all, options.warmUp)
      const [best] = [...tried].sort((a, b) => lossOf(a, rows) - lossOf(b, rows) || a.id - b.id)
      const own: State = { pool: all, real, ...next }
      const outcome = poolOutcome(own, all, tried, rows, context, { ...figures, ...more }, { best: best!, done: isDone })
      return { ...outcome, renewed: true }
    }
    if (patience > options.patience)
      return report(
        pool,
        { batch: state.batch, made: state.made, isDue: false, patience, isNew: false },
        refusalFigures([]),
        true,
      )
    const classes = classesOf(options, context)
    const text = context.space.wordingOf(newest.ids)
    const answers = await casesOf(newest.ids, context, rows)
    const wrong = answers.filter(({ isRight }) => !isRight)
    const analysis = wrong.length === 0 ? undefined : await analysed(classes, text, scores.at(-1)!, wrong, options, context)
    const tried = pool.map((member, i) => ({ text: context.space.wordingOf(member.ids), score: scores[i]!, member }))
    const history = shownHistory(tried, options)
    const { texts, figures: refusals } = await proposed([caseAsks.calibrate(classes, history, analysis)], options, context)
    const drafts = texts.flatMap(own =>
      own === undefined ? [] : [{ parents: [newest.id], origin: 'calibration', components: [own], demos: [] }],
    )
    const { members, refused } = admitted(drafts, pool, context)
    const fresh = await measured(members, rows, context)
    const all = updated(pool, fresh)
    const room = options.maxCases - state.made
    const isDue = room > 0 && context.step + 1 < context.steps
    const batch = state.batch + Number(isDue)
    let { made } = state
    if (isDue) {
      const wanted = { ...options, tried: history.map(({ member }) => member), real, cases: Math.min(room, options.cases) }
      made += await context.cases!.keep(batch, () => invented(classes, wanted, context))
    }
    return report(all, { batch, made, isDue, patience, isNew: fresh.length > 0 }, refusalFigures([refusals, refused]))
  },
}

/** A batch with its labels, as questions. */
function labelled(batch: number, options: Options, context: SearchContext) {
  const { judge } = context
  const classes = classesOf(options, context)
  return context.cases!.settle(
    batch,
    judge &&
      (texts =>
        judge.choose(
          texts.map(text => caseAsks.label(classes, text)),
          classes.labels,
        )),
  )
}

/** What goes wrong, in words: how often which class is taken for which, and a few mistakes of each. */
async function analysed(
  classes: Classes,
  text: string,
  score: number,
  wrong: readonly Case[],
  options: Options,
  context: SearchContext,
): Promise<string> {
  const counts = new Map<string, [string, string, number]>()
  for (const { output, said = 'nothing' } of wrong) {
    const taken = said.length > 40 ? 'something else' : said
    const entry = counts.get(`${output} ${taken}`) ?? [output, taken, 0]
    counts.set(`${output} ${taken}`, [entry[0], entry[1], entry[2] + 1])
  }
  const shown = ofEach(wrong, options.mistakes, classes.labels, context)
  const confusion = [...counts.values()].sort(([, , a], [, , b]) => b - a)
  const ask = caseAsks.analyse(classes, text, score, confusion, shown)
  const [answer] = await context.writer!.write([ask], options)
  return whole(ask, answer!)
}

/** A few of each class, drawn. */
function ofEach(cases: readonly Case[], count: number, labels: readonly string[], context: SearchContext): Case[] {
  return labels.flatMap((label, i) => {
    const own = cases.filter(({ output }) => output === label)
    return draw(own, Math.min(count, own.length), context.random(1, i))
  })
}

const nothingWritten = (made: number) =>
  new GradpromptError('nothing-written', 'there is no text to begin with', {
    found:
      made === 0
        ? 'no text of the first batch that is new, of use, and more than the name of a class'
        : `no label for any text of the first batch (${made}): all were left out`,
    expected: 'one at least',
    hint: `${made === 0 ? 'a larger search.optimizer' : 'another search.judge, labels of your own'}, rows of your own in data.train, or other texts in cases.csv of the run`,
    exitCode: 1,
  })
