import { expect, test } from 'vitest'
import { readTestTime } from '../../../src/cli/show/test-time-options.js'
import type { DataRecord } from '../../../src/data/readers/records.js'
import type { RowBuilder } from '../../../src/data/rows/rows.js'
import { GradpromptError } from '../../../src/errors.js'
import { randomGenerator } from '../../../src/random.js'
import { testTimeOptions } from '../../../src/train/test-time/options.js'
import { viewsOf, withoutWords, wordsOf } from '../../../src/train/test-time/views.js'

/** Views of rows: which words are left out, and what a row's views depend on. */

/** Stands for rows: it hands the record back. */
const builderOf = (name: string, refuse?: (record: DataRecord) => string | undefined) =>
  ({
    scoring: (record: DataRecord, index: number) => {
      const code = refuse?.(record)
      if (code !== undefined) throw new GradpromptError(code, code)
      return { name, record, index }
    },
  }) as unknown as RowBuilder

const textsOf = (rows: readonly unknown[]) => rows.map(row => (row as { record: { text: string } }).record.text)
const text = 'Well made, but the strap broke within a week.'
const options = { views: 6, dropout: 0.3, paraphrases: 0 }
const source = { builders: [builderOf('own')], columns: ['text'], options, seed: 13 }

test('words are left out with the space behind them, never all and never none', () => {
  const parted = wordsOf(text)
  expect(parted.words).toHaveLength(9)
  const random = randomGenerator(1)
  let left = 0
  for (let i = 0; i < 500; i++) {
    const view = withoutWords(parted, 0.2, random)
    const kept = wordsOf(view)
    expect(view).not.toMatch(/ {2}|^ | $/)
    expect(kept.words.length).toBeGreaterThan(0)
    expect(kept.words.length).toBeLessThan(9)
    left += 9 - kept.words.length
  }
  // 0.2 of nine words, and the one that is left out where chance leaves out none.
  expect(left / 500).toBeGreaterThan(1.75)
  expect(left / 500).toBeLessThan(2.15)
  expect(withoutWords(wordsOf('one'), 0.9, random)).toBe('one')
  expect(withoutWords(wordsOf(''), 0.9, random)).toBe('')
  // Chinese has no spaces.
  expect(wordsOf('这个东西很好').words.length).toBeGreaterThan(1)
})

test('the row itself comes first, no view twice, and all are a function of seed and text alone', async () => {
  const first = await viewsOf({ text, label: '1' }, 0, source)
  const texts = textsOf(first)
  expect(texts[0]).toBe(text)
  expect(new Set(texts).size).toBe(6)
  expect(textsOf(await viewsOf({ text, label: '0', other: 'x' }, 7, source))).toEqual(texts)
  expect(textsOf(await viewsOf({ text }, 0, { ...source, seed: 14 }))).not.toEqual(texts)
  // Two words have two views beside themselves.
  expect(textsOf(await viewsOf({ text: 'good stuff' }, 0, source)).sort()).toEqual(['good', 'good stuff', 'stuff'])
  expect(textsOf(await viewsOf({ text: 'good' }, 0, source))).toEqual(['good'])
})

test('templates and paraphrases come before words are left out; what does not fit is no view', async () => {
  const refuse = ({ text }: DataRecord) => (text === 'too long' ? 'row-too-long' : undefined)
  const builders = [builderOf('own', refuse), builderOf('other')]
  const asked: unknown[] = []
  const paraphrase = async (...given: unknown[]) => {
    asked.push(given)
    return ['in other words', 'too long', text]
  }
  const record = { title: 'A bag', text }
  const rows = await viewsOf(record, 0, { ...source, builders, columns: ['title', 'text'], options: { ...options, paraphrases: 3 }, paraphrase }) // biome-ignore format: a call
  expect(rows.map(row => (row as unknown as { name: string }).name)).toEqual(['own', 'other', 'own', 'own', 'own', 'own'])
  expect(textsOf(rows).slice(0, 3)).toEqual([text, text, 'in other words'])
  expect(asked).toEqual([[text, 3, expect.any(Number)]])
  const broken = viewsOf(record, 0, {
    ...source,
    builders: [builderOf('own', ({ text: own }) => (own === text ? undefined : 'other'))],
  })
  await expect(broken).rejects.toMatchObject({ code: 'other' })
})

test('what is asked for has an end, the same for a call and for a flag', () => {
  const problemIn = (call: () => unknown) => {
    try {
      call()
    } catch (error) {
      return error as GradpromptError
    }
    throw new Error('nothing was refused')
  }
  const least = { views: 1, paraphrases: 0, steps: 1, batch: 2 }
  for (const [name, most] of Object.entries({ views: 1000, paraphrases: 1000, steps: 10_000, batch: 100_000 })) {
    const called = problemIn(() => testTimeOptions({ [name]: 1e9 }, []))
    expect([called.message, called.expected]).toEqual([`testTime.${name} is not valid`, `at most ${most}`])
    const flagged = problemIn(() => readTestTime({ [`test-time-${name}`]: 1e9 }))
    expect(flagged.expected).toBe(`at least ${least[name as keyof typeof least]}, at most ${most}`)
  }
  expect(problemIn(() => testTimeOptions({ dropout: 1 }, [])).expected).toBe('less than 1')
  expect(problemIn(() => readTestTime({ 'test-time-dropout': 1 })).expected).toBe('more than 0, less than 1')
})

test('what is asked for has its defaults, and the templates of the run', () => {
  expect(testTimeOptions(undefined, [])).toBeUndefined()
  expect(testTimeOptions(false, [])).toBeUndefined()
  const given = { views: 16, dropout: 0.15, paraphrases: 0, similar: 1, keep: 0.25, steps: 1, learningRate: 5e-3 }
  expect(testTimeOptions(true, undefined)).toEqual({ ...given, templates: [] })
  expect(testTimeOptions(true, ['a'])).toEqual({ ...given, templates: ['a'] })
  expect(testTimeOptions({ templates: [], paraphrases: 4 }, ['a'])).toEqual({
    ...given,
    templates: [],
    paraphrases: 4,
    similar: 0.8,
  })
})
