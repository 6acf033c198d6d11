import { appendFile, mkdir, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { defaultSeed, type OptionNames, refuseUnknown, requireCounts } from '../../config/call-options.js'
import { textNotices } from '../../data/checks.js'
import { readRecords, readText, sizeOf } from '../../data/read.js'
import type { DataNotice } from '../../data/readers/reader.js'
import type { DataRecord } from '../../data/readers/records.js'
import { fillPrompt, requirePlace } from '../../data/texts/prompt-place.js'
import { compileTemplate, requireColumns } from '../../data/texts/template.js'
import { GradpromptError, readError } from '../../errors.js'
import { type BanditOptions, bestShown, likingOf, nextPair } from '../../evaluate/choosing/bandit.js'
import { pointsOf } from '../../evaluate/choosing/features.js'
import { hashOf } from '../../evaluate/row-results.js'
import { textOfFile } from '../../files.js'
import { jsonOrUndefined } from '../../json.js'
import type { LanguageModel } from '../../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, type UsedModel, useModel } from '../../model/with-model.js'
import { bundledModel } from '../../package-root.js'
import { randomGenerator, shuffle, streams } from '../../random.js'
import { replaceText } from '../../store/atomic.js'
import { acquireLock } from '../../store/lock.js'
import { type Answering, answersIn, openAnswering } from '../generation/generate.js'
import { embeddings } from '../prediction/embeddings.js'

/** Choosing among prompts by what a person likes: the library's `prefer`, behind `gradprompt prefer`. */

export interface PreferOptions extends ModelSettings {
  /** A file of prompts, one a line (`\n` within one is a line end), or the prompts. At least two. */
  readonly prompts: string | readonly string[]
  /** Rows that are answered under them: each question is about one. */
  readonly data: string
  /** Where a prompt and columns of the data stand; by default `{prompt}`, an empty line, and the first column. */
  readonly template?: string | undefined
  /** A model or its name; by default the bundled one. */
  readonly model?: LanguageModel | string | undefined
  /** What was answered, a line each; the same call goes on with it. */
  readonly journal: string
  /** Of an answer; by default 96. */
  readonly maxNewTokens?: number | undefined
  /** Pairs at random before the bandit chooses; by default 5. */
  readonly initial?: number | undefined
  /** How much what is not known counts for; by default 4. */
  readonly nu?: number | undefined
  /** How strongly what is learned is held to nothing; by default 0.1. */
  readonly lambda?: number | undefined
  readonly seed?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
  /** Hears what was guessed about the rows, of rows that ask nothing, of a journal of other questions, and of prompts that are compared by their beginnings. */
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

/** Two answers to one input, side by side. */
export interface PreferQuestion {
  /** Counted from 0. */
  readonly number: number
  /** What is answered, without the prompts. */
  readonly input: string
  readonly left: string
  readonly right: string
}

export type Side = 'left' | 'right' | 'neither'

export interface PreferStanding {
  /** Questions that were answered, and those among them whose two answers were the same. */
  readonly answered: number
  readonly same: number
  /** The prompts that were shown, the best first, each with how much it is liked. */
  readonly prompts: readonly { readonly prompt: string; readonly liking: number }[]
}

export interface PreferSession extends AsyncDisposable {
  readonly model: string
  /** The question at hand: the same until it is answered. */
  question(): Promise<PreferQuestion>
  /** @throws GradpromptError `already-answered` for another question than the one at hand */
  answer(number: number, side: Side): Promise<void>
  standing(): PreferStanding
}

const names = {
  ...modelSettingNames, prompts: true, data: true, template: true, model: true, journal: true, maxNewTokens: true, initial: true,
  nu: true, lambda: true, seed: true, signal: true, onProgress: true, onWarning: true,
} satisfies OptionNames<PreferOptions> // biome-ignore format: a list

/** `asked`: what is asked under the prompts, and of whom; journals of earlier versions do not say it. */
const headSchema = z.object({ prompts: z.string(), seed: z.int(), asked: z.string().optional() })
const lineSchema = z.object({
  question: z.int().min(0),
  first: z.int().min(0),
  second: z.int().min(0),
  chose: z.literal([0, 0.5, 1]),
  same: z.boolean().optional(),
})
type Line = z.output<typeof lineSchema>

/** Pairs in turn whose answers are the same, before somebody is asked all the same. */
const mostSame = 20

/**
 * Opens a session: prompts are embedded by the model, and what was answered before is read from the journal.
 * @throws GradpromptError `invalid-option`, `no-prompt-place`, `missing-column`, `no-rows`, `journal-mismatch` (a journal of other prompts),
 *   `run-locked` (another process asks by this journal), and as reading files and loading a model do
 */
export async function prefer(options: PreferOptions): Promise<PreferSession> {
  refuseUnknown('prefer', options, names)
  const { journal, seed = defaultSeed, maxNewTokens = 96, initial = 5, nu, lambda, signal, onProgress, onWarning } = options
  requireCounts({ maxNewTokens, initial })
  for (const [name, value] of Object.entries({ nu, lambda }))
    if (value !== undefined && !(value > 0 && value < Number.POSITIVE_INFINITY))
      throw new GradpromptError('invalid-option', `${name} is not valid`, { found: String(value), expected: 'a number above 0' })
  const prompts = await promptsOf(options.prompts)
  const needed = options.template === undefined ? [] : compileTemplate(fillPrompt(options.template, '') as string).columns
  const { records, columns } = await readRecords(options.data, { needed, onNotice: onWarning })
  if (records.length === 0) throw new GradpromptError('no-rows', 'there are no rows to answer', { found: options.data })
  const template = options.template ?? `{prompt}\n\n{${columns[0]}}`
  requirePlace(template)
  const asked = compileTemplate(fillPrompt(template, '') as string)
  requireColumns(asked.columns, columns, '--template')
  if (options.template === undefined && columns.length > 1)
    onWarning?.({
      code: 'first-column',
      message: `of ${columns.map(name => JSON.stringify(name)).join(', ')} the first column is what is asked: a template says otherwise (--template '{prompt} {COLUMN}')`,
    })
  for (const notice of textNotices(asked.columns.map(name => `{${name}}`).join(''), { 'the data': records })) onWarning?.(notice)
  const compared = { prompts: hashOf(prompts), seed }
  await mkdir(dirname(journal), { recursive: true })
  // Two of them would both answer the same question.
  const lock = await acquireLock(`${journal}.lock`)
  let used: UsedModel | undefined
  let opened: Answering | undefined
  const close = async () => {
    await opened?.[Symbol.asyncDispose]()
    await used?.[Symbol.asyncDispose]()
    await lock.release()
  }
  try {
    // Before a model is opened.
    const earlier = await readJournal(journal, compared)
    used = await useModel(options.model ?? bundledModel, firstOf(options))
    const { model } = used
    const head = { ...compared, asked: hashOf([model.hash, template, maxNewTokens, records]) }
    if (earlier?.asked !== undefined && earlier.asked !== head.asked)
      onWarning?.({
        code: 'other-questions',
        message: `${journal} goes on from answers to other rows, by another template, length or model: what was liked there counts here as well`,
      })
    const points = pointsOf(await embeddings(model, prompts, { signal, onProgress, onWarning }))
    if (earlier === undefined) await replaceText(journal, `${JSON.stringify(head)}\n`)
    const chat = model.tokenizer.chatTemplate !== undefined && options.template === undefined
    // One engine for all answers, each of which depends on none before it.
    const answering = await openAnswering({ model, chat, temperature: 0 })
    opened = answering
    const said = new Map<string, string>()
    const answerOf = async (prompt: number, row: number): Promise<string> => {
      const key = `${prompt} ${row}`
      if (!said.has(key)) {
        const text = compileTemplate(fillPrompt(template, prompts[prompt]!) as string).render(records[row]!, row)
        answering.engine.forget()
        const [answer] = await answersIn(answering, { inputs: [text], maxNewTokens, signal })
        said.set(key, answer!.text.trim())
      }
      return said.get(key)!
    }
    const inputOf = (row: number) => asked.render(records[row]!, row).trim()
    const own = { prompts, points, records, journal, answerOf, inputOf, bandit: { lambda, nu, initial, seed } }
    return { model: model.name, ...questions(own, [...(earlier?.lines ?? [])]), [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

interface Asked {
  readonly prompts: readonly string[]
  readonly points: readonly Float64Array[]
  readonly records: readonly DataRecord[]
  readonly journal: string
  readonly bandit: BanditOptions
  answerOf(prompt: number, row: number): Promise<string>
  inputOf(row: number): string
}

/** A question, and what it compares: `turned` where the second stands on the left. */
interface Open {
  readonly question: PreferQuestion
  readonly pair: readonly [number, number]
  readonly turned: boolean
}

/** Asks one question after the other. @param answered what was answered before; it grows */
function questions(
  { prompts, points, records, journal, bandit, answerOf, inputOf }: Asked,
  answered: Line[],
): Pick<PreferSession, 'question' | 'answer' | 'standing'> {
  const { seed } = bandit
  const keep = async (line: Line) => {
    await appendFile(journal, `${JSON.stringify(line)}\n`)
    answered.push(line)
  }
  const make = async (): Promise<Open> => {
    for (let same = 0; ; same++) {
      const number = answered.length
      const pair = nextPair(points, answered, bandit)
      const row = rowOf(records, seed, number)
      const [one, other] = [await answerOf(pair[0], row), await answerOf(pair[1], row)]
      if (one === other && same < mostSame) {
        await keep({ question: number, first: pair[0], second: pair[1], chose: 0.5, same: true })
        continue
      }
      // People take what stands on one side more often, whatever it is.
      const turned = randomGenerator(seed, streams.choosing, 2, number).next() % 2 === 0
      const [left, right] = turned ? [other, one] : [one, other]
      return { question: { number, input: inputOf(row), left, right }, pair, turned }
    }
  }
  let open: Promise<Open> | undefined
  const begin = (making: Promise<Open>) => {
    open = making
    making.catch(() => {
      if (open === making) open = undefined
    })
    return making
  }
  const current = () => open ?? begin(make())
  return {
    question: async () => (await current()).question,
    async answer(number, side) {
      const asked = current()
      const { question, pair, turned } = await asked
      // Of two answers to one question the first has begun the next.
      if (question.number !== number || open !== asked)
        throw new GradpromptError('already-answered', 'this question has been answered', {
          found: `question ${number + 1}`,
          expected: 'the one at hand',
        })
      const chose = side === 'neither' ? 0.5 : (side === 'left') !== turned ? 1 : 0
      const kept = keep({ question: number, first: pair[0], second: pair[1], chose })
      begin(kept.then(make))
      await kept
    },
    standing() {
      const { values } = likingOf(points, answered, bandit.lambda)
      const shown = [...new Set(answered.flatMap(({ first, second }) => [first, second]))]
      const best = bestShown(points, answered, bandit)
      const order = shown.sort((a, b) => Number(b === best) - Number(a === best) || values[b]! - values[a]!)
      return {
        answered: answered.length,
        same: answered.filter(({ same }) => same).length,
        prompts: order.map(place => ({ prompt: prompts[place]!, liking: values[place]! })),
      }
    },
  }
}

/** Rows in an order of their own in every round through them. */
const rowOf = (records: readonly DataRecord[], seed: number, number: number): number =>
  shuffle([...records.keys()], seed, streams.choosing, 3, Math.floor(number / records.length))[number % records.length]!

/** @throws GradpromptError `invalid-option` */
async function promptsOf(given: string | readonly string[]): Promise<string[]> {
  const lines = typeof given === 'string' ? (await readText(given, await sizeOf(given))).split('\n') : given
  const prompts = lines.map(line => line.replaceAll('\\n', '\n').trim()).filter(line => line !== '')
  const different = new Set(prompts).size
  if (different === prompts.length && different >= 2) return prompts
  throw new GradpromptError('invalid-option', 'there are not two prompts and more, each once', {
    found: `${prompts.length}, of which ${different} differ`,
    expected: 'a prompt a line',
  })
}

/** @throws GradpromptError `journal-mismatch`, `run-corrupt` */
async function readJournal(
  path: string,
  head: Pick<z.output<typeof headSchema>, 'prompts' | 'seed'>,
): Promise<{ readonly lines: Line[]; readonly asked: string | undefined } | undefined> {
  const text = await textOfFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw readError(error, path)
  })
  if (text === undefined) return undefined
  const refuse = (found: string): never => {
    throw new GradpromptError('journal-mismatch', `${path} is not a journal of these prompts`, {
      found,
      expected: 'what the same prompts and seed were compared by, or a new name',
      hint: 'another journal: --journal FILE',
    })
  }
  const [first = '', ...others] = text.split('\n')
  const kept = headSchema.safeParse(jsonOrUndefined(first))
  if (!kept.success || kept.data.prompts !== head.prompts || kept.data.seed !== head.seed)
    refuse('other prompts, or another seed')
  // The last line may have been cut off by whatever ended the one who wrote it: the next one begins in its place.
  const torn = others.pop() ?? ''
  if (torn !== '') await truncate(path, Buffer.byteLength(text) - Buffer.byteLength(torn))
  const lines = others.map((line, i) => {
    const found = lineSchema.safeParse(jsonOrUndefined(line))
    if (!found.success || found.data.question !== i) refuse(`line ${i + 2} is no answer`)
    return found.data!
  })
  return { lines, asked: kept.data?.asked }
}
