import { type OptionNames, refuseUnknown } from '../../config/call-options.js'
import type { ColumnsGiven } from '../../data/columns-given.js'
import type { DataNotice } from '../../data/readers/reader.js'
import type { Template } from '../../data/texts/template.js'
import { GradpromptError } from '../../errors.js'
import { type AskedInput, type Frame, framed, noFrame } from '../../generate/framing.js'
import { type GenerationInput, type RenderOptions, renderInput, wholeInput } from '../../generate/input.js'
import { grammarAsked, type LimitsAsked, limitsOf } from '../../generate/limits/asked.js'
import type { Products } from '../../generate/programs.js'
import type { Generation, GenerationRequest, Generator } from '../../generate/request.js'
import { type GenerationSettings, requestFor, withEnds } from '../../generate/settings.js'
import { modelSettingNames } from '../../model/with-model.js'
import { inWords } from '../../own-calls.js'
import { openPrompt, type PromptGiven, type PromptSource } from '../../sources/open.js'
import { loadPromptMethod, promptNameAsked, promptTask } from '../../sources/prompt.js'
import type { ActiveStrategy } from '../../strategies/asking.js'
import { type StrategyGiven, strategyOf } from '../../strategies/index.js'
import { severalCalls } from '../../strategies/several-calls.js'
import { once, readingOf, renderOf, settingsOf } from './asked.js'
import { type ContrastOptions, contrastIn, otherName, otherSource } from './contrast.js'
import { type EngineSettings, frameOf, type NamedPrompt, type UsedEngine, useEngine } from './opening.js'

/** Answering texts, rows and conversations: the library's `generate`, as answers, as a stream of pieces, or as a file of rows. */

type Sampling = Omit<GenerationSettings, 'prompt' | 'continuation' | 'rejectedMass' | 'contrast'>

export interface AnswerOptions
  extends EngineSettings,
    Partial<Sampling>,
    LimitsAsked,
    ContrastOptions,
    Omit<RenderOptions, 'chat'> {
  /**
   * A run of either kind, its folder, a prompt file, a PEFT adapter's folder, or rows of vectors: answer under it. Inputs stand in the
   * template that it was learned or found in: columns by their names, a text as the only column; a text that has it around it stays.
   */
  readonly prompt?: PromptGiven
  /** Of a prompt of several tasks: which of them; by default what they share. */
  readonly promptTask?: string | undefined
  /** Use a prompt that was learned on another model of the same width. */
  readonly force?: boolean | undefined
  /** What rows of columns stand in; by default the prompt's own. */
  readonly template?: Template | undefined
  /**
   * A plain text is what a user says to the chat model. `auto`: where the model has a chat template, and the prompt was not made for
   * plain text. By default only with `system`.
   */
  readonly chat?: boolean | 'auto' | undefined
  /** Texts stand as they are, and not in the template of the prompt; words that a search has found stand in theirs all the same. */
  readonly raw?: boolean | undefined
  /** By default 256, or what the context has left; with `choices` as many as these need. */
  readonly maxNewTokens?: number | undefined
  /** Answer with several calls: `self-consistency`, `retries`, … or that with its options. The answer comes at once, when it is taken. */
  readonly strategy?: StrategyGiven | undefined
  readonly signal?: AbortSignal | undefined
  /** Hears once of what was taken for granted about the inputs. */
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
  /** Called once with the model's short name and the arithmetic, when the first answer can begin. */
  readonly onOpened?: ((model: string, weights: Products) => void) | undefined
  /** Hears of weights that are written to the cache, in percent, and of rows of a file that are done. */
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
}

export interface GenerateOptions extends AnswerOptions {
  /** Texts to go on with, conversations, or rows of columns for the template. */
  readonly inputs: readonly (string | GenerationInput | object)[]
  /** Called with each answer as it is finished. */
  readonly onAnswer?: ((answer: GeneratedAnswer, index: number) => void) | undefined
}

export interface GenerateFileOptions extends AnswerOptions {
  /** A file of rows, or `-`, standard input: JSON lines of `prompt` or `messages`, or any data file with the template's columns. */
  readonly input: string
  /** Names of the columns of a file without a header, or for a column of the template the one of the data: `{ text: 'review' }`. */
  readonly columns?: ColumnsGiven | undefined
  /** Where their answers go, in the same order: JSON lines, each with `ids`. Finished rows stand in `OUTPUT.partial` until all are. */
  readonly output: string
}

/** An answer, and the arithmetic that it was written in: `fp32` is exact. */
export interface GeneratedAnswer extends Generation {
  readonly weights: Products
}

/** A piece of an answer, as soon as it is known; the last of each answer brings the whole of it. */
export interface GeneratedPiece {
  /** Which of the inputs it answers, from 0. */
  readonly index: number
  readonly text: string
  readonly answer?: GeneratedAnswer
}

/** What became of a file. */
export interface GeneratedFile {
  readonly output: string
  readonly rows: number
  /** Of them, those that were finished before. */
  readonly resumed: number
  /** Generated this time. */
  readonly tokens: number
  /** Of generating alone. */
  readonly seconds: number
  readonly model: string
  /** The arithmetic. */
  readonly weights: Products
}

const shared = {
  ...modelSettingNames,
  model: true,
  weights: true,
  batchSize: true,
  promptLookup: true,
  onWarning: true,
  prompt: true,
  promptTask: true,
  force: true,
  strength: true,
  against: true,
  contrast: true,
  template: true,
  chat: true,
  raw: true,
  choices: true,
  regex: true,
  jsonSchema: true,
  rejectedMass: true,
  system: true,
  variables: true,
  maxNewTokens: true,
  strategy: true,
  signal: true,
  onOpened: true,
  onProgress: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  seed: true,
  stop: true,
  stopTokenIds: true,
  logProbabilities: true,
  alternatives: true,
} satisfies OptionNames<AnswerOptions>
const names = { ...shared, inputs: true, onAnswer: true } satisfies OptionNames<GenerateOptions>
const streamNames = { ...shared, inputs: true } satisfies OptionNames<Omit<GenerateOptions, 'onAnswer'>>
const fileNames = { ...shared, input: true, output: true, columns: true } satisfies OptionNames<GenerateFileOptions>

/**
 * Answers many texts, conversations or rows at once, in batches that rows join and leave.
 *
 * ```ts
 * const [answer] = await generate({ prompt: 'runs/sst2', inputs: ['a delight'], maxNewTokens: 4 })          // in the run's template
 * const same = await generate({ prompt: 'runs/sst2', inputs: [{ text: 'a delight' }], maxNewTokens: 4 })
 * ```
 *
 * `generate.stream` gives the same answers piece by piece; leaving the loop ends them:
 *
 * ```ts
 * for await (const { text } of generate.stream({ inputs: ['The capital of France is'] })) process.stdout.write(text)
 * ```
 *
 * `generate.toFile` answers the rows of a file into another; the same call goes on where an earlier one was stopped.
 *
 * @returns answers in the order of `inputs`
 * @throws GradpromptError `unknown-option`, `context-exceeded`, `empty-prompt`, `missing-column`, `no-place-for-text`, those of the chat
 *   template, of loading a model and of reading a prompt; `aborted` (an `AbortError`) when the signal ends it
 */
async function answer(options: GenerateOptions): Promise<GeneratedAnswer[]> {
  refuseUnknown('generate', options, names)
  await using opened = await openAnswering(options)
  return await answersIn(opened, options)
}

type InputOptions = Pick<GenerateOptions, 'inputs' | 'maxNewTokens' | 'signal' | 'onWarning'> & LimitsAsked

/** The answers of `generate` by what is open already, for whoever asks again and again. */
export async function answersIn(
  opened: Answering,
  options: InputOptions & Pick<GenerateOptions, 'onAnswer'>,
): Promise<GeneratedAnswer[]> {
  const requests = requestsOf(opened, options)
  const answers = await Promise.all(
    requests.map(async (request, i) => {
      const answer = { ...(await opened.generator.generate(request)), weights: opened.weights }
      options.onAnswer?.(answer, i)
      return answer
    }),
  )
  if (options.signal?.aborted && answers.some(({ finishReason }) => finishReason === 'aborted')) throw aborted()
  return answers
}

/**
 * The answers of `generate`, piece by piece: `text` is what has come, and the last piece of each answer has the whole of it as `answer`.
 * Pieces of several inputs come in turn, by `index`. Leaving the loop ends what is under way.
 * @throws GradpromptError as `generate` does, from the loop
 */
async function* stream(options: Omit<GenerateOptions, 'onAnswer'>): AsyncGenerator<GeneratedPiece, void, void> {
  refuseUnknown('generate.stream', options, streamNames)
  await using opened = await openAnswering(options)
  const left = new AbortController()
  const signal = options.signal === undefined ? left.signal : AbortSignal.any([options.signal, left.signal])
  const waiting: GeneratedPiece[] = []
  let wake = () => {}
  const push = (piece: GeneratedPiece) => {
    waiting.push(piece)
    wake()
  }
  const answering = requestsOf(opened, options).map(async (request, index) => {
    let told = 0
    const onText = (text: string) => {
      told += text.length
      if (text !== '') push({ index, text })
    }
    const answer = { ...(await opened.generator.generate({ ...request, signal, onText })), weights: opened.weights }
    if (answer.finishReason === 'aborted') throw aborted()
    push({ index, text: answer.text.slice(told), answer })
  })
  let outcome: { readonly error?: unknown } | undefined
  const all = Promise.all(answering).then(
    () => {
      outcome = {}
      wake()
    },
    (error: unknown) => {
      outcome = { error }
      wake()
    },
  )
  try {
    for (;;) {
      while (waiting.length > 0) yield waiting.shift()!
      if (outcome !== undefined) break
      await new Promise<void>(resolve => {
        wake = resolve
      })
    }
    if ('error' in outcome) throw outcome.error
  } finally {
    left.abort()
    await Promise.allSettled([all, ...answering])
  }
}

/**
 * Answers the rows of a file into another. Finished rows are kept, whatever becomes of the others: the same call goes on.
 * @throws GradpromptError as `generate` does, naming the row; `file-exists`, `other-answers`, `run-locked`, `cannot-write`
 */
async function toFile(options: GenerateFileOptions): Promise<GeneratedFile> {
  refuseUnknown('generate.toFile', options, fileNames)
  const { answerFile } = await import('./file.js')
  return answerFile(options)
}

export const generate: typeof answer & {
  readonly stream: typeof stream
  readonly toFile: typeof toFile
} = Object.assign(answer, { stream, toFile })

/** The only prompt of an engine that one caller has. */
const ownName = 'prompt'

export interface Answering extends UsedEngine {
  /** The engine, or the strategy over it. */
  readonly generator: Generator
  readonly strategy: ActiveStrategy | undefined
  readonly prompt: NamedPrompt
  readonly settings: GenerationSettings
  /** Of one input: a row may name its task. */
  settingsFor(asked: unknown, origin: string): GenerationSettings
  readonly render: RenderOptions
}

/** @throws GradpromptError as `openPrompt` does; `unknown-task`, `invalid-option` */
export async function sourceOf(options: AnswerOptions): Promise<{ readonly source: PromptSource; readonly frame: Frame }> {
  // Mistakes in what answers are limited to are told before a model is loaded.
  grammarAsked(options)
  const source = await openPrompt(options.prompt, options)
  refuseInstruction(source)
  if (source.file) await loadPromptMethod(source.file)
  if (options.promptTask !== undefined && source.file) promptTask(source.file.method, options.promptTask, 'promptTask')
  const own = frameOf(source)
  if (options.raw === true && !own.always) return { source, frame: noFrame }
  return { source, frame: options.template === undefined ? own : { ...own, template: options.template } }
}

/** @throws GradpromptError as `useEngine` does; `unknown-task` */
export async function openAnswering(options: AnswerOptions, given?: Awaited<ReturnType<typeof sourceOf>>): Promise<Answering> {
  const { source, frame } = given ?? (await sourceOf(options))
  const { promptTask: task } = options
  const other = await otherSource(options)
  const strategy = await strategyOf(options.strategy)
  const sources = new Map([[ownName, source], ...(other ? [[otherName, other] as const] : []), ...(strategy?.prompts ?? [])])
  const opened = await useEngine(options, sources, {
    // Several calls are not all under the prompt.
    ...(strategy === undefined && { prepared: task === undefined ? ownName : `${ownName}/${task}` }),
    onProgress: options.onProgress,
  })
  try {
    const prompt = { ...opened.prompts.get(ownName)!, frame }
    if (task !== undefined) promptTask(prompt.active?.config ?? { type: '' }, task, 'promptTask')
    options.onOpened?.(opened.model.name, opened.weights)
    const name = prompt.active === undefined ? undefined : task === undefined ? ownName : `${ownName}/${task}`
    const contrast = contrastIn(options, { name, source }, other)
    const settings = withEnds({ ...settingsOf(options, name), contrast }, prompt.ends)
    const settingsFor = (asked: unknown, origin: string) =>
      name === ownName ? { ...settings, prompt: promptNameAsked(ownName, prompt.active!, asked, origin) } : settings
    const generator =
      strategy === undefined ? opened.engine : severalCalls(opened.engine, strategy, () => readingOf(prompt, options))
    return { ...opened, generator, strategy, prompt, settings, settingsFor, render: renderOf(options, prompt) }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

function requestsOf({ prompt, settingsFor, render }: Answering, options: InputOptions) {
  const { inputs, maxNewTokens, signal } = options
  if (!Array.isArray(inputs))
    throw new GradpromptError('invalid-option', 'inputs are no list', {
      found: inWords(inputs),
      expected: 'a list of texts, conversations, or rows of columns',
    })
  const announce = once(options.onWarning)
  const limits = limitsOf(options, prompt.frame, prompt.labels, announce)
  return inputs.map((input, i): GenerationRequest => {
    const origin = `inputs[${i}]`
    const asked = framed(input as AskedInput, prompt.frame, origin, announce)
    const { text, addSpecialTokens } = renderInput(prompt.tokenizer, asked, render)
    const ids = prompt.tokenizer.encode(text, { addSpecialTokens })
    const request = requestFor({ ...prompt, origin, limits }, text, ids, {
      ...{ settings: settingsFor(input, origin), maxNewTokens, sample: i },
    })
    return { ...request, asked: wholeInput(asked, render), ...(signal && { signal }) }
  })
}

function refuseInstruction({ kind, template }: PromptSource): void {
  if (kind !== 'text' || template !== undefined) return
  throw new GradpromptError('invalid-option', 'a plain text is no prompt to generate under', {
    found: 'prompt: { text }',
    expected: 'a run, a prompt file, an adapter, or rows of vectors',
    hint: 'put the text into the inputs, or give it as system',
  })
}

const aborted = () => new GradpromptError('aborted', 'stopped', { exitCode: 1 })
