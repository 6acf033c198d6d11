import { describe, expect, test, vi } from 'vitest'
import { chatTemplateRenderer } from '../../src/formats/chat-template.js'
import { sampleSeed } from '../../src/generate/settings.js'
import { apiError, capital, hello, serve, tokenizer } from './support/served.js'

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
      system_fingerprint: 'fp32-0123',
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

  test('answers under one prompt against another, or against the model alone', async () => {
    const { client, generator } = await serve()
    const ask = (more: object) => client.completions.create({ model: 'sst2', prompt: 'Review: fine', ...more })
    await ask({ against: 'base', contrast: 1.5 })
    await ask({ contrast: 1 })
    await ask({ against: 'base' })
    expect(generator.requests.map(({ contrast }) => contrast)).toEqual([1.5, 1, 0.5].map(strength => ({ strength })))
    await client.completions.create({ model: 'base', prompt: 'Review: fine', ...{ against: 'sst2' } })
    expect(generator.requests[3]).toMatchObject({ contrast: { strength: 0.5, against: 'sst2' } })
    await expect(ask({ against: 'other' })).rejects.toMatchObject({ status: 404 })
    await expect(ask({ against: 'sst2' })).rejects.toMatchObject({ status: 400 })
    await expect(ask({ contrast: -1 })).rejects.toMatchObject({ status: 400 })
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
    const { ids, signal: _, asked, ...request } = generator.requests[0]!
    expect(asked).toMatchObject({
      messages: [
        { role: 'system', content: 'Be short.' },
        { role: 'user', content: 'Hello' },
      ],
    })
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

  test('gives the bytes of tokens that are parts of a character', async () => {
    const parts = tokenizer.encode('😀')
    const part = parts.find(id => tokenizer.token(id).includes('\uFFFD'))!
    const bytes = [...tokenizer.tokenBytes(part)]
    const { client } = await serve(
      { pieces: ['a'] },
      { tokenizer: { ...tokenizer, token: () => tokenizer.token(part), tokenBytes: () => tokenizer.tokenBytes(part) } },
    )
    const chat = await client.chat.completions.create({ model: 'base', messages: hello, logprobs: true })
    expect(chat.choices[0]!.logprobs!.content).toMatchObject([{ bytes }])
    expect(Buffer.concat(parts.map(id => tokenizer.tokenBytes(id))).toString()).toBe('😀')
    const text = await client.completions.create({ model: 'base', prompt: 'a', logprobs: 0 })
    const spelled = bytes.map(byte => `\\x${byte.toString(16)}`).join('')
    expect(text.choices[0]!.logprobs!.tokens).toEqual([`bytes:${spelled}`])
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
      tokenizer: { ...tokenizer, applyChatTemplate },
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
