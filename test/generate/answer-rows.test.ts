import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AnswerOptions, answerRows, partialPath } from '../../src/generate/answer-rows.js'
import { type AnswerRow, FinishedRows } from '../../src/generate/finished-rows.js'
import type { InputRow } from '../../src/generate/input.js'
import { FakeGenerator, type Script } from '../support/fake-generator.js'
import { problem, problemOf } from '../support/problem.js'
import { linesOf, newPath } from './support/files.js'

describe('the rows of a file', () => {
  const encode = (text: string) => [...Buffer.from(text)]
  const applyChatTemplate: AnswerOptions['tokenizer']['applyChatTemplate'] = messages =>
    messages.map(({ role, content }) => `<${role}>${content}`).join('')
  const rowsOf = (texts: readonly string[]) =>
    texts.map((prompt, i): InputRow => ({ origin: `in.jsonl:${i + 1}`, input: { prompt } }))
  const many = rowsOf(Array.from({ length: 30 }, (_, i) => `row ${i}`))
  const echo = (script: Partial<Script> = {}) =>
    new FakeGenerator(({ ids }, i) => ({
      pieces: ['<', Buffer.from(ids).toString(), '>'],
      // Later ones overtake the first.
      milliseconds: i % 3 === 0 ? 6 : 1,
      ...script,
    }))
  const answer = (generator: FakeGenerator, rows: readonly InputRow[], output: string, options: Partial<AnswerOptions> = {}) =>
    answerRows(rows, {
      generator,
      tokenizer: { encode, applyChatTemplate },
      settings: { temperature: 0 },
      room: { contextLength: 100, numVirtualTokens: 10 },
      output,
      fingerprint: 'f',
      ...options,
    })

  test('stand in the order of the input, whichever is finished first', async () => {
    const [output, generator, progress] = [newPath('out.jsonl'), echo({ stoppedBy: '>' }), [] as number[]]
    const summary = await answer(generator, many, output, {
      inFlight: 8,
      settings: { seed: 3, logProbabilities: true },
      maxNewTokens: 5,
      onProgress: done => progress.push(done),
    })
    expect(summary).toEqual({ rows: 30, resumed: 0, tokens: 90 })
    expect(linesOf(output)).toEqual(
      many.map((_, i) => ({
        text: `<row ${i}>`,
        ids: [100, 101, 102],
        finishReason: 'stop',
        stoppedBy: '>',
        logprobs: [-0.5, -1.5, -2.5],
      })),
    )
    expect(existsSync(partialPath(output))).toBe(false)
    expect(progress).toEqual(many.map((_, i) => i + 1))
    expect(generator.mostActive).toBe(8)
    expect(generator.requests[0]).toMatchObject({ maxNewTokens: 5, seed: 3 })
    expect(new Set(generator.requests.map(({ seed }) => seed)).size).toBe(30)
  })

  test('conversations go through the chat template', async () => {
    const rows: InputRow[] = [
      { origin: 'a', input: { prompt: 'x' } },
      { origin: 'b', input: { messages: [{ role: 'user', content: 'y' }] } },
    ]
    const texts = async (render: AnswerOptions['render']) => {
      const output = newPath('out.jsonl')
      await answer(echo(), rows, output, render && { render })
      return linesOf(output).map(({ text }) => text)
    }
    expect(await texts(undefined)).toEqual(['<x>', '<<user>y>'])
    expect(await texts({ chat: true })).toEqual(['<<user>x>', '<<user>y>'])
    expect(await texts({ system: 's' })).toEqual(['<<system>s<user>x>', '<<system>s<user>y>'])
  })

  test('that are finished are kept when it is stopped, and not made again', async () => {
    const [output, stopping] = [newPath('out.jsonl'), new AbortController()]
    const stopped = answer(echo(), many, output, {
      inFlight: 4,
      signal: stopping.signal,
      onProgress: done => done === 10 && stopping.abort(),
    })
    expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
    expect(existsSync(output)).toBe(false)
    const kept = linesOf(partialPath(output)).slice(1)
    expect(kept.length).toBeGreaterThanOrEqual(10)
    expect(kept.length).toBeLessThan(20)
    // As kill -9 leaves it: half a line.
    appendFileSync(partialPath(output), '{"index":29,"text":"ha')
    const generator = echo()
    const summary = await answer(generator, many, output)
    expect(summary).toMatchObject({ rows: 30, resumed: kept.length })
    expect(generator.requests).toHaveLength(30 - kept.length)
    expect(linesOf(output).map(({ text }) => text)).toEqual(many.map((_, i) => `<row ${i}>`))
  })

  test('of other settings are not taken over, nor lost', async () => {
    const [output, stopping] = [newPath('out.jsonl'), new AbortController()]
    const onProgress = () => stopping.abort()
    await problemOf(answer(echo(), many, output, { inFlight: 1, signal: stopping.signal, onProgress }))
    const before = readFileSync(partialPath(output))
    expect(await problemOf(answer(echo(), many, output, { fingerprint: 'g' }))).toMatchObject({
      code: 'other-answers',
      hint: expect.stringContaining(partialPath(output)),
    })
    expect(readFileSync(partialPath(output)).equals(before)).toBe(true)
  })

  test('a row that fails is named, and the others that are finished stay', async () => {
    const output = newPath('out.jsonl')
    const generator = new FakeGenerator((_, i) => (i === 5 ? { pieces: [], error: new Error('broken') } : { pieces: ['a'] }))
    await expect(answer(generator, many, output, { inFlight: 2 })).rejects.toThrow('broken')
    expect(linesOf(partialPath(output)).length).toBeGreaterThan(3)
    expect(generator.requests.length).toBeLessThan(10)
  })

  test('that cannot be answered are refused before anything is generated', async () => {
    const generator = echo()
    const refused = async (text: string, options: Partial<AnswerOptions>) =>
      problemOf(answer(generator, rowsOf(['fine', text]), newPath('out.jsonl'), options))
    expect(await refused('x'.repeat(81), { maxNewTokens: 10 })).toMatchObject({
      code: 'context-exceeded',
      message: expect.stringContaining('in.jsonl:2'),
      found: '81 tokens after 10 of a soft prompt, and 10 new',
    })
    expect(await refused('x'.repeat(90), {})).toMatchObject({ code: 'context-exceeded' })
    expect(await refused('', { room: { contextLength: 100, numVirtualTokens: 0 } })).toMatchObject({ code: 'empty-prompt' })
    expect(generator.requests).toHaveLength(0)
    // The longest that fits, and what is left of it.
    await answer(generator, rowsOf(['x'.repeat(80)]), newPath('out.jsonl'), {})
    expect(generator.requests[0]!.maxNewTokens).toBe(10)
  })

  test('a folder that is missing is made; one that cannot be is a problem of ours', async () => {
    const output = join(newPath('new'), 'deep', 'out.jsonl')
    await answer(echo(), many.slice(0, 1), output)
    expect(linesOf(output)).toHaveLength(1)
    expect(await problemOf(answer(echo(), many, join(output, 'out.jsonl')))).toMatchObject({ code: 'cannot-write' })
  })
})

describe('finished rows', () => {
  const row: AnswerRow = { text: 'é\n', ids: [1, 2], finishReason: 'length' }
  const open = (path: string, total = 5) => FinishedRows.open(path, { fingerprint: 'f', total })

  test('however the file is cut, a beginning of the rows is left', async () => {
    const path = newPath('rows.partial')
    const rows = open(path)
    for (const index of [3, 0, 4]) rows.add(index, row)
    rows.close()
    const whole = readFileSync(path)
    fc.assert(
      fc.property(fc.nat(whole.length), size => {
        writeFileSync(path, whole.subarray(0, size))
        const lines = whole.subarray(0, size).toString('latin1').split('\n').length - 1
        const again = open(path)
        expect(again.size).toBe(Math.max(0, lines - 1))
        again.add(1, row)
        again.close()
        const last = open(path)
        expect(last.size).toBe(Math.max(0, lines - 1) + 1)
        last.close()
      }),
    )
  })

  test('lines that are no rows are left out', () => {
    const path = newPath('rows.partial')
    const rows = open(path)
    rows.add(0, row)
    rows.close()
    const odd = ['{}', 'null', 'nonsense', '{"index":9,"text":"a","ids":[],"finishReason":"stop"}', '{"index":1,"text":3}', '']
    appendFileSync(path, odd.map(line => `${line}\n`).join(''))
    const again = open(path)
    expect([again.size, again.has(0), again.has(1)]).toEqual([1, true, false])
    again.close()
  })

  test('a file that is none of ours is refused, not emptied', () => {
    const path = newPath('rows.partial')
    writeFileSync(path, 'my notes\n')
    expect(problem(() => open(path))).toMatchObject({ code: 'other-answers' })
    expect(readFileSync(path, 'utf8')).toBe('my notes\n')
  })

  test('lines longer than what is read at once', async () => {
    const [path, output] = [newPath('rows.partial'), newPath('out.jsonl')]
    const long = { ...row, text: 'x'.repeat(3 * 2 ** 20) }
    const rows = open(path, 3)
    for (const index of [2, 1]) rows.add(index, long)
    rows.close()
    const again = open(path, 3)
    expect(again.size).toBe(2)
    again.add(0, row)
    await again.publish(output, 3)
    again.close()
    expect(linesOf(output)).toEqual([row, long, long])
  })

  test('nothing is left behind when the output cannot be put in place', async () => {
    const path = newPath('rows.partial')
    const output = newPath('out')
    mkdirSync(join(output, 'inside'), { recursive: true })
    const rows = open(path, 1)
    rows.add(0, row)
    await expect(rows.publish(output, 1)).rejects.toThrow()
    rows.close()
    expect(linesOf(path)).toHaveLength(2)
    rmSync(output, { recursive: true })
  })
})
