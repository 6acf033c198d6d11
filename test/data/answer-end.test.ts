import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { storedConfig } from '../../src/config/stored.js'
import { RowBuilder, type RowOptions } from '../../src/data/rows/rows.js'
import { answerEndNotices, beginningOf, resolveAnswerEnd, stopsOf } from '../../src/data/texts/answer-end.js'
import { findLabels, type LabelSet } from '../../src/data/texts/labels.js'
import { loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { problem } from '../support/problem.js'
import { fakeEncoder } from './encoder.js'

const chat = [{ role: 'user', content: '{text}' }] as const

describe('how an answer ends', () => {
  test('labels that tell themselves apart learn the end where somebody names it; free text, and labels that begin one another, always', () => {
    const end = { text: '<eos>', ids: [1] }
    const labelled = (...words: string[]): LabelSet => ({
      column: 'label',
      words: new Map(words.map((word, i) => [`${i}`, word])),
      candidates: words,
    })
    const beginning = labelled('good', 'good film')
    const task = {
      template: 'Review: {text}\nSentiment:',
      answer: ' {label}',
      contextLength: 512,
      numVirtualTokens: 4,
      labels: labelled('bad', 'good'),
    }
    const film = { text: 'a fine film', label: '1' }
    const learned = (options: Partial<RowOptions>) => {
      const made = new RowBuilder(fakeEncoder(), { ...task, end, ...options })
      expect(made.training(film, 0).ids.at(-1) === 1).toBe(made.learnedEnd !== undefined)
      return made.learnedEnd
    }
    expect(learned({})).toBeUndefined()
    expect(learned({ isEndNamed: true })).toBe(end)
    expect(learned({ labels: undefined })).toBe(end)
    expect(learned({ labels: beginning })).toBe(end)
    expect(learned({ labels: beginning, end: undefined })).toBeUndefined()
  })

  test('auto: the end of the turn behind messages, the end of the text behind a text, nothing where there is none', () => {
    const encoder = fakeEncoder()
    expect(resolveAnswerEnd({ answerEnd: 'auto', template: '{text}' }, encoder)).toEqual({ text: '<eos>', ids: [1] })
    const turns = {
      ...encoder,
      applyChatTemplate: (messages: readonly { role: string; content: string }[]) =>
        messages.map(({ content }) => `<user>${content} <assistant>\n`).join(''),
    }
    expect(resolveAnswerEnd({ answerEnd: 'auto', template: chat }, turns)).toEqual({ text: '<assistant>', ids: [3] })
    expect(resolveAnswerEnd({ answerEnd: 'auto', template: '{text}' }, turns)?.ids).toEqual([1])
    const silent = { ...encoder, applyChatTemplate: () => 'the-last-words', eosTokenId: undefined }
    expect(resolveAnswerEnd({ answerEnd: 'auto', template: chat }, silent)).toBeUndefined()
    expect(answerEndNotices({ answerEnd: 'auto' }, undefined, undefined)).toMatchObject([{ code: 'no-answer-end' }])
    expect(resolveAnswerEnd({ answerEnd: 'none', template: chat }, encoder)).toBeUndefined()
    expect(answerEndNotices({ answerEnd: 'none' }, undefined, undefined)).toEqual([])
  })

  test('a text of its own, or a special token; what stands before a special token is refused', () => {
    const encoder = fakeEncoder()
    expect(resolveAnswerEnd({ answerEnd: '<user>', template: '' }, encoder)).toEqual({ text: '<user>', ids: [2] })
    const line = resolveAnswerEnd({ answerEnd: '\n', template: '' }, encoder)!
    expect(encoder.decode(line.ids)).toBe('\n')
    expect(stopsOf(line, encoder)).toEqual({ stop: ['\n'], stopTokenIds: [] })
    expect(stopsOf({ text: '<user>', ids: [2] }, encoder)).toEqual({ stop: [], stopTokenIds: [2] })
    expect(problem(() => resolveAnswerEnd({ answerEnd: '.<eos>', template: '' }, encoder))).toMatchObject({
      code: 'invalid-config',
      hint: expect.stringContaining('<eos>'),
    })
  })

  test('a config of an earlier version means none', () => {
    expect(storedConfig({ data: {} })).toMatchObject({ answerEnd: 'none' })
    expect(storedConfig({ data: {}, answerEnd: 'auto' })).toMatchObject({ answerEnd: 'auto' })
  })

  describe('in real tokenizers', () => {
    let tokenizer: Tokenizer
    beforeAll(async () => {
      const checkpoint = await openCheckpoint('models/smollm2-135m-instruct')
      await checkpoint.file.close()
      tokenizer = await loadTokenizer(checkpoint.tokenizer)
    })

    test('the bundled model ends its turns and its texts alike', () => {
      for (const template of [chat, '{text}'])
        expect(resolveAnswerEnd({ answerEnd: 'auto', template }, tokenizer)).toEqual({ text: '<|im_end|>', ids: [2] })
      const given = resolveAnswerEnd({ answerEnd: '###', template: '' }, tokenizer)!
      expect(tokenizer.decode(given.ids)).toBe('###')
    })

    test('labels that begin one another are scored with their ends, all of them; others as they are', () => {
      const end = { text: '<|im_end|>', ids: [2] }
      const build = (words: readonly string[], withEnd = true) =>
        new RowBuilder(tokenizer, {
          ...{ template: '{text}\nCount:', answer: ' {label}', contextLength: 256, numVirtualTokens: 0 },
          labels: findLabels(' {label}', Object.fromEntries(words.map(word => [word, word])), []),
          ...(withEnd && { end }),
        })
      const record = { text: 'ten', label: '10' }
      const clashing = build(['1', '7', '10'])
      expect(clashing.overlap).toEqual(['1', '10'])
      expect(clashing.scoring(record, 0).candidates.map(({ ids }) => ids.at(-1))).toEqual([2, 2, 2])
      expect(
        build(['1', '7', '10'], false)
          .scoring(record, 0)
          .candidates.map(({ ids }) => ids.at(-1)),
      ).not.toContain(2)
      const apart = build(['7', '10'])
      expect(apart.overlap).toBeUndefined()
      expect(apart.scoring(record, 0)).toEqual(build(['7', '10'], false).scoring(record, 0))
      expect(answerEndNotices({ answerEnd: 'none' }, undefined, clashing.overlap)).toMatchObject([
        { code: 'overlapping-labels', message: expect.stringMatching(/"10" begin with those of "1"/) },
      ])
      expect(answerEndNotices({ answerEnd: 'auto' }, end, clashing.overlap)).toEqual([])
    })

    test('free text is scored with its end', () => {
      const end = { text: '<|im_end|>', ids: [2] }
      const options = { template: '{text}', answer: ' {label}', contextLength: 256, numVirtualTokens: 0, end }
      const { context, candidates } = new RowBuilder(tokenizer, options).scoring({ text: 'ten', label: '10' }, 0)
      expect([...context, ...candidates[0]!.ids]).toEqual([...tokenizer.encode('ten 10'), 2])
    })
  })
})

test('of any answers, one is found whose tokens begin another one, or none is there', () => {
  const answers = fc.array(fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 4 }), { maxLength: 8 })
  fc.assert(
    fc.property(answers, answers => {
      const begins = (i: number, j: number) =>
        answers[i]!.length < answers[j]!.length && answers[i]!.every((id, k) => answers[j]![k] === id)
      const found = beginningOf(answers)
      if (found !== undefined) expect(begins(...found)).toBe(true)
      else expect(answers.some((_, i) => answers.some((_, j) => begins(i, j)))).toBe(false)
    }),
    { numRuns: 500 },
  )
})
