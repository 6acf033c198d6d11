import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { defaultSeed, type OptionNames, refuseUnknown, requireCounts } from '../../config/call-options.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { GradpromptError } from '../../errors.js'
import { exists } from '../../files.js'
import type { LimitsAsked } from '../../generate/limits/asked.js'
import { type Brief, labelsOf, placeholdersOf } from '../../interview/brief.js'
import { accepted, type InterviewQuestion, run } from '../../interview/machine.js'
import type { InterviewModel } from '../../interview/model-turns.js'
import { beginning, type InterviewState, interviewSchema, type StateName } from '../../interview/state.js'
import { templateOf } from '../../interview/template.js'
import { jsonOrUndefined } from '../../json.js'
import type { LanguageModel } from '../../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames } from '../../model/with-model.js'
import { bundledModel } from '../../package-root.js'
import { labelIn } from '../../search/writing/endpoint-writer.js'
import { replaceText } from '../../store/atomic.js'
import { acquireLock } from '../../store/lock.js'
import { answersIn, openAnswering } from '../generation/generate.js'
import { handedOver } from './handover.js'

/** From what a person has in mind to a prompt with places for its inputs: the library's `interview`, and `gradprompt interview`. */

export interface InterviewOptions extends ModelSettings {
  /** Where it is kept; the same call goes on with it. */
  readonly folder: string
  /** Asked for each answer; what it throws ends the interview, which stands where it was. */
  readonly ask: (question: InterviewQuestion) => string | Promise<string>
  /** A model or its name, by default the bundled one; an object with `json` and `run`, which asks elsewhere; null: a form asks, and nothing is tried. */
  readonly model?: LanguageModel | string | InterviewModel | null | undefined
  /** Times that the draft is tried on the inputs; by default 3. */
  readonly rounds?: number | undefined
  /** Of an answer that is tried; by default 128. */
  readonly maxNewTokens?: number | undefined
  readonly seed?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

export interface Interviewed {
  readonly folder: string
  /** The states that were entered, in order. */
  readonly states: readonly StateName[]
  readonly brief: Brief
  readonly instruction: string
  /** The instruction and a line for each input, with `{placeholders}`: `template.txt` of the folder. */
  readonly template: string
  readonly placeholders: readonly string[]
  /** Answers that were liked: rows of `rows.jsonl`. */
  readonly rows: number
  /** A search's config that goes on from here, where there is something to go on with. */
  readonly config?: string
  /** What to do next. */
  readonly next: string
}

const names = {
  ...modelSettingNames, folder: true, ask: true, model: true, rounds: true, maxNewTokens: true, seed: true, signal: true, onWarning: true,
} satisfies OptionNames<InterviewOptions> // biome-ignore format: a list

/**
 * Asks for what a prompt has to say, writes it, tries it on the person's own inputs, and heeds what the person says of the answers. A machine of six
 * states decides what comes next; a model only puts questions and writes the text, and without one, or with one that is too weak for it, a form does.
 *
 * ```ts
 * const { template } = await interview({ folder: 'interview', ask: ({ question }) => readline.question(`${question} `) })
 * ```
 *
 * @throws GradpromptError `invalid-option`, `answer-missing`, `answer-invalid`, `run-corrupt`, `run-locked` (another process asks), `aborted`, and as
 *   `generate` and `ask` do; what was answered is kept
 */
export async function interview(options: InterviewOptions): Promise<Interviewed> {
  refuseUnknown('interview', options, names)
  const { folder, ask, rounds = 3, maxNewTokens = 128, onWarning } = options
  requireCounts({ rounds, maxNewTokens })
  if (typeof ask !== 'function')
    throw new GradpromptError('invalid-option', 'ask is not valid', {
      found: typeof ask,
      expected: 'a function of a question that gives its answer',
    })
  await mkdir(folder, { recursive: true })
  const path = join(folder, 'interview.json')
  await using _ = await acquireLock(`${path}.lock`)
  const begun = await readState(path)
  await using used = await modelOf(options, maxNewTokens)
  const state = await run(begun, {
    ask,
    save: state => replaceText(path, `${JSON.stringify(state, null, 2)}\n`),
    model: used.model,
    rounds,
    say: (code, message) => onWarning?.({ code, message }),
  })
  return await written(folder, state, used.name, onWarning)
}

async function readState(path: string): Promise<InterviewState> {
  if (!(await exists(path))) return beginning()
  const given = jsonOrUndefined(await readFile(path, 'utf8'))
  const parsed = interviewSchema.safeParse(given)
  if (parsed.success) return parsed.data
  const place = parsed.error.issues[0]?.path.join('.')
  throw new GradpromptError('run-corrupt', `${path} is no interview`, {
    found:
      given === undefined ? 'a text that is no JSON' : place ? `nothing that can be read as "${place}"` : 'JSON, but no object',
    expected: 'the file that an interview has written',
    hint: 'move it away, or begin in another folder',
  })
}

const isOwn = (model: InterviewOptions['model']): model is InterviewModel =>
  typeof model === 'object' && model !== null && 'json' in model && 'run' in model

async function modelOf(options: InterviewOptions, maxNewTokens: number) {
  const { model: given, seed = defaultSeed, signal } = options
  const none = { [Symbol.asyncDispose]: async () => {}, name: bundledModel }
  if (given === null) return { ...none, model: undefined }
  if (isOwn(given)) return { ...none, model: given }
  // One engine for all turns.
  const opened = await openAnswering({ ...firstOf(options), model: given ?? bundledModel, chat: 'auto', seed })
  const answer = async (text: string, more: LimitsAsked & { readonly maxNewTokens: number }) => {
    // An answer depends on nothing that was asked before, so that an interview that is gone on with is the same.
    opened.engine.forget()
    const [answer] = await answersIn(opened, { inputs: [text], signal, ...more })
    return answer!.text
  }
  const own: InterviewModel = {
    json: (text, schema) => answer(text, { jsonSchema: schema, maxNewTokens: 320 }),
    run: text => answer(text, { maxNewTokens }),
  }
  return {
    model: own,
    name: typeof given === 'string' ? given : opened.model.checkpoint.name,
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

async function written(
  folder: string,
  state: InterviewState,
  model: string,
  onWarning: InterviewOptions['onWarning'],
): Promise<Interviewed> {
  const { draft: instruction, brief } = state
  const placeholders = placeholdersOf(brief)
  const template = templateOf(instruction, placeholders)
  await replaceText(join(folder, 'template.txt'), `${template}\n`)
  const labels = labelsOf(brief)
  const liked = accepted(state)
  // A row of a fixed answer has that answer, and not the sentence around it.
  const rows = liked.flatMap(({ input, output }) => {
    const answer = labels.length === 0 ? output : labelIn(output, labels)
    return answer === undefined ? [] : [{ ...input, answer }]
  })
  if (rows.length < liked.length)
    onWarning?.({
      code: 'answers-left-out',
      message: `${liked.length - rows.length} of ${liked.length} accepted answers name none of ${labels.join(', ')}, or several: they are no rows`,
    })
  const lines = rows.map(row => `${JSON.stringify(row)}\n`)
  // Rows that a person has added since are left as they are.
  const rowsPath = join(folder, 'rows.jsonl')
  const isThere = await exists(rowsPath)
  if (!isThere && rows.length > 0) await replaceText(rowsPath, lines.join(''))
  const count = isThere ? (await readFile(rowsPath, 'utf8')).split('\n').filter(line => line.trim() !== '').length : rows.length
  const outcome = { folder, states: state.visited, brief, instruction, template, placeholders, rows: count }
  return { ...outcome, ...(await handedOver({ folder, instruction, placeholders, brief, model, rows: count })) }
}
