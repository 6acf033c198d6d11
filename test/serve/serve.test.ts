import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import OpenAI from 'openai'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { chatTemplateRenderer } from '../../src/formats/chat-template.js'
import { loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { sampleSeed } from '../../src/generate/settings.js'
import { openCheckpoint } from '../../src/model/checkpoint.js'
import { type RunningServer, type ServedRequest, type ServerOptions, startServer } from '../../src/serve/server.js'
import { FakeGenerator, type Script } from '../support/fake-generator.js'
import { problemOf } from '../support/problem.js'

let tokenizer: Tokenizer
beforeAll(async () => {
  const checkpoint = await openCheckpoint('models/smollm2-135m-instruct')
  await checkpoint.file.close()
  tokenizer = await loadTokenizer(checkpoint.tokenizer)
})

const token = 'secret-token'
const capital: Script = { pieces: ['The', ' capital', ' is', ' Paris', '.'], finishReason: 'stop' }
const hello = [{ role: 'user' as const, content: 'Hello' }]

const servers: RunningServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
})

async function serve(script: Script | ((index: number) => Script) = capital, options: Partial<ServerOptions> = {}) {
  const generator = new FakeGenerator((_, index) => (typeof script === 'function' ? script(index) : script))
  const served: ServedRequest[] = []
  const server = await startServer({
    generator,
    tokenizer,
    contextLength: 200,
    vocabSize: tokenizer.vocabSize,
    models: [
      { id: 'base', numVirtualTokens: 0 },
      { id: 'sst2', prompt: 'sst2', numVirtualTokens: 20 },
    ],
    fingerprint: 'stored-0123',
    maxNewTokens: 100,
    port: 0,
    token,
    onRequest: request => served.push(request),
    ...options,
  })
  servers.push(server)
  const client = new OpenAI({ baseURL: server.url, apiKey: token, maxRetries: 0 })
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  return { server, generator, client, post, served }
}

/** What a promise of the client is rejected with. */
async function apiError(promise: Promise<unknown>) {
  const error = await promise.then(
    () => new Error('nothing was thrown'),
    (cause: unknown) => cause,
  )
  if (error instanceof OpenAI.APIError) return error
  throw error
}

describe('the openai client', () => {
  test('lists and finds models', async () => {
    const { client } = await serve()
    const { data } = await client.models.list()
    expect(data.map(({ id, object, owned_by }) => [id, object, owned_by])).toEqual([
      ['base', 'model', 'gradprompt'],
      ['sst2', 'model', 'gradprompt'],
    ])
    expect(await client.models.retrieve('sst2')).toMatchObject({ id: 'sst2' })
    expect(await apiError(client.models.retrieve('a/b c'))).toMatchObject({ status: 404, code: 'model_not_found' })
  })

  test('chats', async () => {
    const { client, generator, served } = await serve()
    const answer = await client.chat.completions.create({ model: 'base', messages: hello, temperature: 0 })
    expect(answer).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-/),
      object: 'chat.completion',
      model: 'base',
      system_fingerprint: 'stored-0123',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'The capital is Paris.', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
    })
    const text = tokenizer.applyChatTemplate(hello, { addGenerationPrompt: true })
    const ids = tokenizer.encode(text, { addSpecialTokens: false })
    expect(answer.usage).toEqual({ prompt_tokens: ids.length, completion_tokens: 5, total_tokens: ids.length + 5 })
    expect(generator.requests[0]).toMatchObject({ ids, temperature: 0, maxNewTokens: 100 })
    expect(generator.requests[0]).not.toHaveProperty('prompt')
    expect(generator.requests[0]).not.toHaveProperty('logProbabilities')
    await vi.waitFor(() => expect(served).toHaveLength(1))
    expect(served[0]).toMatchObject({
      method: 'POST',
      path: '/v1/chat/completions',
      status: 200,
      model: 'base',
      usage: answer.usage,
    })
  })

  test('streams a chat, piece by piece', async () => {
    const { client } = await serve({ ...capital, finishReason: 'length' })
    const stream = await client.chat.completions.create({
      model: 'base',
      messages: hello,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = []
    for await (const chunk of stream) chunks.push(chunk)
    expect(new Set(chunks.map(({ id, object }) => `${id.slice(0, 9)} ${object}`))).toEqual(
      new Set(['chatcmpl- chat.completion.chunk']),
    )
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
    expect(chunks[0]!.choices[0]).toMatchObject({ delta: { role: 'assistant', content: '' }, finish_reason: null })
    expect(chunks.slice(1, -2).map(({ choices }) => choices[0]!.delta.content)).toEqual(capital.pieces)
    expect(chunks.at(-2)!.choices[0]).toMatchObject({ delta: {}, finish_reason: 'length' })
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 5 } })
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true)
  })

  test('its stream helper puts the answer together', async () => {
    const { client } = await serve()
    const stream = client.chat.completions.stream({ model: 'base', messages: hello, logprobs: true })
    const { choices } = await stream.finalChatCompletion()
    expect(choices[0]).toMatchObject({ message: { content: 'The capital is Paris.' }, finish_reason: 'stop' })
    expect(choices[0]!.logprobs!.content!.map(({ logprob }) => logprob)).toEqual([-0.5, -1.5, -2.5, -3.5, -4.5])
  })

  test('a piece comes before the answer is whole', async () => {
    const { client, generator } = await serve({ pieces: ['a', 'b', 'c'], milliseconds: 100 })
    const stream = await client.chat.completions.create({ model: 'base', messages: hello, stream: true })
    for await (const { choices } of stream)
      if (choices[0]?.delta.content === 'a') {
        expect(generator.active).toBe(1)
        break
      }
  })

  test('completes texts, several prompts and samples at once', async () => {
    const { client, generator } = await serve(index => ({ pieces: [`answer ${index}`] }))
    const answer = await client.completions.create({ model: 'base', prompt: ['Once', 'Twice'], n: 2, seed: 5, top_p: 0.5 })
    expect(answer).toMatchObject({ id: expect.stringMatching(/^cmpl-/), object: 'text_completion' })
    expect(answer.choices.map(({ index, text }) => [index, text])).toEqual([0, 1, 2, 3].map(i => [i, `answer ${i}`]))
    const [once, twice] = [tokenizer.encode('Once'), tokenizer.encode('Twice')]
    expect(generator.requests.map(({ ids }) => ids)).toEqual([once, once, twice, twice])
    expect(generator.requests.map(({ seed }) => seed)).toEqual([0, 1, 2, 3].map(sample => sampleSeed(5, sample)))
    // As in the API: 16 tokens at temperature 1.
    expect(generator.requests[0]).toMatchObject({ maxNewTokens: 16, temperature: 1, topP: 0.5 })
    expect(answer.usage).toMatchObject({ prompt_tokens: once.length + twice.length, completion_tokens: 4 })
  })

  test('completes token ids, and streams completions', async () => {
    const { client, generator } = await serve()
    const stream = await client.completions.create({ model: 'base', prompt: [5, 6, 7], stream: true, n: 2 })
    const texts = ['', '']
    const ends: string[] = []
    for await (const { choices } of stream)
      for (const { index, text, finish_reason } of choices) {
        texts[index] += text
        if (finish_reason !== null) ends.push(finish_reason)
      }
    expect(texts).toEqual(['The capital is Paris.', 'The capital is Paris.'])
    expect(ends).toEqual(['stop', 'stop'])
    expect(generator.requests[0]!.ids).toEqual([5, 6, 7])
  })

  test('uses a soft prompt by its name', async () => {
    const { client, generator } = await serve()
    await client.completions.create({ model: 'sst2', prompt: 'Review: fine' })
    expect(generator.requests[0]).toMatchObject({ prompt: 'sst2' })
  })

  test('passes on what decides an answer', async () => {
    const { client, generator } = await serve()
    await client.chat.completions.create({
      model: 'base',
      messages: [
        { role: 'developer', content: 'Be short.' },
        { role: 'user', content: [{ type: 'text', text: 'Hello' }] },
      ],
      max_completion_tokens: 7,
      temperature: 0.5,
      stop: ['\n', 'Q:'],
      seed: 3,
      user: 'somebody',
      frequency_penalty: 0,
      response_format: { type: 'text' },
      ...{ top_k: 4, min_p: 0.1, repetition_penalty: 1.2, stop_token_ids: [9] },
    })
    const { ids, signal: _, ...request } = generator.requests[0]!
    expect(request).toStrictEqual({
      maxNewTokens: 7,
      temperature: 0.5,
      topK: 4,
      minP: 0.1,
      repetitionPenalty: 1.2,
      seed: 3,
      stop: ['\n', 'Q:'],
      stopTokenIds: [9],
    })
    expect(tokenizer.decode(ids)).toContain('<|im_start|>system\nBe short.<|im_end|>')
  })

  test('gives log-probabilities of the tokens, without the one that only ends the answer', async () => {
    const { client, generator } = await serve({ pieces: ['a', 'b', ''], stoppedBy: 102 })
    const chat = await client.chat.completions.create({ model: 'base', messages: hello, logprobs: true })
    expect(generator.requests[0]!.logProbabilities).toBe(true)
    const [first, second] = [100, 101].map(id => tokenizer.token(id))
    expect(chat.choices[0]!.logprobs!.content).toEqual([
      { token: first, logprob: -0.5, bytes: [...Buffer.from(first!)], top_logprobs: [] },
      { token: second, logprob: -1.5, bytes: [...Buffer.from(second!)], top_logprobs: [] },
    ])
    const text = await client.completions.create({ model: 'base', prompt: 'a', logprobs: 0 })
    expect(text.choices[0]!.logprobs).toEqual({
      tokens: [first, second],
      token_logprobs: [-0.5, -1.5],
      top_logprobs: null,
      text_offset: [0, first!.length],
    })
  })

  test('gives the likeliest tokens in each place', async () => {
    const { client, generator } = await serve({ pieces: ['a', 'b'] })
    const chat = await client.chat.completions.create({ model: 'base', messages: hello, logprobs: true, top_logprobs: 2 })
    expect(generator.requests[0]).toMatchObject({ logProbabilities: true, alternatives: 2 })
    const [first, second] = [200, 201].map(id => tokenizer.token(id)) as [string, string]
    expect(chat.choices[0]!.logprobs!.content!.map(({ top_logprobs }) => top_logprobs)).toEqual([
      [
        { token: first, logprob: -0.1, bytes: [...Buffer.from(first)] },
        { token: second, logprob: -1.1, bytes: [...Buffer.from(second)] },
      ],
      [
        { token: first, logprob: -1.1, bytes: [...Buffer.from(first)] },
        { token: second, logprob: -2.1, bytes: [...Buffer.from(second)] },
      ],
    ])
    const text = await client.completions.create({ model: 'base', prompt: 'a', logprobs: 1 })
    // The chosen token is always among them.
    const chosen = [100, 101].map(id => tokenizer.token(id)) as [string, string]
    expect(text.choices[0]!.logprobs!.top_logprobs).toEqual([
      { [first]: -0.1, [chosen[0]]: -0.5 },
      { [first]: -1.1, [chosen[1]]: -1.5 },
    ])
  })

  test('template variables of a request reach the template', async () => {
    const source = '{{ enable_thinking }} {{ reasoning_effort }} {{ depth }}'
    const applyChatTemplate = chatTemplateRenderer(source, {})
    const { client, generator } = await serve(capital, {
      tokenizer: { ...tokenizer, encode: tokenizer.encode, token: tokenizer.token, applyChatTemplate },
    })
    await client.chat.completions.create({
      model: 'base',
      messages: hello,
      reasoning_effort: 'low',
      ...{ enable_thinking: false, chat_template_kwargs: { depth: 2 } },
    })
    expect(tokenizer.decode(generator.requests[0]!.ids).toLowerCase()).toBe('false low 2')
  })

  test('a failure is an error of the client, also in the middle of a stream', async () => {
    const { client, served } = await serve({ pieces: ['a'], error: new Error('a secret of the machine') })
    const whole = await apiError(client.chat.completions.create({ model: 'base', messages: hello }))
    expect(whole).toMatchObject({ status: 500, code: 'internal_error', type: 'server_error' })
    const stream = await client.chat.completions.create({ model: 'base', messages: hello, stream: true })
    const read = async () => {
      for await (const _ of stream);
    }
    const broken = await apiError(read())
    expect(broken).toMatchObject({ code: 'internal_error' })
    expect(`${whole.message} ${broken.message}`).not.toContain('secret')
    await vi.waitFor(() => expect(served).toHaveLength(2))
    expect(served[0]).toMatchObject({ status: 500, error: 'a secret of the machine' })
  })
})

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
    [
      'chat',
      { ...chat, response_format: { type: 'json_object' } },
      'response_format',
      'unsupported_parameter',
      'response_format',
    ],
    ['chat', { ...chat, frequency_penalty: 0.5 }, 'frequency_penalty', 'unsupported_parameter', 'frequency_penalty'],
    ['chat', { ...chat, logit_bias: { 5: 1 } }, 'logit_bias', 'unsupported_parameter', 'logit_bias'],
    ['chat', { ...chat, top_logprobs: 2 }, 'top_logprobs', 'invalid_value', 'needs logprobs'],
    ['chat', { ...chat, logprobs: true, top_logprobs: 21 }, 'top_logprobs', 'invalid_value', 'top_logprobs'],
    ['chat', { ...chat, temprature: 1 }, 'temprature', 'unknown_parameter', 'did you mean temperature?'],
    ['chat', { ...chat, constructor: 1 }, 'constructor', 'unknown_parameter', 'no field'],
    ['chat', { ...chat, temperature: 3 }, 'temperature', 'invalid_value', 'temperature'],
    ['chat', { ...chat, n: 0 }, 'n', 'invalid_value', 'n'],
    ['chat', { ...chat, stop: [''] }, 'stop[0]', 'invalid_value', 'stop[0]'],
    ['chat', { ...chat, max_tokens: 1.5 }, 'max_tokens', 'invalid_value', 'max_tokens'],
    ['chat', { ...chat, max_tokens: 200 }, null, 'context_length_exceeded', 'at most 200 tokens'],
    ['text', { model: 'base' }, 'prompt', 'missing_required_parameter', 'prompt is missing'],
    ['text', { ...text, prompt: [[]] }, 'prompt[0]', 'invalid_value', 'prompt[0]'],
    ['text', { ...text, prompt: [10 ** 9] }, 'prompt', 'invalid_value', 'there is no token 1000000000'],
    ['text', { ...text, prompt: '' }, null, 'empty_prompt', 'no tokens'],
    ['text', { ...text, echo: true }, 'echo', 'unsupported_parameter', 'echo'],
    ['text', { ...text, best_of: 3 }, 'best_of', 'unsupported_parameter', 'best_of'],
    ['text', { ...text, logprobs: 21 }, 'logprobs', 'invalid_value', 'logprobs'],
    ['text', { ...text, messages: hello }, 'messages', 'unknown_parameter', 'no field'],
    ['text', { ...text, max_tokens: 181, model: 'sst2' }, null, 'context_length_exceeded', '20 of a soft prompt'],
  ])('%s %j', async (kind, body, param, code, message) => {
    const { post, generator } = await serve()
    const response = await post(kind === 'chat' ? '/chat/completions' : '/completions', body)
    expect(response.status).toBe(400)
    const { error } = (await response.json()) as { error: Record<string, unknown> }
    expect(error).toMatchObject({ type: 'invalid_request_error', param, code, message: expect.stringContaining(message) })
    expect(generator.requests).toHaveLength(0)
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
