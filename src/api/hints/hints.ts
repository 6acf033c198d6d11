import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type OptionNames, refuseUnknown, requireCounts } from '../../config/call-options.js'
import { completeTexts } from '../../data/describe/suggest.js'
import type { DataRecord } from '../../data/readers/records.js'
import { readTask, type Task } from '../../data/task.js'
import { compileMessages } from '../../data/texts/rendering.js'
import { compileTemplate } from '../../data/texts/template.js'
import { classWords } from '../../data/texts/verbalizer.js'
import { GradpromptError } from '../../errors.js'
import { plainAnswer } from '../../evaluate/answers/agreement.js'
import { rules } from '../../evaluate/answers/extraction.js'
import { isFile } from '../../files.js'
import { bestFixed, leaks } from '../../hints/choice.js'
import type { HintsFile } from '../../hints/file.js'
import {
  askFor,
  type HintForm,
  type HintKind,
  hintIn,
  hintKinds,
  policyTemplate,
  requireSay,
  withHint,
} from '../../hints/form.js'
import { firstOf, useModel } from '../../model/with-model.js'
import { replaceText } from '../../store/atomic.js'
import { acquireLock } from '../../store/lock.js'
import { hintsName } from '../../store/other-folders.js'
import { freeFolder } from '../../store/run-folder.js'
import type { Hearer } from '../../store/run-session.js'
import { questionOf } from '../../strategies/inputs.js'
import { type Config, loadConfigEntries, parseConfig } from '../../train/config.js'
import type { GradpromptEvent } from '../../train/events.js'
import { separate } from '../given.js'
import type { TuneInput } from '../tune.js'
import { partsOf, refuseOthers, writeAsked } from './asked.js'
import { refuseUnfit } from './fit.js'
import { type HintedRow, Likelihoods } from './likelihoods.js'
import { type Condition, type Measured, measured } from './measure.js'
import { learnRounds, type RoundFigures, type Rounds, type TrainingRow } from './rounds.js'
import { readResult } from './stored.js'
import { write } from './texts.js'

/**
 * A prompt that makes the model write a hint for each input, behind which the same model, without the prompt, answers (directional stimulus
 * prompting, Li et al. 2023, arXiv 2302.11520; of roles, self-prompt tuning, 2024, arXiv 2407.08995): the library's `hints`.
 */

export interface HintsProgress {
  /** Where the call goes on: the same one with this folder as `out`. */
  readonly folder: string
  readonly what: string
  readonly done: number
  readonly total: number
}

export interface HintsOptions extends Hearer<GradpromptEvent, HintsProgress> {
  /** What is written: `keywords`, the default, or `role`. */
  readonly kind?: HintKind | undefined
  /** What the policy is told behind the text, in words of your own. */
  readonly instruction?: string | undefined
  /** How a hint stands before the text, with `{hint}` in it; by default as the kind has it, of an instruction of your own `Hint: {hint}`. */
  readonly say?: string | undefined
  /** Texts that are sampled for each training row in each round; by default 8. */
  readonly samples?: number | undefined
  /** Rounds of writing and learning; by default 2. */
  readonly rounds?: number | undefined
  /** Of a hint; by default 40. */
  readonly maxHintTokens?: number | undefined
  /** Texts are sampled at; by default 0.7: at 1 a small model writes much that is no hint. */
  readonly temperature?: number | undefined
  /** Texts among which the one for all rows is chosen; by default 16. */
  readonly fixedTexts?: number | undefined
}

export interface LearnedHints extends Measured {
  readonly folder: string
  readonly model: string
  readonly instruction: string
  readonly say: string
  readonly trainingRows: number
  /** Of a task of classes: the word of each. */
  readonly classes?: readonly string[] | undefined
  /** The rows that the figures are of. */
  readonly of: 'test' | 'dev'
  readonly rounds: readonly RoundFigures[]
  /** The folder of the run that was learned last; null where no text made any answer likelier: the method is then the model as it is. */
  readonly policy: string | null
  /** The one text for all rows, and its mean gain over the training rows; '' where none gains. */
  readonly fixed: { readonly hint: string; readonly gain: number }
}

const names = {
  kind: true, instruction: true, say: true, samples: true, rounds: true, maxHintTokens: true, temperature: true, fixedTexts: true,
  onEvent: true, onProgress: true, signal: true,
} satisfies OptionNames<HintsOptions> // biome-ignore format: a list

/**
 * Learns a policy that writes hints. In each round texts are sampled for every training row, each is scored by its likelihood gain
 * u(z) = log p(y | x, z) - log p(y | x), those that say the answer are left out, and an ordinary run of `tune` learns the best text of each
 * row whose u is above 0. What comes of it is measured on test or dev rows, beside no hint, one text for all rows, and the policy as it was
 * before. All of it stands in a folder: the same call goes on with one that was stopped, and the strategy `hints` answers with it.
 *
 * ```ts
 * const { conditions, differences } = await hints({ model, data, template, answer, out: 'runs/hints' }, { kind: 'keywords' })
 * await generate({ inputs, strategy: { type: 'hints', from: 'runs/hints' } })
 * ```
 *
 * @param given a config as of `tune`: its task is what is answered, its method and training are those of the policy's prompt
 * @throws GradpromptError `invalid-config`, `no-rows` (neither test nor dev), `unsupported-template`, `other-hints` (the folder is of another
 *   call), `run-corrupt` (its files are damaged), and as `tune`, `generate` and `evaluate` do
 */
export async function hints(given: TuneInput, options: HintsOptions = {}): Promise<LearnedHints> {
  refuseUnknown('hints', options, names)
  const { samples = 8, rounds = 2, temperature = 0.7, fixedTexts = 16, signal, onEvent } = options
  const form = formOf(options)
  requireCounts({ samples, rounds, maxHintTokens: form.maxHintTokens, fixedTexts })
  if (!(temperature > 0)) throw invalid('temperature is not valid', String(temperature), 'more than 0: texts have to differ')
  const { input, model: open, rows: inMemory } = await separate(given)
  const whole = typeof input === 'object' && input !== null ? await completeTexts(await loadConfigEntries(input), inMemory.train) : input // biome-ignore format: one line
  const config = parseConfig(whole)
  refuseUnfit(config, whole)
  withHint(config.template, form)
  const task = await readTask(config, inMemory)
  const of = task.test.length > 0 ? 'test' : 'dev'
  const tested = of === 'test' ? task.test : task.scored
  if (tested.length === 0)
    throw new GradpromptError('no-rows', 'there are no rows to measure hints on', {
      found: 'neither test nor dev rows',
      expected: 'data.test, data.dev or data.split: rows that nothing is learned of',
    })
  for (const notice of task.notices) onEvent?.({ event: 'warning', ...notice })
  const out = config.out ?? (await freeFolder('runs', 'hints'))
  await mkdir(out, { recursive: true })
  const own = { ...form, samples, rounds, temperature, fixedTexts }
  const asked = partsOf(config, own, { 'training rows': task.train, 'measured rows': tested })
  await refuseOthers(out, asked)
  await using _lock = await acquireLock(join(out, 'lock'))
  if (await isFile(join(out, hintsName))) return await readResult(out)

  const onProgress = (what: string, done: number, total: number) => options.onProgress?.({ folder: out, what, done, total })
  onProgress('loading', 0, 1)
  await using used = await useModel(open ?? config.model, open === undefined ? firstOf(config) : {})
  const { model } = used
  await refuseOthers(out, asked, model.hash)
  const likelihoods = new Likelihoods({ model, config, task, form, out, signal, onProgress })
  const common = { model, config, form, out, signal, onProgress }
  const [train, measuredRows] = [rowsOf(task.train, config, task), rowsOf(tested, config, task)]
  // A call that fails on a row of its own has no claim to the folder.
  likelihoods.require([...train, ...measuredRows])
  await writeAsked(out, { asked, model: model.hash, ...own })
  const learned = await learnRounds({ ...common, rows: train, likelihoods, samples, rounds, temperature, onEvent })
  if (learned.policy === undefined)
    onEvent?.({
      event: 'warning',
      code: 'no-gain',
      message:
        'no text made the answer of any training row likelier: nothing is learned, and inputs are answered as they are, by the base model',
    })
  const fixed = await fixedHint(train, learned, likelihoods, fixedTexts)
  const conditions = await conditionsOf(measuredRows, { ...common, learned, fixed: fixed.hint, likelihoods })
  const result: LearnedHints = {
    ...{ folder: out, model: model.name, instruction: form.instruction, say: form.say, trainingRows: train.length, of },
    ...(task.labels && { classes: classWords(task.labels).map(([word]) => word!) }),
    ...{ rounds: learned.figures, policy: learned.policy?.folder ?? null, fixed },
    ...measured(conditions, config.seed),
  }
  const file: HintsFile = { ...form, policy: learned.name ?? null, fixed: fixed.hint, result: { ...result } }
  await replaceText(join(out, hintsName), `${JSON.stringify(file, null, 2)}\n`)
  return result
}

function formOf({ kind, instruction, say, maxHintTokens = 40 }: HintsOptions): HintForm {
  if (kind !== undefined && !Object.hasOwn(hintKinds, kind))
    throw invalid(
      'there is no such kind of hint',
      String(kind),
      `one of ${Object.keys(hintKinds).join(', ')}, or an instruction of your own`,
    )
  if (instruction !== undefined && instruction.trim() === '') throw invalid('instruction is not valid', 'an empty text', 'a text')
  if (instruction !== undefined && kind !== undefined)
    throw invalid('a kind of hint has an instruction of its own', 'kind and instruction', 'one of the two')
  const own = hintKinds[kind ?? 'keywords']
  return {
    instruction: instruction?.trim() ?? own.instruction,
    say: requireSay(say ?? (instruction === undefined ? own.say : 'Hint: {hint}')),
    maxHintTokens,
  }
}

const invalid = (message: string, found: string, expected: string) =>
  new GradpromptError('invalid-option', message, { found, expected })

/** Rows as a policy is asked about them, with what a hint of theirs must not say. */
function rowsOf(records: readonly DataRecord[], { template, answer }: Config, { labels }: Task): TrainingRow[] {
  const [asked, answers] = [compileMessages(template), compileTemplate(answer)]
  const words = labels && classWords(labels).flat()
  return records.map((record, index) => {
    const shown = asked.render(record, index)
    const text = questionOf(typeof shown === 'string' ? { prompt: shown } : { messages: shown })
    if (words !== undefined) return { record, index, text, answers: words }
    const whole = answers.render(record, index)
    const read = plainAnswer(whole, [rules.hashNumber, rules.answerResult, rules.afterPhrase])
    return { record, index, text, answers: [whole, ...(read === undefined ? [] : [read])] }
  })
}

/** The best of the texts that were kept, before all training rows alike. */
async function fixedHint(rows: readonly TrainingRow[], { kept }: Rounds, likelihoods: Likelihoods, most: number) {
  const best = new Map<string, number>()
  for (const one of kept) if (one !== undefined) best.set(one.hint, Math.max(one.gain, best.get(one.hint) ?? 0))
  const texts = [...best].sort(([, a], [, b]) => b - a).slice(0, most).map(([hint]) => hint) // biome-ignore format: one line
  const pairs = texts.flatMap(hint => rows.map((row): HintedRow => ({ ...row, hint: leaks(hint, row.answers) ? '' : hint })))
  const bases = await likelihoods.of('base-scores', rows.map(row => ({ ...row, hint: '' }))) // biome-ignore format: one line
  const scores = await likelihoods.of('fixed-scores', pairs)
  return bestFixed(
    texts.map((hint, i) => ({
      hint,
      gains: rows.map((_, row) => scores[i * rows.length + row]!.score - bases[row]!.score),
    })),
  )
}

type ConditionOptions = Pick<
  Parameters<typeof learnRounds>[0],
  'model' | 'config' | 'form' | 'out' | 'signal' | 'onProgress' | 'likelihoods'
> & {
  readonly learned: Rounds
  readonly fixed: string
}

/** Every way of answering, on rows that nothing was learned of. */
async function conditionsOf(rows: readonly TrainingRow[], { learned, fixed, likelihoods, ...options }: ConditionOptions) {
  const { form, config, model } = options
  const asks = rows.map(({ text }) => askFor(form, text))
  const template = policyTemplate(model.tokenizer.chatTemplate !== undefined)
  const condition = async (name: string, hints: readonly string[], tokens = 0, calls = 1): Promise<Condition> => ({
    scores: await likelihoods.of(`measured-${name}-scores`, rows.map((row, i) => ({ ...row, hint: hints[i]! }))), // biome-ignore format: one call
    leaked: hints.filter((hint, i) => hint !== '' && leaks(hint, rows[i]!.answers)).length,
    ...{ tokens, calls },
  })
  const written = async (name: string, policy: string | undefined) => {
    const settings = { ...options, template, policy, maxNewTokens: form.maxHintTokens, temperature: 0, seed: config.seed }
    const { out, signal, onProgress, maxNewTokens, temperature, seed } = settings
    const texts = await write(`measured-${name}`, asks, {
      model,
      out,
      signal,
      onProgress,
      template,
      policy,
      maxNewTokens,
      temperature,
      seed,
    })
    const hints = texts.map(({ text }) => hintIn(text, form))
    return condition(name, hints, texts.reduce((sum, { tokens }) => sum + tokens, 0), 2) // biome-ignore format: one call
  }
  const none = await condition('none', rows.map(() => '')) // biome-ignore format: one call
  return {
    none,
    fixed: await condition('fixed', rows.map(() => fixed)), // biome-ignore format: one call
    untrained: await written('untrained', undefined),
    policy: learned.policy === undefined ? none : await written('policy', learned.policy.folder),
  }
}
