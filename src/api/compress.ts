import { mkdir, readFile, rm } from 'node:fs/promises'
import { basename, dirname, extname } from 'node:path'
import { defaultSeed, type OptionNames, refuseUnknown } from '../config/call-options.js'
import { readRecords, readText, sizeOf } from '../data/read.js'
import { requireColumns } from '../data/texts/template.js'
import { GradpromptError, refuseAborted } from '../errors.js'
import { bootstrap, type MetricValue } from '../evaluate/intervals.js'
import { readPredictions } from '../evaluate/predictions.js'
import { hashOf } from '../evaluate/row-results.js'
import { exists } from '../files.js'
import type { LanguageModel } from '../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, useModel } from '../model/with-model.js'
import { bundledModel } from '../package-root.js'
import { replaceText } from '../store/atomic.js'
import { freeFolder } from '../store/run-folder.js'
import type { Hearer } from '../store/run-session.js'
import type { ConfigInput } from '../train/config.js'
import type { GradpromptEvent, ScoringProgress } from '../train/events.js'
import { type StudyForm, studyAsks, studyForm, studyRows } from '../train/study/self-study.js'
import { generate } from './generation/generate.js'
import { refuseOthersThanRuns, refuseRunOverOthers, tuneOrGoOn } from './going-on.js'
import type { TuneRun } from './tune.js'

/**
 * A text trained into a prompt (cartridges, Eyuboglu et al. 2025, arXiv 2506.06266): the model asks itself about it, answers with the text in
 * its context, and the prompt learns to say what it says there. The library's `compress`.
 */

/** Rows that are scored, questions and answers that are written. */
export type CompressProgress = Omit<ScoringProgress, 'what'> & { readonly what: string }

export interface CompressOptions extends Hearer<GradpromptEvent, CompressProgress>, ModelSettings {
  /** The file with the text: UTF-8. */
  readonly file: string
  /** A model or its name; by default the bundled one. */
  readonly model?: LanguageModel | string | undefined
  /** What is learned: keys and values of every layer, the default, or rows at the input. */
  readonly as?: 'keys' | 'rows' | undefined
  /** Virtual tokens; by default 128. */
  readonly tokens?: number | undefined
  /** Questions that the model asks itself; by default 64. */
  readonly conversations?: number | undefined
  /** Of an answer that is learned from; by default 128. */
  readonly maxNewTokens?: number | undefined
  /** Rows with the columns question and answer, which nothing is learned from: they are scored once, at the end. */
  readonly questions?: string | undefined
  /** By default 100. */
  readonly steps?: number | undefined
  /** By default 8. */
  readonly batchSize?: number | undefined
  /** By default 0.02 of keys, 0.01 of rows. */
  readonly learningRate?: number | undefined
  readonly seed?: number | undefined
  /** The run folder; by default a new name under runs/. What the model asked itself stands beside it. */
  readonly out?: string | undefined
}

/** How much of what the text in the context gains is gained by the prompt, over the same rows. */
export interface Retained {
  /** The rows that it is of: questions that were given, or conversations that were set aside. */
  readonly of: 'questions' | 'conversations'
  readonly rows: number
  /** Mean log-likelihood of an answer in nats: without the text, with it, and under the prompt. */
  readonly without: number
  readonly inContext: number
  readonly compressed: number
  /** (compressed - without) / (inContext - without), as a share; absent where the text itself gains nothing. */
  readonly share?: MetricValue
}

export interface CompressedText extends TuneRun {
  /** The conversations: rows of kind, question, answer. */
  readonly conversations: string
  /** Tokens of the text. */
  readonly textTokens: number
  readonly retained: Retained
}

const names = {
  ...modelSettingNames, file: true, model: true, as: true, tokens: true, conversations: true, maxNewTokens: true, questions: true,
  steps: true, batchSize: true, learningRate: true, seed: true, out: true, onEvent: true, onProgress: true, signal: true,
} satisfies OptionNames<CompressOptions> // biome-ignore format: a list

/** Tokens of a piece that a message is written about, at most, and of the message, which is no longer than an answer. */
const longestPiece = 512
const longestMessage = 64

/**
 * Learns a text into a prompt.
 *
 * What the model asks itself is written to `OUT-study-HASH.jsonl`, and found there again by the same call: a call that was stopped goes on.
 * The run behind it is one of `tune`, to be resumed, evaluated and exported like every other.
 *
 * ```ts
 * const { retained, folder } = await compress({ file: 'handbook.txt', tokens: 128, questions: 'facts.jsonl' })
 * ```
 *
 * @throws GradpromptError `empty-text`, `text-too-short` (not longer than the prompt), `text-too-long` (for the context),
 *   `nothing-studied` (the model wrote no question that it answered), and as `tune` and `generate` do
 */
export async function compress(options: CompressOptions): Promise<CompressedText> {
  refuseUnknown('compress', options, names)
  const { file, as = 'keys', tokens = 128, questions, signal, onEvent, onProgress } = options
  const { conversations = 64, maxNewTokens = 128, seed = defaultSeed } = options
  const text = (await readText(file, await sizeOf(file))).trim()
  if (text === '') throw new GradpromptError('empty-text', `${file} holds no text`, { expected: 'a text to learn' })
  // Hours of study later is too late to hear of it.
  if (questions !== undefined)
    requireColumns(
      ['question', 'answer'],
      (await readRecords(questions)).columns,
      `${questions}: what measures it`,
      () => 'rows with the columns question and answer',
    )
  const out = options.out ?? (await freeFolder('runs', basename(file, extname(file))))
  await refuseOthersThanRuns(out)
  await using used = await useModel(options.model ?? bundledModel, firstOf(options))
  const { model } = used
  const form = studyForm(model.tokenizer, text)
  const textTokens = refuseUnfit(form.context, tokens, Math.min(longestMessage, maxNewTokens) + maxNewTokens, model)
  if (!form.isChat && model.tokenizer.chatTemplate !== undefined)
    onEvent?.({
      event: 'warning',
      code: 'no-system-message',
      message: "the model's chat template takes no system message: text and questions stand there as plain text",
    })

  const decisive = [model.hash, form.context, conversations, maxNewTokens, seed]
  const path = `${out}-study-${hashOf(decisive).slice(0, 8)}.jsonl`
  const progress = (what: string) => (done: number, total: number) => onProgress?.({ what, done, total })
  await refuseRunOverOthers(out, path)
  if (!(await exists(path))) await study(path, model, form, text, { conversations, maxNewTokens, seed, signal, progress })
  const rows = (await readFile(path, 'utf8')).trimEnd().split('\n').length
  refuseAborted(signal)

  const run = await tuneOrGoOn(
    {
      model,
      data: {
        train: path,
        split: { dev: Math.max(1, Math.round(rows / 8)) },
        ...(questions !== undefined && { test: questions }),
      },
      template: form.template,
      answer: form.answer,
      answerEnd: form.answerEnd,
      answerType: 'text',
      method: methodOf(as, tokens, form.context),
      train: {
        steps: options.steps ?? 100,
        batchSize: options.batchSize ?? 8,
        learningRate: options.learningRate ?? (as === 'keys' ? 0.02 : 0.01),
        loss: { type: 'context-distillation', context: form.context },
      },
      // A line end stands between an instruction and a template.
      control: { instruction: form.context.replace(/\n$/, '') },
      seed,
      out,
    },
    { onEvent, onProgress, signal },
  )
  const retained = await retainedIn(run.folder, questions === undefined ? 'conversations' : 'questions', seed)
  return { ...run, conversations: path, textTokens, retained }
}

/** @returns tokens of the text */
function refuseUnfit(context: string, tokens: number, row: number, model: LanguageModel): number {
  const { length } = model.tokenizer.encode(context, { addSpecialTokens: true })
  if (length <= tokens)
    throw new GradpromptError('text-too-short', 'the text is not longer than the prompt that is to hold it', {
      found: `${length} tokens, and a prompt of ${tokens}`,
      expected: 'fewer virtual tokens than the text has',
      hint: `take fewer tokens (--tokens ${Math.max(2, Math.floor(length / 4))}), or put the text itself before what is asked`,
    })
  const room = model.config.maxPositionEmbeddings
  if (length + row > room)
    throw new GradpromptError(
      'text-too-long',
      'the text does not fit into the context of the model, beside a question and its answer',
      {
        found: `${length} tokens, and ${row} for these`,
        expected: `${room} at most`,
        hint: 'a part of the text at a time, shorter answers (--max-new-tokens), or a model with a longer context',
      },
    )
  return length
}

const methodOf = (as: 'keys' | 'rows', numVirtualTokens: number, text: string): ConfigInput['method'] =>
  as === 'keys'
    ? { type: 'prefix-tuning', numVirtualTokens, frozenTokens: numVirtualTokens > 1 ? 1 : 0, init: { type: 'text', text } }
    : { type: 'prompt-tuning', numVirtualTokens, init: { type: 'text', text } }

interface StudyOptions {
  readonly conversations: number
  readonly maxNewTokens: number
  readonly seed: number
  readonly signal: AbortSignal | undefined
  readonly progress: (what: string) => (done: number, total: number) => void
}

/** Writes the conversations to `path`; what is finished of them stands beside it until all are. */
async function study(
  path: string,
  model: LanguageModel,
  form: StudyForm,
  text: string,
  { conversations, maxNewTokens, seed, signal, progress }: StudyOptions,
): Promise<void> {
  const chat = form.isChat
  await mkdir(dirname(path), { recursive: true })
  const asks = studyAsks(model.tokenizer, text, { count: conversations, seed, longest: longestPiece, chat })
  const written = async (name: string, prompts: readonly string[], settings: object, what: string): Promise<string[]> => {
    const [input, output] = studyFiles(path, name)
    await replaceText(input, lines(prompts.map(prompt => ({ prompt }))))
    if (!(await exists(output)))
      await generate.toFile({ model, input, output, stop: form.stop, signal, onProgress: progress(what), ...settings })
    const answers = (await readFile(output, 'utf8')).trimEnd().split('\n')
    return answers.map(line => (JSON.parse(line) as { text: string }).text)
  }
  const questions = (
    await written(
      'messages',
      asks.map(({ prompt }) => prompt),
      { chat, temperature: 0.6, seed, maxNewTokens: Math.min(longestMessage, maxNewTokens), ...(!chat && { stop: ['\n'] }) },
      'questions',
    )
  ).map(question => question.trim())
  const answers = await written(
    'questions',
    questions.map(question => form.context + form.asked(question)),
    { chat: false, temperature: 0, maxNewTokens },
    'answers',
  )
  const rows = studyRows(
    asks.map(({ kind }) => kind),
    questions,
    answers,
  )
  if (rows.length < 2)
    throw new GradpromptError('nothing-studied', 'the model wrote no questions to learn from', {
      found: `${rows.length} of ${conversations} with an answer`,
      expected: 'at least 2',
      hint: 'more conversations (--conversations), or a larger model',
    })
  await replaceText(path, lines(rows))
  for (const name of ['messages', 'questions']) for (const file of studyFiles(path, name)) await rm(file, { force: true })
}

/** What the model is asked for a study, and what it has answered until then. */
const studyFiles = (path: string, name: string) => [`${path}.${name}.jsonl`, `${path}.${name}-answers.jsonl`] as const

const lines = (rows: readonly object[]) => rows.map(row => `${JSON.stringify(row)}\n`).join('')

/** From the results of single rows that a run keeps. */
async function retainedIn(folder: string, of: Retained['of'], seed: number): Promise<Retained> {
  const part = of === 'questions' ? 'test' : 'dev'
  const said = async (by: 'tuned' | 'control' | 'plain') => {
    const rows = (await readPredictions(folder, part, by)) ?? []
    return Float64Array.from(
      [...rows].sort((a, b) => a.index - b.index),
      ({ logProbability }) => logProbability ?? Number.NaN,
    )
  }
  const [compressed, inContext, without] = [await said('tuned'), await said('control'), await said('plain')]
  return retainedOf(of, { compressed, inContext, without }, seed)
}

/** @param rows log-likelihood of each answer, in nats */
export function retainedOf(
  of: Retained['of'],
  { compressed, inContext, without }: Readonly<Record<'compressed' | 'inContext' | 'without', Float64Array>>,
  seed: number,
): Retained {
  const sum = (values: Float64Array, rows: Int32Array) => rows.reduce((total, row) => total + values[row]!, 0)
  const all = Int32Array.from(without, (_, i) => i)
  const mean = (values: Float64Array) => sum(values, all) / all.length
  const share = (rows: Int32Array) => (sum(compressed, rows) - sum(without, rows)) / (sum(inContext, rows) - sum(without, rows))
  const gains = sum(inContext, all) > sum(without, all)
  return {
    of,
    rows: all.length,
    without: mean(without),
    inContext: mean(inContext),
    compressed: mean(compressed),
    ...(gains && { share: bootstrap(all.length, { share }, { seed }).share }),
  }
}
