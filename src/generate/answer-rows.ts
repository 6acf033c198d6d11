import { setImmediate } from 'node:timers/promises'
import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { type AnswerRow, FinishedRows } from './finished-rows.js'
import { type InputRow, type RenderOptions, renderInput, wholeInput } from './input.js'
import type { Limits } from './limits/asked.js'
import type { Generation, Generator } from './request.js'
import { type GenerationSettings, type Room, requestFor, tokenBudget } from './settings.js'

export interface AnswerOptions {
  readonly generator: Generator
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'applyChatTemplate'>
  readonly render?: RenderOptions
  readonly settings: GenerationSettings
  /** By default 256, or what the context has left. */
  readonly maxNewTokens?: number | undefined
  readonly room: Room
  /** What answers are limited to. */
  readonly limits?: Limits | undefined
  readonly output: string
  /** Of everything that decides the answers: finished rows are taken over from a run with the same. */
  readonly fingerprint: string
  /** Rows that the generator knows of at once; it puts them into batches. Default 256. */
  readonly inFlight?: number
  readonly onProgress?: (rows: number, total: number) => void
  readonly signal?: AbortSignal
}

export interface AnswerSummary {
  readonly rows: number
  /** Of them, those that were finished before. */
  readonly resumed: number
  /** Generated this time. */
  readonly tokens: number
}

/** A tokenizer gives at most one id a byte; besides, it may add BOS, EOS and a leading space. */
const addedIds = 4

/** Where the finished rows of an output stand until all are. */
export const partialPath = (output: string): string => `${output}.partial`

/**
 * Answers many prompts, and writes a row for each in their order. Rows stand in `OUTPUT.partial` as soon as they are finished, whatever
 * becomes of the others: the next run with the same fingerprint takes them over. The output appears when all are.
 *
 * @throws GradpromptError `context-exceeded`, `empty-prompt` and those of the chat template, naming the row, before anything is
 * generated; `other-answers`; `aborted`
 */
export async function answerRows(rows: readonly InputRow[], options: AnswerOptions): Promise<AnswerSummary> {
  const { output, fingerprint, signal, inFlight = 256, onProgress } = options
  for (const [index, row] of rows.entries()) {
    // Between them, a wish to stop is heard.
    if (index % 256 === 0) await setImmediate()
    if (signal?.aborted) throw aborted(0, rows.length)
    checkRow(row, options)
  }
  const finished = FinishedRows.open(partialPath(output), { fingerprint, total: rows.length })
  try {
    const resumed = finished.size
    const failed = new AbortController()
    const stopping = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal])
    const waiting = rows.entries()
    let tokens = 0
    let failure: unknown
    const answerNext = async () => {
      for (const [index, row] of waiting) {
        if (stopping.aborted) return
        if (finished.has(index)) continue
        const generation = await named(row.origin, () => answer(row, index, options, stopping))
        if (generation.finishReason === 'aborted') return
        finished.add(index, answerRow(generation))
        tokens += generation.severally?.tokens ?? generation.ids.length
        onProgress?.(finished.size, rows.length)
      }
    }
    // What is under way when a row fails is given up; what was finished stays.
    const guarded = () =>
      answerNext().catch((error: unknown) => {
        failure ??= error
        failed.abort()
      })
    await Promise.all(Array.from({ length: Math.min(inFlight, rows.length) }, guarded))
    if (failure !== undefined && !signal?.aborted) throw failure
    if (finished.size < rows.length) throw aborted(finished.size, rows.length)
    await finished.publish(output, rows.length)
    return { rows: rows.length, resumed, tokens }
  } finally {
    finished.close()
  }
}

function answer(row: InputRow, index: number, options: AnswerOptions, signal: AbortSignal): Promise<Generation> {
  const { generator, tokenizer, render, settings, maxNewTokens, room, limits } = options
  const { text, addSpecialTokens } = renderInput(tokenizer, row.input, render)
  const ids = tokenizer.encode(text, { addSpecialTokens })
  const asked = { origin: row.origin, tokenizer, room, limits }
  const own = row.prompt === undefined ? settings : { ...settings, prompt: row.prompt }
  const request = requestFor(asked, text, ids, { settings: own, maxNewTokens, sample: index })
  return generator.generate({ ...request, asked: wholeInput(row.input, render), signal })
}

/** Refuses a row that cannot be answered; tokenises only those that could be too long. */
function checkRow(row: InputRow, { tokenizer, render, maxNewTokens, room }: AnswerOptions): void {
  try {
    const { text, addSpecialTokens } = renderInput(tokenizer, row.input, render)
    const most = Buffer.byteLength(text) + addedIds
    const isShort = most + room.numVirtualTokens + (maxNewTokens ?? 1) <= room.contextLength
    if (text === '' || !isShort) tokenBudget(row.origin, tokenizer.encode(text, { addSpecialTokens }).length, room, maxNewTokens)
  } catch (error) {
    throw withOrigin(error, row.origin)
  }
}

async function named<Result>(origin: string, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run()
  } catch (error) {
    throw withOrigin(error, origin)
  }
}

/** An error that says which row it is about. */
function withOrigin(error: unknown, origin: string): unknown {
  if (!(error instanceof GradpromptError) || error.message.startsWith(origin)) return error
  const { code, message, found, expected, hint, exitCode } = error
  return new GradpromptError(code, `${origin}: ${message}`, {
    ...(found !== undefined && { found }),
    ...(expected !== undefined && { expected }),
    ...(hint !== undefined && { hint }),
    exitCode,
    cause: error,
  })
}

const aborted = (finished: number, total: number): GradpromptError =>
  new GradpromptError('aborted', `stopped after ${finished} of ${total} rows`, { exitCode: 1 })

/** A row of the output. */
export function answerRow({
  text,
  ids,
  finishReason,
  stoppedBy,
  logProbabilities,
  rejectedMass,
  severally,
}: Generation): AnswerRow {
  if (finishReason === 'aborted') throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
  return {
    text,
    ids,
    finishReason,
    ...(stoppedBy !== undefined && { stoppedBy }),
    ...(logProbabilities !== undefined && { logprobs: logProbabilities }),
    ...(rejectedMass !== undefined && { rejectedMass }),
    ...(severally !== undefined && { severally }),
  }
}
