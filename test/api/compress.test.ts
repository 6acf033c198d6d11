import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { compress, retainedOf } from '../../src/api/compress.js'
import { search } from '../../src/api/search.js'
import { tune } from '../../src/api/tune.js'
import { compileTemplate } from '../../src/data/texts/template.js'
import { loadTokenizer } from '../../src/formats/tokenizer.js'
import { studyAsks, studyForm, studyRows } from '../../src/train/study/self-study.js'
import { toySearch } from '../search/toy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** A text trained into a prompt by what the model asks itself about it. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

const text = 'the stone and the wine are at the door'
const file = join(folder, 'text.txt')
writeFileSync(file, `${text}\n`)
const questions = join(folder, 'facts.jsonl')
writeFileSync(questions, ['wine', 'stone', 'hand'].map(answer => `${JSON.stringify({ question: 'where?', answer })}\n`).join(''))
const options = {
  file,
  model: toyModel,
  tokens: 4,
  conversations: 6,
  maxNewTokens: 6,
  steps: 6,
  batchSize: 4,
  threads: 1,
  questions,
}

test('learns from its own questions, is measured by others, and takes its own questions up again', async () => {
  const controller = new AbortController()
  const out = join(folder, 'run')
  const stopped = compress({
    ...options,
    out,
    signal: controller.signal,
    onProgress: ({ what }) => what === 'answers' && controller.abort(),
  })
  expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
  expect(existsSync(out)).toBe(false)
  const before = readdirSync(folder)

  const run = await compress({ ...options, out })
  expect(before.some(name => name.startsWith('run-study-'))).toBe(true)
  const rows = readFileSync(run.conversations, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as object)
  for (const row of rows) expect(Object.keys(row)).toEqual(['kind', 'question', 'answer'])
  // Nothing but the conversations is left of the study.
  expect(readdirSync(folder).filter(name => name.startsWith('run-'))).toHaveLength(1)
  expect(run.config.method).toMatchObject({ type: 'prefix-tuning', numVirtualTokens: 4, frozenTokens: 1 })
  expect(run.retained).toMatchObject({ of: 'questions', rows: 3 })
  for (const name of ['without', 'inContext', 'compressed'] as const) expect(run.retained[name]).toBeLessThan(0)
  expect(run.result.test!.metrics.logLikelihood!.value).toBeCloseTo(run.retained.compressed, 6)
})

test('the same call goes on with a run that was stopped or has ended; another call, and another run, are left alone', async () => {
  const whole = await compress({ ...options, seed: 7, out: join(folder, 'whole') })
  const out = join(folder, 'stopped')
  const given = { ...options, seed: 7, out }
  const stop = new AbortController()
  const onEvent = ({ event }: { event: string }) => event === 'step' && stop.abort()
  expect(await problemOf(compress({ ...given, onEvent, signal: stop.signal }))).toMatchObject({ code: 'aborted' })
  for (const other of [{ steps: 7 }, { tokens: 3 }, { questions: undefined }, { as: 'rows' as const }])
    expect(await problemOf(compress({ ...given, ...other }))).toMatchObject({ code: 'run-exists' })
  expect((await compress(given)).retained).toEqual(whole.retained)
  const learned = readFileSync(join(out, 'prompt.safetensors'))
  const events: string[] = []
  const ended = await compress({ ...given, onEvent: ({ event }) => events.push(event) })
  expect(ended.retained).toEqual(whole.retained)
  expect(events).not.toContain('step')
  expect(readFileSync(join(out, 'prompt.safetensors'))).toEqual(learned)

  // Nothing is asked for a run that cannot be gone on with.
  const tuned = join(folder, 'tuned')
  await tune({ ...toyConfig(folder, { train: { steps: 1 }, threads: 1 }), out: tuned })
  const searched = join(folder, 'searched')
  await search({ ...toySearch(folder), out: searched })
  const before = readdirSync(folder)
  for (const other of [tuned, searched])
    expect(await problemOf(compress({ ...given, out: other }))).toMatchObject({ code: 'run-exists' })
  expect(readdirSync(folder)).toEqual(before)
})

test('a text that is empty, shorter than the prompt or longer than the context is refused before anything is asked', async () => {
  const of = (name: string, content: string) => {
    writeFileSync(join(folder, name), content)
    return compress({ ...options, file: join(folder, name), out: join(folder, 'none') })
  }
  expect(await problemOf(of('empty.txt', ' \n'))).toMatchObject({ code: 'empty-text' })
  expect(await problemOf(of('short.txt', 'a'))).toMatchObject({ code: 'text-too-short' })
  expect(await problemOf(of('long.txt', text.repeat(100)))).toMatchObject({ code: 'text-too-long' })
  for (const absent of [{ file: join(folder, 'absent.txt') }, { questions: join(folder, 'absent.jsonl') }])
    expect(await problemOf(compress({ ...options, ...absent, out: join(folder, 'none') }))).toMatchObject({
      code: 'file-not-found',
    })
  writeFileSync(join(folder, 'other.jsonl'), '{"question": "q"}\n')
  const lacking = compress({ ...options, questions: join(folder, 'other.jsonl'), out: join(folder, 'none') })
  expect(await problemOf(lacking)).toMatchObject({ code: 'missing-column' })
  expect(readdirSync(folder).some(name => name.startsWith('none'))).toBe(false)
})

test('what is kept is the share of the gain, and nothing where there is none', () => {
  const of = (...values: number[]) => Float64Array.from(values)
  const some = { without: of(-4, -6), inContext: of(-2, -2), compressed: of(-2.5, -3) }
  expect(retainedOf('questions', some, 13)).toMatchObject({ rows: 2, without: -5, inContext: -2, compressed: -2.75 })
  expect(retainedOf('questions', some, 13).share!.value).toBeCloseTo(0.75, 9)
  expect(retainedOf('questions', { ...some, inContext: some.without }, 13).share).toBeUndefined()
})

test('asks of each kind in turn, of pieces of the text; empty and repeated questions are left out', async () => {
  const tokenizer = await loadTokenizer({ folder: toyModel })
  const asks = studyAsks(tokenizer, text, { count: 10, seed: 1, longest: 8, chat: false })
  expect(new Set(asks.map(({ kind }) => kind)).size).toBe(5)
  for (const { from, to } of asks) expect(to - from).toBeLessThanOrEqual(8)
  expect(new Set(asks.map(({ from }) => from)).size).toBeGreaterThan(2)
  expect(asks).toEqual(studyAsks(tokenizer, text, { count: 10, seed: 1, longest: 8, chat: false }))
  expect(studyRows(['a', 'b', 'c', 'd'], ['x ', 'x', '', 'y'], ['1', '2', '3', ' '])).toEqual([
    { kind: 'a', question: 'x', answer: '1' },
  ])
})

test('the text is a system message, which the rows follow; where there can be none both are plain text', () => {
  const tokenizer = (system: boolean) =>
    ({
      bosTokenId: 1,
      chatTemplate: 'there is one',
      decode: () => '<s>',
      applyChatTemplate: (messages: readonly { role: string; content: string }[], { addGenerationPrompt = false } = {}) => {
        if (!system && messages[0]!.role === 'system') throw new Error('no system message')
        return `<s>${messages.map(({ role, content }) => `[${role}]${content}</end>\n`).join('')}${addGenerationPrompt ? '[{assistant}]' : ''}`
      },
    }) as never
  const chat = studyForm(tokenizer(true), 'T')
  expect(chat).toMatchObject({ context: '[system]T</end>\n', answer: '{answer}', answerEnd: '</end>', isChat: true })
  expect(chat.asked('Q $&')).toBe('[user]Q $&</end>\n[{assistant}]')
  expect(compileTemplate(chat.template).render({ question: 'Q $&' }, 0)).toBe(chat.asked('Q $&'))
  const plain = studyForm(tokenizer(false), 'T')
  expect(plain).toMatchObject({ context: 'T\n\n', template: 'Question: {question}\nAnswer:', isChat: false })
  expect(plain.asked('Q')).toBe('Question: Q\nAnswer:')
})
