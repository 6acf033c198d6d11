import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { chatTemplateRenderer } from '../../src/formats/chat-template.js'
import type { Script } from '../support/fake-generator.js'
import { problemOf } from '../support/problem.js'
import { apiError, capital, hello, serve, token, tokenizer } from './support/served.js'

describe('what is not supported is a 4xx in words', () => {
  const chat = { model: 'base', messages: hello }
  const text = { model: 'base', prompt: 'a' }
  test.each<[string, object, string | null, string, string]>([
    ['chat', { messages: hello }, 'model', 'missing_required_parameter', 'model is missing'],
    ['chat', { model: 'base' }, 'messages', 'missing_required_parameter', 'messages is missing'],
    ['chat', { ...chat, messages: [] }, 'messages', 'invalid_value', 'messages'],
    [
      'chat',
      { ...chat, messages: [{ role: 'tool', content: 'a' }] },
      'messages[0].role',
      'invalid_value',
      'tools are not supported',
    ],
    ['chat', { ...chat, messages: [{ role: 'user', content: null }] }, 'messages[0].content', 'invalid_value', 'a text'],
    [
      'chat',
      { ...chat, messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
      'messages[0].content',
      'invalid_value',
      'nothing but text is supported',
    ],
    [
      'chat',
      { ...chat, messages: [{ role: 'assistant', content: 'a', tool_calls: [{}] }] },
      'messages[0].tool_calls',
      'invalid_value',
      'tool calls are not supported',
    ],
    ['chat', { ...chat, tools: [{ type: 'function' }] }, 'tools', 'unsupported_parameter', 'tools is not supported'],
    ['chat', { ...chat, response_format: { type: 'xml' } }, 'response_format', 'invalid_value', 'json_schema'],
    [
      'chat',
      { ...chat, response_format: { type: 'json_object' }, guided_regex: 'a' },
      'response_format',
      'invalid_value',
      'limited by guided_regex already',
    ],
    ['chat', { ...chat, guided_regex: '(' }, null, 'invalid_regex', 'no regular expression'],
    ['chat', { ...chat, guided_regex: 'a{1,5000}' }, 'guided_regex', 'invalid_value', 'at most 128'],
    ['chat', { ...chat, guided_json: '{' }, 'guided_json', 'invalid_value', 'guided_json'],
    ['chat', { ...chat, guided_json: { multipleOf: 3 } }, null, 'unsupported_schema', 'multipleOf'],
    ['text', { ...text, guided_json: { type: 'text' } }, null, 'invalid_schema', 'text'],
    ['chat', { ...chat, frequency_penalty: 0.5 }, 'frequency_penalty', 'unsupported_parameter', 'frequency_penalty'],
    ['chat', { ...chat, logit_bias: { 5: 1 } }, 'logit_bias', 'unsupported_parameter', 'logit_bias'],
    ['chat', { ...chat, top_logprobs: 2 }, 'top_logprobs', 'invalid_value', 'needs logprobs'],
    ['chat', { ...chat, logprobs: true, top_logprobs: 21 }, 'top_logprobs', 'invalid_value', 'top_logprobs'],
    ['chat', { ...chat, temprature: 1 }, 'temprature', 'unknown_parameter', 'did you mean temperature?'],
    ['chat', { ...chat, constructor: 1 }, 'constructor', 'unknown_parameter', 'no field'],
    [
      'chat',
      { ...chat, temperature: 3 },
      'temperature',
      'invalid_value',
      'temperature is not valid: found 3, expected at most 2',
    ],
    [
      'chat',
      { ...chat, temperature: 'warm' },
      'temperature',
      'invalid_value',
      'temperature is not valid: found "warm", expected a number',
    ],
    [
      'chat',
      { ...chat, messages: [{ content: 'a' }] },
      'messages[0].role',
      'missing_required_parameter',
      'expected system, developer',
    ],
    ['chat', { ...chat, n: 0 }, 'n', 'invalid_value', 'n is not valid: found 0, expected at least 1'],
    [
      'chat',
      { ...chat, stop: [''] },
      'stop[0]',
      'invalid_value',
      'stop[0] is not valid: found "", expected a text of at least 1 characters',
    ],
    ['chat', { ...chat, max_tokens: 1.5 }, 'max_tokens', 'invalid_value', 'found 1.5, expected a whole number'],
    ['chat', { ...chat, max_tokens: 200 }, null, 'context_length_exceeded', 'at most 200 tokens'],
    ['text', { model: 'base' }, 'prompt', 'missing_required_parameter', 'prompt is missing'],
    ['text', { ...text, prompt: [[]] }, 'prompt', 'invalid_value', 'a list of token ids'],
    ['text', { ...text, prompt: [10 ** 9] }, 'prompt', 'invalid_value', 'there is no token 1000000000'],
    ['text', { ...text, prompt: '' }, null, 'empty_prompt', 'no tokens'],
    ['text', { ...text, echo: true }, 'echo', 'unsupported_parameter', 'echo'],
    ['text', { ...text, best_of: 3 }, 'best_of', 'unsupported_parameter', 'best_of'],
    ['text', { ...text, logprobs: 21 }, 'logprobs', 'invalid_value', 'logprobs is not valid: found 21, expected at most 20'],
    ['text', { ...text, messages: hello }, 'messages', 'unknown_parameter', 'no field'],
    ['text', { ...text, max_tokens: 181, model: 'sst2' }, null, 'context_length_exceeded', '20 of a soft prompt'],
  ])('%s %j', async (kind, body, param, code, message) => {
    const { post, generator, served } = await serve()
    const response = await post(kind === 'chat' ? '/chat/completions' : '/completions', body)
    expect(response.status).toBe(400)
    const { error } = (await response.json()) as { error: Record<string, unknown> }
    expect(error).toMatchObject({ type: 'invalid_request_error', param, code, message: expect.stringContaining(message) })
    expect(generator.requests).toHaveLength(0)
    await vi.waitFor(() => expect(served).toMatchObject([{ status: 400, error: expect.stringContaining(message) }]))
  })

  test('an unknown model, with those there are', async () => {
    const { client } = await serve()
    const error = await apiError(client.chat.completions.create({ model: 'gpt-5', messages: hello }))
    expect(error).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
    expect(error.message).toContain('base, sst2')
  })

  test('a model without a chat template', async () => {
    const { client } = await serve(capital, {
      tokenizer: { ...tokenizer, applyChatTemplate: chatTemplateRenderer(undefined, {}) },
    })
    const error = await apiError(client.chat.completions.create({ model: 'base', messages: hello }))
    expect(error).toMatchObject({ status: 400, code: 'no_chat_template' })
  })

  test('null stands for a field that is left out', async () => {
    const { post } = await serve()
    const body = { model: 'base', messages: hello, stop: null, tools: null, seed: null, logit_bias: {} }
    expect((await post('/chat/completions', body)).status).toBe(200)
  })

  test.each([
    ['GET', '/chat/completions', 405, 'method_not_allowed'],
    ['POST', '/models', 405, 'method_not_allowed'],
    ['POST', '/embeddings', 404, 'unknown_url'],
    ['GET', '/models/%ff', 404, 'model_not_found'],
  ])('%s %s: %i', async (method, path, status, code) => {
    const { server } = await serve()
    const response = await fetch(server.url + path, { method, headers: { authorization: `Bearer ${token}` } })
    expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([status, code])
  })

  test.each(['', '{', '[1]', '"a"', 'null', `{"a":${'['.repeat(100_000)}`])('a body that is no request: %.20s', async body => {
    const { post } = await serve()
    const response = await post('/completions', body)
    expect(response.status).toBe(400)
    expect(await response.json()).toHaveProperty('error.message')
  })
})

describe('who may ask', () => {
  test.each([['wrong'], ['']])('no one with the token "%s"', async wrong => {
    const { server } = await serve()
    const headers = wrong === '' ? {} : { authorization: `Bearer ${wrong}` }
    const response = await fetch(`${server.url}/models`, { headers })
    expect(response.status).toBe(401)
    expect(await response.json()).toMatchObject({ error: { code: 'invalid_api_key' } })
  })

  test('everybody without a token, but no page of a browser', async () => {
    const { server, post } = await serve(capital, { token: undefined })
    expect((await fetch(`${server.url}/models`)).status).toBe(200)
    const body = { model: 'base', messages: hello }
    expect((await post('/chat/completions', body, { 'content-type': 'text/plain' })).status).toBe(415)
    // A name that somebody else's server resolves to 127.0.0.1.
    const status = await new Promise(resolve =>
      httpRequest(`${server.url}/models`, { headers: { host: `evil.example:${server.port}` } }, response => {
        response.resume()
        resolve(response.statusCode)
      }).end(),
    )
    expect(status).toBe(403)
  })

  test('no one who names two hosts', async () => {
    const { server } = await serve(capital, { token: undefined })
    const answer = await new Promise<string>((resolve, reject) => {
      let text = ''
      const socket = connect(server.port, '127.0.0.1', () => {
        socket.write('GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n')
      })
      socket.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      socket.on('end', () => resolve(text)).on('error', reject)
    })
    expect(answer).toMatch(/^HTTP\/1.1 400 /)
  })

  test('listens to this machine alone', async () => {
    const { server } = await serve()
    expect(server.url).toBe(`http://127.0.0.1:${server.port}/v1`)
    expect(await problemOf(serve(capital, { port: server.port }))).toMatchObject({ code: 'port-in-use' })
  })
})

describe('limits', () => {
  test('a body that is too large, announced or not', async () => {
    const { server, post, generator } = await serve(capital, { bodyLimit: 1000 })
    const large = JSON.stringify({ model: 'base', prompt: 'a '.repeat(100_000) })
    const announced = await post('/completions', large)
    expect(announced.status).toBe(413)
    expect(await announced.json()).toMatchObject({ error: { code: 'body_too_large' } })
    const status = await new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
      const request = httpRequest(`${server.url}/completions`, { method: 'POST', headers }, response => {
        response.resume()
        resolve(response.statusCode)
      })
      request.on('error', reject)
      for (let i = 0; i < large.length; i += 10_000) request.write(large.slice(i, i + 10_000))
      request.end()
    })
    expect(status).toBe(413)
    expect(generator.requests).toHaveLength(0)
  })

  test('more answers than there is room for', async () => {
    const { client } = await serve({ pieces: ['a'], milliseconds: 200 }, { mostPending: 4 })
    const first = client.completions.create({ model: 'base', prompt: 'a', n: 3 })
    await setTimeout(50)
    const refused = await apiError(client.completions.create({ model: 'base', prompt: 'a', n: 2 }))
    expect(refused).toMatchObject({ status: 429, code: 'too_many_requests' })
    expect(refused.headers!.get('retry-after')).toBe('1')
    expect((await first).choices).toHaveLength(3)
    expect((await client.completions.create({ model: 'base', prompt: 'a', n: 4 })).choices).toHaveLength(4)
    // More than there ever is room for is no matter of waiting.
    const never = await apiError(client.completions.create({ model: 'base', prompt: 'a', n: 5 }))
    expect(never).toMatchObject({ status: 400, code: 'invalid_value', param: 'n' })
  })
})

describe('the end', () => {
  const slow: Script = { pieces: Array.from({ length: 200 }, () => 'word '), milliseconds: 10 }

  test('a client that hangs up ends its generations', async () => {
    const { client, generator, served } = await serve(slow)
    const stream = await client.chat.completions.create({ model: 'base', messages: hello, stream: true, n: 2 })
    for await (const _ of stream) break
    await vi.waitFor(() => expect(generator.aborted).toBe(2))
    const controller = new AbortController()
    const whole = client.chat.completions.create({ model: 'base', messages: hello }, { signal: controller.signal })
    await setTimeout(50)
    controller.abort()
    await expect(whole).rejects.toThrow()
    await vi.waitFor(() => expect(generator.aborted).toBe(3))
    expect(generator.active).toBe(0)
    await vi.waitFor(() => expect(served.map(({ status }) => status)).toEqual([499, 499]))
  })

  test('a client that hangs up in the middle of its body', async () => {
    const { server, served } = await serve()
    const socket = connect(server.port, '127.0.0.1')
    const head = ['POST /v1/completions HTTP/1.1', 'Host: localhost', `Authorization: Bearer ${token}`]
    socket.write([...head, 'Content-Type: application/json', 'Content-Length: 100', '', '{"model"'].join('\r\n'))
    await setTimeout(50)
    socket.destroy()
    await vi.waitFor(() => expect(served).toMatchObject([{ status: 499 }]))
  })

  test('requests under way may end; new ones are refused', async () => {
    const { server, client } = await serve({ pieces: ['a', 'b'], milliseconds: 150 })
    const running = client.chat.completions.create({ model: 'base', messages: hello })
    await setTimeout(50)
    const stopped = server.stop({ graceSeconds: 10 })
    await expect(client.models.list()).rejects.toThrow()
    expect((await running).choices[0]!.message.content).toBe('ab')
    await stopped
    expect(server.active).toBe(0)
  })

  test('those that take longer are ended', async () => {
    const { server, client, generator } = await serve(slow)
    const whole = apiError(client.chat.completions.create({ model: 'base', messages: hello }))
    const stream = await client.chat.completions.create({ model: 'base', messages: hello, stream: true })
    const read = async () => {
      for await (const _ of stream);
    }
    const streamed = apiError(read())
    await setTimeout(50)
    await server.stop({ graceSeconds: 0.05 })
    expect(await whole).toMatchObject({ status: 503, code: 'stopping' })
    expect(await streamed).toMatchObject({ code: 'stopping' })
    expect(generator.aborted).toBe(2)
  })

  test('a body that never ends does not hold it up', async () => {
    const { server } = await serve()
    const socket = connect(server.port, '127.0.0.1').on('error', () => {})
    const head = ['POST /v1/completions HTTP/1.1', 'Host: localhost', `Authorization: Bearer ${token}`]
    socket.write([...head, 'Content-Type: application/json', 'Content-Length: 100', '', '{'].join('\r\n'))
    await vi.waitFor(() => expect(server.active).toBe(1))
    await server.stop()
    expect(server.active).toBe(0)
  })
})
