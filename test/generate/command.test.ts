import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import OpenAI from 'openai'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { generateRequest } from '../../src/cli/commands/generate.js'
import { serveRequest } from '../../src/cli/commands/serve.js'
import { parseArguments } from '../../src/cli/parse.js'
import { type AnswerOptions, answerRows, partialPath } from '../../src/generate/answer-rows.js'
import { type AnswerRow, FinishedRows } from '../../src/generate/finished-rows.js'
import type { InputRow } from '../../src/generate/input.js'
import { command } from '../cli/command.js'
import { FakeGenerator, type Script } from '../support/fake-generator.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

let files = 0
const newPath = (name: string) => join(folder, `${files++}-${name}`)
const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))

describe('the command line', () => {
  const parse = (args: readonly string[]) => parseArguments(args, { version: '0', write: () => {} })!.invocation
  const generate = (...args: string[]) => {
    const { argument, options } = parse(['generate', ...args])
    return generateRequest(argument, options)
  }
  const serve = (...args: string[]) => {
    const { argument, options } = parse(['serve', ...args])
    return serveRequest(argument, options)
  }

  test('a text alone: greedy, weights as stored', async () => {
    expect(await generate('Hi')).toEqual({
      source: { text: 'Hi' },
      weights: 'stored',
      promptLookup: true,
      variables: {},
      settings: { temperature: 0, seed: 13 },
    })
  })

  test('every option', async () => {
    const [input, output] = [newPath('in.jsonl'), newPath('out.jsonl')]
    const sampling = '--temperature 0.7 --top-p 0.9 --top-k 40 --min-p 0.05 --repetition-penalty 1.1 --seed 7'
    const engine =
      '--model m --prompt runs/a --weights fp32 --batch-size 8 --no-prompt-lookup --device cpu --threads 2 --memory 1.5'
    const request = await generate(
      ...['--input', input, '--output', output, '--max-new-tokens', '20', '--logprobs', '--chat', '--system', 'Be short.'],
      ...['--stop', '\n', '--stop', 'Q:', '--variable', 'enable_thinking=false', '--variable', 'style=plain words'],
      ...`${sampling} ${engine}`.split(' '),
    )
    expect(request).toEqual({
      source: { input, output },
      model: 'm',
      prompt: 'runs/a',
      weights: 'fp32',
      promptLookup: false,
      batchSize: 8,
      device: 'cpu',
      threads: 2,
      memory: 1.5,
      chat: true,
      system: 'Be short.',
      variables: { enable_thinking: false, style: 'plain words' },
      maxNewTokens: 20,
      settings: {
        temperature: 0.7,
        topP: 0.9,
        topK: 40,
        minP: 0.05,
        repetitionPenalty: 1.1,
        seed: 7,
        stop: ['\n', 'Q:'],
        logProbabilities: true,
      },
    })
  })

  test('a cut of the distribution means sampling, raw means no chat template', async () => {
    expect((await generate('Hi', '--top-k', '5')).settings.temperature).toBe(1)
    expect((await generate('Hi', '--raw')).chat).toBe(false)
  })

  test.each([
    [[], 'missing-argument', 'a TEXT, or --input and --output'],
    [['--input', 'a'], 'missing-option', '--output'],
    [['--output', 'a'], 'missing-option', '--input'],
    [['Hi', '--input', 'a'], 'invalid-option', 'exclude each other'],
    [['--input', 'a', '--output', 'package.json'], 'file-exists', 'package.json'],
    [['Hi', '--raw', '--chat'], 'invalid-option', '--raw and --chat'],
    [['Hi', '--raw', '--system', 'a'], 'invalid-option', '--raw and --system'],
    [['Hi', '--temperature=-1'], 'invalid-option', '--temperature'],
    [['Hi', '--top-p', '0'], 'invalid-option', '--top-p'],
    [['Hi', '--max-new-tokens', '0'], 'invalid-option', '--max-new-tokens'],
    [['Hi', '--batch-size', '0'], 'invalid-option', '--batch-size'],
    [['Hi', '--weights', 'fp16'], 'invalid-option', '--weights'],
    [['Hi', '--device', 'gpu'], 'invalid-option', '--device'],
    [['Hi', '--stop', ''], 'invalid-option', '--stop'],
    [['Hi', '--variable', 'a'], 'invalid-option', '--variable'],
  ])('%j is refused', async (args, code, message) => {
    const error = await problemOf(generate(...args))
    expect(error).toMatchObject({ code, exitCode: 2 })
    expect(error.message).toContain(message)
  })

  test('serve: loopback, a new token each time, prompts by their names', () => {
    const first = serve('runs/a', '--prompt', 'tone=runs/b', '--prompt', 'runs/c=d/prompt.safetensors')
    expect(first).toMatchObject({ host: '127.0.0.1', port: 8080, weights: 'stored', maxNewTokens: 512 })
    expect(first.prompts).toEqual([{ path: 'runs/a' }, { name: 'tone', path: 'runs/b' }, { path: 'runs/c=d/prompt.safetensors' }])
    expect(first.token).toMatch(/^[\w-]{32}$/)
    expect(serve().token).not.toBe(first.token)
    expect(serve('--token', 'mine', '--port', '0')).toMatchObject({ token: 'mine', port: 0 })
    expect(serve('--no-token').token).toBeUndefined()
    expect(serve('--no-token', '--host', '127.0.0.2').token).toBeUndefined()
  })

  test.each([
    [['--no-token', '--host', '0.0.0.0'], '--no-token'],
    [['--port', '70000'], '--port'],
    [['--token', 'two words'], 'token'],
    [['--token', ''], 'token'],
  ])('serve %j is refused', (args, message) => {
    const error = problem(() => serve(...args))
    expect(error.code).toBe('invalid-option')
    expect(error.message).toContain(message)
  })
})

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

describe('the built program, on a small model', () => {
  const model = 'test/fixtures/models/llama-gqa'
  const engine = ['--model', model, '--threads', '1']

  test('a text is answered on standard output', async () => {
    const args = ['generate', 'the wine of', '--max-new-tokens', '6', ...engine]
    const text = await command([...args, '--quiet'])
    expect({ code: text.code, stderr: text.stderr }).toEqual({ code: 0, stderr: '' })
    const { code, lines } = await command([...args, '--json', '--logprobs', '--weights', 'fp32'])
    expect(code).toBe(0)
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatchObject({ event: 'result', finishReason: expect.any(String), weights: 'fp32', model: 'llama-gqa' })
    const { ids, logprobs, text: answer, tokens } = lines[0] as unknown as AnswerRow & { tokens: number }
    expect([ids.length, logprobs!.length]).toEqual([tokens, tokens])
    // The file is in fp32: both widths are the same.
    expect(text.stdout.trimEnd()).toBe(answer.trimEnd())
  })

  test('the rows of a file are answered as they are alone', async () => {
    const [input, output] = [newPath('in.jsonl'), join(newPath('new'), 'out.jsonl')]
    const prompts = ['the wine of', 'on the stone', 'it']
    writeFileSync(input, prompts.map(prompt => `${JSON.stringify({ prompt })}\n`).join(''))
    const args = ['generate', '--input', input, '--output', output, '--max-new-tokens', '6', ...engine]
    const { code, lines, stderr } = await command([...args, '--json'])
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines).toMatchObject([{ event: 'result', output, rows: 3, resumed: 0 }])
    expect(readdirSync(dirname(output))).toEqual(['out.jsonl'])
    const rows = linesOf(output)
    expect(rows).toHaveLength(3)
    const [alone] = (await command(['generate', prompts[1]!, '--max-new-tokens', '6', '--json', ...engine])).lines
    expect(rows[1]).toMatchObject({ text: alone!.text, ids: alone!.ids, finishReason: alone!.finishReason })
    expect((await command(args)).stderr).toContain('error[file-exists]')
  })

  test('Ctrl-C keeps finished rows, and the same command goes on', async () => {
    const [input, output] = [newPath('in.jsonl'), newPath('out.jsonl')]
    writeFileSync(input, Array.from({ length: 60 }, (_, i) => `${JSON.stringify({ prompt: `the wine ${i}` })}\n`).join(''))
    const args = ['generate', '--input', input, '--output', output, '--max-new-tokens', '40', '--batch-size', '4', '--seed', '5']
    const sampled = [...args, '--temperature', '1', ...engine]
    const stopped = command(sampled, {
      onStart: async child => {
        await vi.waitFor(() => expect(linesOf(partialPath(output)).length).toBeGreaterThan(2), { timeout: 60_000, interval: 20 })
        child.kill('SIGINT')
      },
    })
    expect(await stopped).toMatchObject({ code: 130, stderr: expect.stringContaining('the same command goes on') })
    const kept = linesOf(partialPath(output)).length - 1
    expect(kept).toBeLessThan(60)
    const { code, lines } = await command([...sampled, '--json'])
    expect(code).toBe(0)
    expect(lines[0]!.resumed).toBeGreaterThanOrEqual(kept)
    expect(linesOf(output)).toHaveLength(60)
  })

  test('serve: the client asks, and Ctrl-C ends it with 130', async () => {
    const answers: string[] = []
    const outcome = command(['serve', ...engine, '--port', '0', '--json'], {
      onLine: async (line, child) => {
        if (line.event !== 'listening') return
        const { url, token, models } = line as unknown as { url: string; token: string; models: string[] }
        const client = new OpenAI({ baseURL: url, apiKey: token, maxRetries: 0 })
        const request = { model: models[0]!, prompt: 'the wine of', max_tokens: 6, temperature: 0 }
        const whole = await client.completions.create(request)
        let streamed = ''
        for await (const { choices } of await client.completions.create({ ...request, stream: true }))
          streamed += choices[0]!.text
        answers.push(whole.choices[0]!.text, streamed)
        child.kill('SIGINT')
      },
    })
    const { code, lines } = await outcome
    expect(code).toBe(130)
    expect(lines.map(({ event }) => event)).toEqual(['listening', 'request', 'request', 'stopping'])
    expect(lines[1]).toMatchObject({ path: '/v1/completions', status: 200, usage: { completion_tokens: expect.any(Number) } })
    expect(answers[0]).not.toBe('')
    expect(answers[1]).toBe(answers[0])
  })
})
