import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Tokenizer } from '../../src/formats/tokenizer.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { Grammars } from '../../src/generate/limits/grammars.js'
import { checkSchema } from '../../src/generate/limits/schema-check.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { logSumExp } from '../../src/numbers.js'
import { problemOf } from '../support/problem.js'
import { jsonModel } from './support/json-model.js'

let model: LanguageModel
let engine: GenerationEngine
let slowly: GenerationEngine
beforeAll(async () => {
  model = await jsonModel
  engine = await GenerationEngine.open(model, { weights: 'fp32' })
  slowly = await GenerationEngine.open(model, { weights: 'fp32', promptLookup: false })
})
afterAll(async () => {
  await engine.dispose()
  await slowly.dispose()
})

const asked = (text: string) => ({ ids: model.tokenizer.encode(text), maxNewTokens: 200 })

describe('a way through a grammar', () => {
  const words = ['<end>', 'Yes', 'No', 'Y', 'es', 'N', 'o', 'x']
  const tokenizer = {
    specialTokenIds: new Set([0]),
    tokenBytes: (id: number) => Buffer.from(words[id]!),
    encode: (text: string) => [...text].map(letter => words.indexOf(letter)),
  } as unknown as Tokenizer
  const grammars = new Grammars(tokenizer, words.length)
  const allowed = async (cursor: Awaited<ReturnType<Grammars['cursor']>>['cursor']) => {
    await cursor.prepare([])
    return words.filter((_, id) => cursor.allowed.has(id))
  }

  test('allows the tokens that some answer goes on with', async () => {
    using limited = await grammars.cursor({ regex: 'Yes|No' }, [0])
    const { cursor } = limited
    expect(await allowed(cursor)).toEqual(['Yes', 'No', 'Y', 'N'])
    expect([cursor.accepts([5, 6]), cursor.accepts([5, 4]), cursor.accepts([7]), cursor.accepts([0])]).toEqual([2, 1, 0, 0])
    expect(await allowed(cursor)).toEqual(['Yes', 'No', 'Y', 'N'])
    cursor.take(5)
    expect([await allowed(cursor), cursor.certain(4)]).toEqual([['o'], [6]])
    await cursor.prepare([6])
    cursor.take(6)
    // What was prepared says that nothing else can follow.
    expect([await allowed(cursor), cursor.isEnd]).toEqual([['<end>'], true])
    expect(() => cursor.take(7)).toThrow('the token 7')
  })

  test('begins anew with a matcher that another answer has left', async () => {
    for (const id of [1, 2]) {
      using limited = await grammars.cursor({ regex: 'Yes|No' }, [0])
      limited.cursor.take(id)
      expect(await allowed(limited.cursor)).toEqual(['<end>'])
    }
  })

  test('ends as soon as it may where nothing ends an answer', async () => {
    using limited = await grammars.cursor({ regex: 'Yes|No' }, [])
    limited.cursor.take(1)
    await limited.cursor.prepare([])
    expect(limited.cursor.isEnd).toBe(true)
  })

  test('what stands around an answer belongs to it, and is not told', async () => {
    using limited = await grammars.cursor({ regex: 'o', before: 'N', after: 'x' }, [0])
    const { cursor } = limited
    expect(cursor.readsAsTokens).toBe(false)
    expect(await allowed(cursor)).toEqual(['No', 'N'])
    cursor.take(2)
    expect(await allowed(cursor)).toEqual(['x'])
    expect(cursor.answerOf('Nox')).toBe('o')
  })

  test('what no token can write is refused when it is met', async () => {
    using limited = await grammars.cursor({ regex: 'q' }, [0])
    await limited.cursor.prepare([])
    expect(() => limited.cursor.allowed).toThrow('the tokens of this model cannot write')
  })
})

test('greedily it is the likeliest of what is allowed, and the mass of the rest is told', async () => {
  const { tokenizer } = model
  const digits = Array.from({ length: 10 }, (_, i) => tokenizer.encode(String(i), { addSpecialTokens: false })[0]!)
  const request = asked('the wine -')
  const { text, ids, rejectedMass, finishReason } = await engine.generate({
    ...request,
    grammar: { regex: '[0-9]{3}' },
    rejectedMass: true,
  })
  let kept = 0
  const expected: number[] = []
  for (const allowed of [digits, digits, digits]) {
    const [logits] = await model.logits([[...request.ids, ...expected]])
    const last = logits!.subarray(-model.config.vocabSize)
    kept += logSumExp(allowed.map(id => last[id]!)) - logSumExp(last)
    const best = allowed.reduce((best, id) => (last[id]! > last[best]! ? id : best))
    expected.push(best)
  }
  expect(finishReason).toBe('stop')
  expect(ids).toEqual(expected)
  expect(text).toMatch(/^[0-9]{3}$/)
  expect(rejectedMass).toBeCloseTo(1 - Math.exp(kept), 5)
  // The same answer with guesses at what must follow and without, and the mass of choices by the same sum.
  for (const grammar of [{ regex: 'the (wine|stone) is [a-e]{2}, of it' }, { regex: '[0-9]{3}' }])
    expect(await engine.generate({ ...request, grammar })).toEqual(await slowly.generate({ ...request, grammar }))
  const choices = [{ text: 'a', ids: [digits[3]!, digits[4]!] }]
  const chosen = await engine.generate({ ...request, choices, rejectedMass: true })
  expect(chosen.rejectedMass).toBeGreaterThan(0.5)
})

/** Schemas whose answers come to an end: a random model would write a text without end. */
const schemas = fc.letrec(tie => ({
  any: fc.oneof({ maxDepth: 2 }, tie('leaf'), tie('object'), tie('array'), tie('either')),
  leaf: fc.oneof(
    fc.constantFrom({ type: 'boolean' }, { type: 'null' }, { type: ['boolean', 'null'] }, { const: 'of it' }),
    fc.record({ type: fc.constant('string'), minLength: fc.nat(1), maxLength: fc.integer({ min: 1, max: 6 }) }),
    fc.record({
      type: fc.constant('integer'),
      minimum: fc.integer({ min: -9, max: 0 }),
      maximum: fc.integer({ min: 1, max: 150 }),
    }),
    fc.record({
      type: fc.constant('string'),
      pattern: fc.constantFrom('^[a-c]{2,4}$', '^(the|on) wine$', '^[0-9]{4}-[0-9]{2}$'),
    }),
    fc.record({ enum: fc.uniqueArray(fc.constantFrom('good', 'bad', 'the wine', 'a"b', 3, null), { minLength: 1 }) }),
  ),
  object: fc
    .dictionary(fc.constantFrom('name', 'age', 'kind', 'the text'), tie('any'), { minKeys: 1, noNullPrototype: true })
    .chain(properties =>
      fc
        .subarray(Object.keys(properties))
        .map(required => ({ type: 'object', properties, required, additionalProperties: false })),
    ),
  array: fc.record({ type: fc.constant('array'), items: tie('any'), minItems: fc.nat(1), maxItems: fc.constant(2) }),
  either: fc.record({ anyOf: fc.array(tie('any'), { minLength: 1, maxLength: 2 }) }),
})).any as fc.Arbitrary<object>

test('answers parse, and the schema holds for them', async () => {
  const ajv = new Ajv2020({ strict: false })
  await fc.assert(
    fc.asyncProperty(schemas, fc.nat(1000), async (jsonSchema, seed) => {
      checkSchema(jsonSchema)
      const holds = ajv.compile(jsonSchema)
      const requests = [0, 1, 1.5].map((temperature, i) => ({
        ...asked('at the'),
        temperature,
        seed: seed + i,
        maxNewTokens: 1000,
      }))
      const answers = await Promise.all(requests.map(request => engine.generate({ ...request, grammar: { jsonSchema } })))
      for (const { text, finishReason } of answers) {
        expect(finishReason).toBe('stop')
        expect(holds(JSON.parse(text)), `${text} under ${JSON.stringify(jsonSchema)}`).toBe(true)
      }
    }),
    { numRuns: 40, seed: 7 },
  )
})

test('answers match their regular expression as a whole', async () => {
  const patterns = [
    '[a-f]+;',
    '(on|at) the [a-z]{3,6}',
    '\\d{2}(\\.\\d)?',
    'a*b?c',
    'no|yes|not',
    '[^a-z,]{1,4}',
    'ing?|(ab){2}',
    '^(?:^on|it$)$',
    '|ab',
    '(a|)b',
    '(|[a-c]\\.)d',
    '^$|e',
  ]
  for (const regex of patterns)
    for (const temperature of [0, 1]) {
      const { text, finishReason } = await engine.generate({ ...asked('on the stone'), grammar: { regex }, temperature, seed: 3 })
      if (finishReason === 'stop') expect(text).toMatch(new RegExp(`^(?:${regex})$`))
      else expect(regex).toContain('+')
    }
})

test('an answer is told as it comes', async () => {
  let told = ''
  const grammar = { jsonSchema: { type: 'object', properties: { name: { enum: ['wine', 'stone'] } }, required: ['name'] } }
  const onText = (piece: string) => {
    told += piece
  }
  const { text } = await engine.generate({ ...asked('it'), grammar, onText })
  expect(told).toBe(text)
  const many = ['{"name": "wine"}', '{"name": "stone"}']
  expect(many).toContain(text)
})

test('what is wrong with a grammar is said, and the next one is answered', async () => {
  const cases: [object, string, RegExp][] = [
    [{ regex: '[a' }, 'invalid-regex', /class/],
    [{ regex: '(?=a)a' }, 'unsupported-regex', /Lookahead/],
    [{ regex: '(a)\\1' }, 'unsupported-regex', /Backreference/],
    [{ regex: 'a$b' }, 'unsupported-regex', /a\$b/],
    [{ regex: '(a|^)b|c^' }, 'unsupported-regex', /c\^/],
    [{ regex: '(a$|b)c' }, 'unsupported-regex', /a\$/],
    [{ jsonSchema: 3 }, 'invalid-schema', /3/],
    [{ jsonSchema: false }, 'invalid-schema', /false/],
    [{ jsonSchema: { type: 'text' } }, 'invalid-schema', /text/],
    [{ jsonSchema: { enum: [] } }, 'invalid-schema', /\[\]/],
    [{ jsonSchema: { type: 'number', multipleOf: 3 } }, 'unsupported-schema', /multipleOf/],
    [{ jsonSchema: { type: 'number', minimum: 3 } }, 'unsupported-schema', /minimum/],
    [{ jsonSchema: { properties: { a: { not: {} } } } }, 'unsupported-schema', /not/],
    [{ jsonSchema: { anyOf: [true], type: 'string' } }, 'unsupported-schema', /type beside anyOf/],
    [{ jsonSchema: { required: ['a'] } }, 'unsupported-schema', /a, which/],
    [{ jsonSchema: { items: [{}] } }, 'unsupported-schema', /list of items/],
    [{ jsonSchema: { $ref: 'http://x' } }, 'unsupported-schema', /http/],
    [{ jsonSchema: { $ref: '#/$defs/x' } }, 'unsupported-schema', /x/],
    [{ jsonSchema: { type: 'string', pattern: '(' } }, 'invalid-regex', /\(/],
    [{ jsonSchema: { type: 'string', pattern: 'a+', maxLength: 2 } }, 'unsupported-schema', /length/],
    [{ regex: 'a'.repeat(70_000) }, 'unsupported-regex', /70000/],
    [{ regex: 'é' }, 'answer-unreachable', /no token/],
  ]
  for (const [grammar, code, found] of cases) {
    const problem = await problemOf(engine.generate({ ...asked('it'), grammar: grammar as { regex: string } }))
    expect([problem.code, JSON.stringify(grammar).slice(0, 60)]).toEqual([code, JSON.stringify(grammar).slice(0, 60)])
    expect(problem.found).toMatch(found)
    expect(problem.found).not.toContain('.cc')
  }
  expect((await engine.generate({ ...asked('it'), grammar: { regex: 'ab' } })).text).toBe('ab')
  expect(engine.state.running).toBe(0)
})
