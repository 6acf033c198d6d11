import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { fillPrompt } from '../../src/data/texts/prompt-place.js'
import type { Template } from '../../src/data/texts/template.js'
import { loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { DriftGuard } from '../../src/search/moves/drift.js'
import { type PromptText, TokenSpace } from '../../src/search/space/token-space.js'
import { allowedTokens } from '../../src/search/space/vocabulary.js'
import { problem } from '../support/problem.js'

let tokenizer: Tokenizer
beforeAll(async () => {
  const checkpoint = await openCheckpoint('models/smollm2-135m-instruct')
  await checkpoint.file.close()
  tokenizer = await loadTokenizer(checkpoint.tokenizer)
})

const record = { text: 'a fine film .', label: 'positive' }
const labels = {
  column: 'label',
  words: new Map([
    ['positive', 'positive'],
    ['negative', 'negative'],
  ]),
  candidates: ['negative', 'positive'],
} // prettier-ignore
const space = (template: Template, prompt: PromptText, options: { closed?: boolean } = {}) =>
  new TokenSpace(
    tokenizer,
    { template, answer: ' {label}', labels: options.closed ? labels : undefined, contextLength: 256, prompt },
    record,
  )
const raw = 'Review: {text}{prompt}\nSentiment:'
const chat: Template = [{ role: 'user', content: '{text} Answer{prompt} now.' }]

describe('a row', () => {
  test.each([
    ['raw', raw],
    ['chat', chat],
  ] as [string, Template][])('%s: has the ids of its whole text, cut at the prompt', (_, template) => {
    const prompt = ' with one plain word'
    const { before, after, answer, text } = space(template, prompt).row(record, 0)
    const filled = fillPrompt(template, prompt)
    const whole =
      typeof filled === 'string'
        ? filled.replace('{text}', record.text)
        : tokenizer.applyChatTemplate([{ role: 'user', content: filled[0]!.content.replace('{text}', record.text) }], {
            addGenerationPrompt: true,
          })
    expect(text.before + prompt + text.after).toBe(`${whole} positive`)
    expect([...before, ...space(template, prompt).start, ...after, ...answer]).toEqual(tokenizer.encode(`${whole} positive`))
    expect(tokenizer.decode(answer)).toBe(' positive')
  })

  test('is scored by its labels under any prompt', () => {
    const own = space(raw, ' the mood', { closed: true })
    const ids = tokenizer.encode(' a tone')
    const row = own.scoring(record, 0, ids)
    expect(row.context).toEqual(tokenizer.encode('Review: a fine film . a tone\nSentiment:'))
    expect(row.candidates.map(({ ids }) => tokenizer.decode(ids))).toEqual([' negative', ' positive'])
    expect(row.target).toBe(1)
    const { before, choices } = own.row(record, 0)
    expect(choices?.target).toBe(1)
    for (const [i, word] of choices!.words.entries())
      expect([...before, ...own.start, ...choices!.after, ...word]).toEqual(
        tokenizer.encode(`Review: a fine film . the mood\nSentiment: ${labels.candidates[i]}`),
      )
  })
})

describe('the end of an answer', () => {
  const end = { text: '<|im_end|>', ids: [2] }
  const ended = (
    words: readonly string[] | undefined,
    more: { reasoning?: { extractor: string; maxNewTokens: number } } = {},
  ) => {
    const set = words && { column: 'label', words: new Map(words.map(word => [word, word])), candidates: words }
    const options = { template: raw, answer: ' {label}', labels: set, contextLength: 256, prompt: ' the mood', end, ...more }
    return new TokenSpace(tokenizer, options, record)
  }

  test('is scored with free text, though no text stands for it', () => {
    const own = ended(undefined)
    const row = own.row(record, 0)
    expect([row.answer.at(-1), row.end]).toEqual([2, [2]])
    expect(own.readsBack(own.start, row)).toBe(true)
    expect(own.rewritten('a tone', row)).toEqual(tokenizer.encode(' a tone'))
    expect(row.text.after).toBe('\nSentiment: positive')
  })

  test('is scored with labels where one begins another, and not behind reasoning', () => {
    const words = ['positive', 'positive indeed']
    const { answer, choices } = ended(words).row(record, 0)
    expect([answer.at(-1), choices!.words.map(ids => ids.at(-1))]).toEqual([2, [2, 2]])
    const apart = ended(['negative', 'positive']).row(record, 0)
    expect([apart.answer, apart.end]).toEqual([tokenizer.encode(' positive'), undefined])
    const reasoned = ended(words, { reasoning: { extractor: '\nSo:', maxNewTokens: 8 } })
    expect([reasoned.row(record, 0).answer.at(-1) === 2, reasoned.notices('auto')]).toEqual([false, []])
  })
})

describe('frozen and free positions', () => {
  test('follow the pieces', () => {
    const own = space(raw, [' say', { frozen: ' in one word' }, ' please now'])
    expect(own.free.map(i => tokenizer.token(own.start[i]!))).toEqual([' say', ' please', ' now'])
    expect(tokenizer.decode(own.start)).toBe(' say in one word please now')
  })

  test('are found in a prompt that has become shorter or longer', () => {
    const own = space(raw, [' say', { frozen: ' in one word' }, ' please now'])
    const textsOf = (text: string) => {
      const ids = tokenizer.encode(text)
      return own.freeOf(ids).map(i => tokenizer.token(ids[i]!))
    }
    expect(own.freeOf(own.start)).toEqual(own.free)
    expect(textsOf(' in one word now')).toEqual([' now'])
    expect(textsOf(' say so in one word please now again')).toEqual([' say', ' so', ' please', ' now', ' again'])
    expect(space(raw, ' a b').freeOf([1, 2, 3])).toEqual([0, 1, 2])
  })

  test('a prompt that is frozen altogether is refused', () => {
    expect(problem(() => space(raw, [{ frozen: ' word' }])).code).toBe('nothing-to-search')
  })
})

describe('refused', () => {
  test.each([
    ['no-prompt-place', 'Review: {text}\nSentiment:', ' x'],
    ['no-prompt-place', 'Review: {text}{prompt}\n{prompt}:', ' x'],
    ['prompt-not-separable', 'Review: {text}{prompt}\nSentiment:', [' good', { frozen: 'ness' }]],
    ['prompt-not-separable', 'Review: {text} good{prompt}\nSentiment:', 'ness'],
  ] as [string, string, PromptText][])('%s: %s', (code, template, prompt) => {
    const found = problem(() => space(template, prompt).row(record, 0))
    expect(found.code).toBe(code)
    expect(found.expected).toBeTruthy()
  })

  test('a chat template that trims the prompt', () => {
    const trimming = {
      ...tokenizer,
      encode: tokenizer.encode,
      decode: tokenizer.decode,
      applyChatTemplate: (messages: readonly { content: string }[]) => messages.map(({ content }) => content.trim()).join('\n'),
    } as Tokenizer
    const options = {
      template: [{ role: 'user' as const, content: '{text}{prompt}' }],
      answer: ' {label}',
      labels: undefined,
      contextLength: 256,
      prompt: ' x ',
    }
    expect(problem(() => new TokenSpace(trimming, options, record)).code).toBe('prompt-not-kept')
  })
})

describe('reading back', () => {
  test('holds exactly where the tokenizer gives the ids of the assembled text', () => {
    const own = space(raw, ' x x x')
    const row = own.row(record, 0)
    const allowed = allowedTokens(tokenizer, 'ascii', 49152)
    fc.assert(
      fc.property(fc.array(fc.nat(allowed.length - 1), { minLength: 3, maxLength: 3 }), picks => {
        const ids = picks.map(i => allowed[i]!)
        const text = `Review: ${record.text}${tokenizer.decode(ids)}\nSentiment: positive`
        const same = tokenizer.encode(text).join() === [...row.before, ...ids, ...row.after, ...row.answer].join()
        expect(own.readsBack(ids, row)).toBe(same)
      }),
    )
  })

  test('drifting candidates are dropped, or score worse; either way they are counted', () => {
    const own = space(raw, ' x x')
    const row = own.row(record, 0)
    const [un, believable] = [tokenizer.encode(' un')[0]!, tokenizer.encode('believ')[0]!]
    expect(own.readsBack([un, believable], row)).toBe(false)
    const changed = { ids: [un, believable], swaps: [{ position: 0, from: 0, to: un }] }
    const dropping = new DriftGuard(own, [row], 'drop')
    expect(dropping.admitted([changed]).candidates).toEqual([])
    expect(dropping.drifted).toBe(1)
    const penalising = new DriftGuard(own, [row], { penalty: 2 })
    expect(penalising.admitted([changed])).toEqual({ candidates: [changed], penalties: [2] })
    expect(penalising.drifted).toBe(1)
  })

  test('a prompt is taken over as far as it reads back', () => {
    const own = space(raw, ' x x')
    const guard = new DriftGuard(own, [own.row(record, 0)], 'drop')
    const [un, believable] = [tokenizer.encode(' un')[0]!, tokenizer.encode('believ')[0]!]
    const settled = guard.settled(own.start, [
      { position: 0, to: un },
      { position: 1, to: believable },
    ])
    expect(settled.ids).toEqual([un, own.start[1]])
  })

  test('a search without a candidate that reads back ends with an error', () => {
    const own = space(raw, ' x x')
    const guard = new DriftGuard(own, [own.row(record, 0)], 'drop')
    const ids = [tokenizer.encode(' un')[0]!, tokenizer.encode('believ')[0]!]
    const candidates = [{ ids, swaps: [{ position: 0, from: 0, to: ids[0]! }] }]
    expect(
      problem(() => {
        for (let step = 0; step < 100; step++) guard.admitted(candidates)
      }).code,
    ).toBe('all-candidates-drift')
  })
})

describe('the vocabulary', () => {
  test('holds no special token, no part of a character, and nothing that its text does not give back', () => {
    for (const choice of ['ascii', 'words', 'any'] as const) {
      const ids = allowedTokens(tokenizer, choice, 49152)
      expect(ids.length).toBeGreaterThan(10_000)
      const unfit = ids.filter(id => tokenizer.specialTokenIds.has(id) || tokenizer.token(id).includes('\ufffd'))
      expect(unfit).toHaveLength(0)
    }
    const [ascii, words, any] = (['ascii', 'words', 'any'] as const).map(choice => allowedTokens(tokenizer, choice, 49152))
    expect(words!.length).toBeLessThan(ascii!.length)
    expect(ascii!.length).toBeLessThan(any!.length)
    expect(words!.filter(id => !/^(?: ?[A-Za-z]+|[.,])$/.test(tokenizer.token(id)))).toHaveLength(0)
  })

  test('may be a list of tokens; others are refused, with what was meant', () => {
    expect(Array.from(allowedTokens(tokenizer, [' good', ' bad'], 49152), id => tokenizer.token(id)).sort()).toEqual([
      ' bad',
      ' good',
    ])
    expect(problem(() => allowedTokens(tokenizer, [' good bad'], 49152)).code).toBe('not-a-token')
    expect(problem(() => allowedTokens(tokenizer, ['Shakespeare'], 49152)).hint).toBe('did you mean " Shakespeare"?')
  })
})
