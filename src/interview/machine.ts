import { GradpromptError } from '../errors.js'
import { clean, composed, type Field, fields, labelsOf, missingIn, placeholdersOf, required } from './brief.js'
import { formQuestion, type InterviewModel, instructionOf, questionOf } from './model-turns.js'
import type { InterviewState, StateName } from './state.js'
import { filled } from './template.js'

/**
 * An interview as a machine of six states, after Promptor (Shen et al. 2023, arXiv 2310.08101): engage, draft, evaluate, test, refine, final. What
 * comes next is decided here, whatever a model says; what a model says of no use is asked by a form instead. Everything stands in the state as soon
 * as it is known, so that it goes on from wherever it was left.
 */

export interface InterviewQuestion {
  readonly state: StateName
  /** What an answer is given to, for programs: `task`, `draft`, `input.1.mail`, `verdict.1.2`, `right.2`. */
  readonly key: string
  readonly question: string
  /** What the person looks at: a draft, or answers under the draft before and under this one. */
  readonly shown?: Readonly<Partial<Record<'draft' | 'input' | 'before' | 'now', string>>>
  /** Whose words the question is in. */
  readonly by: 'model' | 'form'
}

export interface InterviewTools {
  readonly ask: (question: InterviewQuestion) => string | Promise<string>
  /** Keeps the state. */
  readonly save: (state: InterviewState) => Promise<void>
  /** Without one all questions are those of the form, and the person says what answers are to be. */
  readonly model: InterviewModel | undefined
  readonly rounds: number
  readonly say: (code: string, message: string) => void
}

export const INPUTS = 3
const QUESTIONS = 6
/** Replies of no use after which a model is asked for no more questions. */
const PATIENCE = 2

/** Goes on to the end. @throws GradpromptError `answer-missing`, `answer-invalid`, and what the tools throw */
export async function run(given: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  let state = given
  while (state.state !== null) state = await steps[state.state](state, tools)
  return state
}

type Step = (state: InterviewState, tools: InterviewTools) => Promise<InterviewState>

const steps: Readonly<Record<StateName, Step>> = { engage, draft, evaluate, test, refine, final }

/** Asks for every field of the brief once. */
async function engage(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  const empty = fields.filter(field => state.brief[field] === undefined)
  if (empty.length === 0 || state.asked.length >= QUESTIONS) return await enter(state, 'draft', tools)
  let at = state
  if (at.pending === null) {
    const isAsking = tools.model !== undefined && at.unusable < PATIENCE
    const own = isAsking ? await questionOf(tools.model!, at.brief, empty, at.asked) : undefined
    const unusable = at.unusable + Number(isAsking && own === undefined)
    if (isAsking && unusable === PATIENCE)
      tools.say('weak-model', 'the model asks nothing that can be used: a form asks in its place')
    at = { ...at, unusable, pending: { ...(own ?? formQuestion(empty[0]!)), by: own === undefined ? 'form' : 'model' } }
    await tools.save(at)
  }
  const { field, question, by } = at.pending!
  const answer = await answered(at, tools, { key: field, question, by })
  const said = clean(answer)
  if (required.includes(field) && (said === '' || (field === 'inputs' && placeholdersOf({ inputs: said }).length === 0)))
    throw needed(field)
  const asked = [...at.asked, at.pending!]
  return await kept(
    logged({ ...at, brief: { ...at.brief, [field]: said }, asked, pending: null }, field, question, answer),
    tools,
  )
}

/** Writes a first instruction. */
async function draft(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  const own = tools.model && (await instructionOf(tools.model, state.brief))
  return await enter({ ...state, draft: own ?? composed(state.brief) }, 'evaluate', tools)
}

/** Has the person look at the draft. */
async function evaluate(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  const question = 'Does this say what you mean? Leave it empty if so; otherwise say what is to be different.'
  const answer = await answered(state, tools, { key: 'draft', question, by: 'form', shown: { draft: state.draft } })
  const isYes = (text: string) => /^(?:y|yes|ok|good)?[.!]?$/iu.test(text.trim())
  let at = logged(state, 'draft', question, answer)
  let note = isYes(answer) ? '' : clean(answer)
  if (note === '' && !isYes(answer)) {
    // A bare no says that something is wrong, and not what.
    const what = 'What is to be different?'
    const more = await answered(at, tools, { key: 'draft.change', question: what, by: 'form', shown: { draft: state.draft } })
    note = clean(more)
    if (note === '') throw needed('draft.change')
    at = logged(at, 'draft.change', what, more)
  }
  at = { ...at, notes: note === '' ? at.notes : [...at.notes, note] }
  return await enter(at, note === '' ? 'test' : 'refine', tools)
}

/** Runs the draft on the person's own inputs, beside the draft before; without a model the person says what is right. */
async function test(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  const names = placeholdersOf(state.brief)
  if (state.inputs.length < INPUTS) return await inputAsked(state, names, tools)
  if (tools.model === undefined) return await rightAsked(state, tools)
  const round = state.tests.filter(one => one.round === state.round)
  const open = round.find(({ verdict }) => verdict === null)
  if (open !== undefined) return await verdictAsked(state, open, tools)
  if (round.length < state.inputs.length) {
    const input = round.length
    const output = await tools.model.run(filled(state.draft, state.inputs[input]!))
    const before = state.tests.find(one => one.round === state.round - 1 && one.input === input)?.output ?? null
    const one = { round: state.round, input, output: output.trim(), before, verdict: null, note: '' }
    return await kept({ ...state, tests: [...state.tests, one] }, tools)
  }
  const notes = [...state.notes, ...round.flatMap(({ verdict, note }) => (verdict === 'down' && note !== '' ? [note] : []))]
  const isDone = notes.length === 0 || state.round + 1 >= tools.rounds
  return await enter({ ...state, notes }, isDone ? 'final' : 'refine', tools)
}

type TestedInput = InterviewState['tests'][number]

async function inputAsked(state: InterviewState, names: readonly string[], tools: InterviewTools): Promise<InterviewState> {
  const number = state.inputs.length + 1
  const input: Record<string, string> = {}
  let at = state
  for (const name of names) {
    const key = `input.${number}.${name}`
    const question = `Input ${number} of ${INPUTS} to try it on: ${name}`
    // A part of an input that was given before the interview was left.
    const said = at.log.find(one => one.key === key)?.answer
    const value = said ?? (await answered(at, tools, { key, question, by: 'form' }))
    if (value.trim() === '') throw needed(key)
    input[name] = value.trim()
    if (said === undefined) at = await kept(logged(at, key, question, value), tools)
  }
  return await kept({ ...at, inputs: [...at.inputs, input] }, tools)
}

async function verdictAsked(state: InterviewState, open: TestedInput, tools: InterviewTools): Promise<InterviewState> {
  const key = `verdict.${open.round + 1}.${open.input + 1}`
  const question = 'Good? + for yes; otherwise - and what is wrong with it.'
  const shown = {
    input: Object.values(state.inputs[open.input]!).join('\n'),
    ...(open.before !== null && { before: open.before }),
    now: open.output,
  }
  const answer = await answered(state, tools, { key, question, by: 'form', shown })
  const [, sign, note = ''] = /^\s*([+-]|👍|👎)?\s*([\s\S]*)$/u.exec(answer)!
  const isUp = sign === '+' || sign === '👍' || (sign === undefined && /^(?:y|yes|ok|good)?[.!]?$/iu.test(note.trim()))
  const judged = { ...open, verdict: isUp ? ('up' as const) : ('down' as const), note: isUp ? '' : clean(note) }
  const tests = state.tests.map(one => (one === open ? judged : one))
  return await kept(logged({ ...state, tests }, key, question, answer), tools)
}

async function rightAsked(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  const input = state.tests.length
  if (input >= state.inputs.length) return await enter(state, state.notes.length === 0 ? 'final' : 'refine', tools)
  const key = `right.${input + 1}`
  const question = 'What should the answer be? Leave it empty to leave it open.'
  const shown = { input: Object.values(state.inputs[input]!).join('\n') }
  const answer = await answered(state, tools, { key, question, by: 'form', shown })
  const output = answer.trim()
  const one = { round: 0, input, output, before: null, verdict: output === '' ? ('down' as const) : ('up' as const), note: '' }
  return await kept(logged({ ...state, tests: [...state.tests, one] }, key, question, answer), tools)
}

/** Heeds the notes, and nothing else. */
async function refine(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  const { notes, draft: before } = state
  const own = tools.model && (await instructionOf(tools.model, state.brief, { draft: before, notes }))
  const plain = `${before} ${notes.map(note => (/[.!?]$/u.test(note) ? note : `${note}.`)).join(' ')}`
  const isTested = state.tests.some(({ round }) => round === state.round) && tools.model !== undefined
  const at = { ...state, draft: own ?? plain, previous: before, notes: [], round: state.round + Number(isTested) }
  return await enter(at, 'test', tools)
}

async function final(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  const missing = missingIn(state.draft, state.brief)
  const draft = missing.length === 0 ? state.draft : `${state.draft} Answer with one of: ${labelsOf(state.brief).join(', ')}.`
  return await kept({ ...state, draft, state: null }, tools)
}

/** Of the last answers that the person liked: rows. */
export function accepted({ inputs, tests }: InterviewState): { input: Readonly<Record<string, string>>; output: string }[] {
  return inputs.flatMap((input, i) => {
    const last = tests.filter(one => one.input === i && one.verdict === 'up' && one.output !== '').at(-1)
    return last === undefined ? [] : [{ input, output: last.output }]
  })
}

async function enter(state: InterviewState, next: StateName, tools: InterviewTools): Promise<InterviewState> {
  return await kept({ ...state, state: next, visited: [...state.visited, next] }, tools)
}

async function kept(state: InterviewState, tools: InterviewTools): Promise<InterviewState> {
  await tools.save(state)
  return state
}

const logged = (state: InterviewState, key: string, question: string, answer: string): InterviewState => ({
  ...state,
  log: [...state.log, { state: state.state!, key, question, answer }],
})

async function answered(
  state: InterviewState,
  tools: InterviewTools,
  question: Omit<InterviewQuestion, 'state'>,
): Promise<string> {
  const answer: unknown = await tools.ask({ state: state.state!, ...question })
  if (typeof answer === 'string') return answer
  throw new GradpromptError('answer-invalid', `the answer to ${question.key} is no text`, {
    found: answer === null ? 'null' : typeof answer,
    expected: 'a text; an empty one for nothing',
  })
}

const needed = (key: Field | string) =>
  new GradpromptError('answer-missing', `there is no answer to ${key}`, {
    found: key === 'inputs' ? 'no name of an input field' : 'an empty text',
    expected:
      key === 'inputs' ? 'a name or several, other than prompt, label and answer' : 'a text: without it there is no prompt',
    hint: 'the interview stands where it was, and goes on with the same command',
  })
