import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type PreferSession, prefer } from '../../src/api/choosing/prefer.js'
import { GradpromptError } from '../../src/errors.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { startPreferPage } from '../../src/ui/prefer/server.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'

/** Choosing among prompts on a page: what is asked and kept, and who may answer. */

const { folder, remove } = temporaryFolder()
afterAll(remove)
const data = join(folder, 'questions.jsonl')
writeFileSync(data, ['the stone', 'a hand'].map(question => `${JSON.stringify({ question })}\n`).join(''))
const prompts = ['the wine', 'on the door', 'in it']

test('a session asks, keeps answers at once, and goes on with them', async () => {
  const journal = join(folder, 'preferred.jsonl')
  const options = {
    prompts,
    data,
    model: toyModel,
    template: '{prompt} {question}',
    journal,
    maxNewTokens: 3,
    initial: 1,
    threads: 1,
  }
  const open = vi.spyOn(GenerationEngine, 'open')
  const first = await prefer(options)
  const question = await first.question()
  expect(await first.question()).toEqual(question)
  expect(['the stone', 'a hand']).toContain(question.input)
  await first.answer(question.number, 'left')
  expect(await problemOf(first.answer(question.number, 'right'))).toMatchObject({ code: 'already-answered' })
  const next = await first.question()
  await first.answer(next.number, 'neither')
  const standing = first.standing()
  expect(standing.answered).toBe(next.number + 1)
  const upcoming = await first.question()
  expect(open).toHaveBeenCalledTimes(1)
  await first[Symbol.asyncDispose]()
  // A line that was cut off is no answer.
  writeFileSync(journal, `${readFileSync(journal, 'utf8')}{"question": `)
  const again = await prefer(options)
  expect(again.standing()).toEqual(standing)
  expect(await again.question()).toEqual(upcoming)
  // The next one begins in its place.
  await again.answer(upcoming.number, 'right')
  const lines = readFileSync(journal, 'utf8').trimEnd().split('\n')
  expect(lines.slice(1).map(line => (JSON.parse(line) as { question: number }).question)).toEqual(
    Array.from({ length: lines.length - 1 }, (_, i) => i),
  )
  await again[Symbol.asyncDispose]()
  expect(await problemOf(prefer({ ...options, prompts: ['other', 'prompts'] }))).toMatchObject({ code: 'journal-mismatch' })
  expect(await problemOf(prefer({ ...options, journal: folder }))).toMatchObject({ code: 'run-corrupt' })
  expect(await problemOf(prefer({ ...options, prompts: ['one'] }))).toMatchObject({ code: 'invalid-option' })
  expect(await problemOf(prefer({ ...options, template: '{question}' }))).toMatchObject({ code: 'no-prompt-place' })
  expect(await problemOf(prefer({ ...options, template: '{prompt} {other}' }))).toMatchObject({ code: 'missing-column' })
})

test('a journal is one session’s, and a question counts once', async () => {
  const journal = join(folder, 'shared.jsonl')
  const warnings: string[] = []
  const options = {
    ...{ prompts, data, model: toyModel, template: '{prompt} {question}', journal, maxNewTokens: 3, initial: 1, threads: 1 },
    onWarning: ({ code }: { readonly code: string }) => warnings.push(code),
  }
  const session = await prefer(options)
  expect(await problemOf(prefer(options))).toMatchObject({ code: 'run-locked' })
  const { number } = await session.question()
  const both = await Promise.allSettled([session.answer(number, 'left'), session.answer(number, 'right')])
  expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
  const own = readFileSync(journal, 'utf8')
    .split('\n')
    .filter(line => line.includes(`"question":${number},`))
  expect(own).toHaveLength(1)
  await session[Symbol.asyncDispose]()
  // A model is known by what it holds, open or by its name.
  const { threads: _, ...others } = options
  for (const [name, expected] of [
    [toyModel, []],
    ['test/fixtures/models/llama3-rope', ['other-questions']],
  ] as const) {
    await using model = await LanguageModel.load(name, { threads: 1 })
    await (await prefer({ ...others, model }))[Symbol.asyncDispose]()
    expect(warnings.splice(0)).toEqual(expected)
  }
})

describe('the page', () => {
  const answers: [number, string][] = []
  const session: PreferSession = {
    model: 'none',
    question: async () => ({ number: answers.length, input: 'which?', left: '<b>one</b>', right: 'other' }),
    async answer(number, side) {
      if (number !== answers.length) throw new GradpromptError('already-answered', 'this question has been answered')
      answers.push([number, side])
    },
    standing: () => ({ answered: answers.length, same: 0, prompts: [] }),
    async [Symbol.asyncDispose]() {},
  }

  test('is for who has its token, and takes each answer once', async () => {
    await using page = await startPreferPage(session, { host: '127.0.0.1', port: 0, token: 'secret' })
    const at = `http://127.0.0.1:${page.port}`
    expect((await fetch(`${at}/question`)).status).toBe(401)
    const entered = await fetch(page.url, { redirect: 'manual' })
    expect(entered.status).toBe(303)
    const cookie = entered.headers.get('set-cookie')!.split(';')[0]!
    const ask = (path: string, body?: object) =>
      fetch(at + path, {
        headers: { cookie, 'content-type': 'application/json' },
        ...(body && { method: 'POST', body: JSON.stringify(body) }),
      })
    const html = await ask('/')
    expect(html.headers.get('content-security-policy')).toContain("script-src 'self'")
    const text = await html.text()
    expect(text).toContain('prefer.js')
    // A browser asks for an icon, and the model takes seconds: neither is nothing.
    expect(text).toContain('rel="icon"')
    expect(await (await ask('/prefer.js')).text()).toContain('the model answers …')
    expect(await (await ask('/question')).json()).toMatchObject({ question: { number: 0, left: '<b>one</b>' } })
    expect(await (await ask('/answer', { number: 0, side: 'left' })).json()).toMatchObject({ question: { number: 1 } })
    // Two people with one page: who answers later hears of it, and nothing is counted twice.
    const late = await ask('/answer', { number: 0, side: 'right' })
    expect(late.status).toBe(409)
    expect(await late.json()).toMatchObject({ error: { code: 'already-answered' } })
    expect(answers).toEqual([[0, 'left']])
    expect((await ask('/answer', { number: 1, side: 'up' })).status).toBe(400)
    expect((await ask('/elsewhere')).status).toBe(404)
    const foreign = await fetch(`${at}/answer`, { method: 'POST', headers: { cookie, origin: 'http://elsewhere' }, body: '{}' })
    expect(foreign.status).toBe(403)
  })

  test('is of this machine alone', async () => {
    expect(await problemOf(startPreferPage(session, { host: '0.0.0.0', port: 0, token: 'x' }))).toMatchObject({
      code: 'invalid-option',
    })
  })
})
