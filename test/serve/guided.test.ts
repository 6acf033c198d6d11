import { beforeAll, expect, test } from 'vitest'
import { generate, type LanguageModel, serve as serveModel } from '../../src/index.js'
import { jsonModel } from '../generate/support/json-model.js'
import { problemOf } from '../support/problem.js'
import { hello, serve } from './support/served.js'

/** What limits an answer, as clients say it, and as the library does. */

let model: LanguageModel
beforeAll(async () => {
  model = await jsonModel
})

test('each way of saying it becomes the same request', async () => {
  const { client, generator } = await serve()
  const schema = { type: 'object', properties: { name: { type: 'string', maxLength: 20 } } }
  const ways: [object, object][] = [
    [{ guided_regex: '[0-9]+' }, { grammar: { regex: '[0-9]+' } }],
    [{ guided_json: schema }, { grammar: { jsonSchema: schema } }],
    [
      { guided_json: JSON.stringify(schema), rejected_mass: true },
      { grammar: { jsonSchema: schema }, rejectedMass: true },
    ],
    [{ response_format: { type: 'json_object' } }, { grammar: { jsonSchema: { type: 'object' } } }],
    [
      { response_format: { type: 'json_schema', json_schema: { name: 'it', strict: true, schema } } },
      { grammar: { jsonSchema: schema } },
    ],
  ]
  for (const [i, [fields, request]] of ways.entries()) {
    await client.chat.completions.create({ model: 'base', messages: hello, ...fields } as never)
    expect(generator.requests[i]).toMatchObject(request)
  }
  await client.chat.completions.create({ model: 'base', messages: hello, response_format: { type: 'text' } })
  expect(generator.requests.at(-1)).not.toHaveProperty('grammar')
})

const schema = {
  type: 'object',
  properties: { kind: { enum: ['wine', 'stone'] }, age: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['kind', 'age'],
  additionalProperties: false,
}

test('the library and the endpoint give the same JSON, with the mass that the limit rejects', async () => {
  const [answer] = await generate({ model, inputs: ['the'], jsonSchema: schema, rejectedMass: true, raw: true })
  expect(JSON.parse(answer!.text)).toMatchObject({ kind: expect.stringMatching(/wine|stone/), age: expect.any(Number) })
  expect(answer!.rejectedMass).toBeGreaterThan(0.5)
  await using server = await serveModel({ model, port: 0 })
  const response = await fetch(`${server.url}/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ model: model.name, prompt: 'the', temperature: 0, max_tokens: 80, rejected_mass: true },
      response_format: { type: 'json_schema', json_schema: { schema } },
    }),
  })
  const { choices } = (await response.json()) as { choices: { text: string; rejected_mass: number }[] }
  expect(choices[0]!.text).toBe(answer!.text)
  expect(choices[0]!.rejected_mass).toBeCloseTo(answer!.rejectedMass!, 5)
  let streamed = ''
  for await (const { text } of generate.stream({ model, inputs: ['the'], jsonSchema: schema, raw: true })) streamed += text
  expect(streamed).toBe(answer!.text)
})

test('two limits at a time, and a mass without any, are refused before a model is opened', async () => {
  const wrong = (options: object) => problemOf(generate({ model: 'no/such-model', inputs: ['a'], ...options }))
  expect(await wrong({ regex: 'a', choices: ['b'] })).toMatchObject({ code: 'invalid-option', found: 'choices and regex' })
  expect(await wrong({ rejectedMass: true })).toMatchObject({ code: 'invalid-option', found: 'rejectedMass' })
  expect(await wrong({ jsonSchema: { type: 3 } })).toMatchObject({ code: 'invalid-schema' })
})
