import { readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, test, vi } from 'vitest'
import { generateRequest } from '../../src/cli/commands/answering/generate.js'
import { serveRequest } from '../../src/cli/commands/answering/serve.js'
import { parseArguments } from '../../src/cli/parse.js'
import { partialPath } from '../../src/generate/answer-rows.js'
import type { AnswerRow } from '../../src/generate/finished-rows.js'
import { command } from '../cli/command.js'
import { problem, problemOf } from '../support/problem.js'
import { linesOf, newPath } from './support/files.js'

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

  test('a text alone: greedy, and the arithmetic is decided by what fits', async () => {
    expect(await generate('Hi')).toEqual({
      source: { asked: 'Hi' },
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
    expect(first).toMatchObject({ host: '127.0.0.1', port: 8080, weights: undefined, maxNewTokens: 512 })
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
