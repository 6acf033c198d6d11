import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import type { DataRecord } from '../../src/data/readers/records.js'
import { RowBuilder, type RowOptions } from '../../src/data/rows/rows.js'
import { findLabels, type LabelSet } from '../../src/data/texts/labels.js'
import { openGguf } from '../../src/formats/gguf.js'
import { loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { problem } from '../support/problem.js'
import { fakeEncoder } from './encoder.js'

const labels: LabelSet = {
  column: 'label',
  words: new Map([
    ['0', 'bad'],
    ['1', 'good'],
  ]),
  candidates: ['bad', 'good'],
}
const task = { template: 'Review: {text}\nSentiment:', answer: ' {label}', labels, contextLength: 512, numVirtualTokens: 4 }
const builder = (options: Partial<RowOptions> = {}, encoder = fakeEncoder()) => new RowBuilder(encoder, { ...task, ...options })
const film = { text: 'a fine film', label: '1' }

describe('training rows', () => {
  test('context and answer, with the loss at the answer', () => {
    const encoder = fakeEncoder({ bos: true })
    const row = builder({}, encoder).training(film, 3)
    expect(row).toMatchObject({ index: 3, truncated: false })
    expect(row.segments.map(({ role, text }) => [role, text])).toEqual([
      ['context', 'Review: a fine film\nSentiment:'],
      ['label', ' good'],
    ])
    expect(encoder.decode(row.ids)).toBe('<bos>Review: a fine film\nSentiment: good')
    expect(row.labels.filter(label => label !== -100)).toEqual(row.segments[1]?.ids)
  })

  test('a token across the border belongs to the answer', () => {
    const encoder = fakeEncoder()
    const row = builder({ template: '{text} a', answer: '{label}' }, encoder).training(film, 0)
    expect(row.segments.map(segment => segment.text)).toEqual(['a fine film', ' agood'])
    expect(row.ids).toEqual(encoder.encode('a fine film agood'))
  })

  test('an empty template leaves the first label to the soft prompt', () => {
    const row = builder({ template: '' }).training(film, 0)
    expect(row.segments.map(segment => segment.role)).toEqual(['label'])
    expect(row.labels).toEqual(row.ids)
    expect(problem(() => builder({ template: '', numVirtualTokens: 0 }).training(film, 0)).code).toBe('empty-context')
    expect(builder({ template: '', numVirtualTokens: 0 }, fakeEncoder({ bos: true })).training(film, 0).labels[0]).toBe(-100)
  })

  test('the end of an answer is learned behind it, once, in the place of what the tokenizer appends itself', () => {
    const end = { text: '<eos>', ids: [1] }
    const isEndNamed = true
    const ended = builder({ end, isEndNamed }).training(film, 0)
    expect(ended.labels.at(-1)).toBe(1)
    expect(ended.segments.map(({ role, text }) => [role, text])).toEqual([
      ['context', 'Review: a fine film\nSentiment:'],
      ['label', ' good'],
      ['end', '<eos>'],
    ])
    const own = builder({ end, isEndNamed }, fakeEncoder({ eos: true })).training(film, 0)
    expect(own.ids.filter(id => id === 1)).toHaveLength(1)
    expect(own.labels.at(-1)).toBe(1)
    const line = { text: '\n', ids: [fakeEncoder().encode('\n')[0]!] }
    const other = builder({ end: line, isEndNamed }, fakeEncoder({ eos: true })).training(film, 0)
    expect(other.ids).not.toContain(1)
    expect(other.labels.at(-1)).toBe(line.ids[0])
    const written = builder({ end, isEndNamed, answer: ' {label}<eos>' }).training(film, 0)
    expect(written.ids).toEqual(ended.ids)
    expect(builder().training(film, 0).ids).not.toContain(1)
  })

  test('a row to show before others has no end', () => {
    const end = { text: '<eos>', ids: [1] }
    const { ids, kinds } = builder({ end, isEndNamed: true }).example(film, 0)
    const row = builder().training(film, 0)
    expect([ids, kinds.length]).toEqual([row.ids, row.ids.length])
  })

  test('chat messages go through the chat template, without a second BOS', () => {
    const encoder = fakeEncoder({ bos: true })
    const template = [
      { role: 'system', content: 'Rate {{1}}' },
      { role: 'user', content: '{text}' },
    ] as const
    const row = builder({ template, answer: '{label}' }, encoder).training(film, 0)
    expect(encoder.decode(row.ids)).toBe('<user>Rate {1}<eos><user>a fine film<eos><assistant>good')
    expect(row.segments[1]?.text).toBe('good')
  })

  test('free text answers', () => {
    const row = builder({ answer: ' {label}', labels: undefined }).training({ text: 'a', label: 'it depends' }, 0)
    expect(row.segments[1]?.text).toBe(' it depends')
  })

  test('rows are made when asked for, once', () => {
    const encoder = fakeEncoder()
    const rows = builder({}, encoder)
    rows.check(film, 0)
    expect(rows.byteLength(film, 0)).toBe('Review: a fine film\nSentiment: good'.length)
    expect(encoder.encoded).toBe(0)
    const first = rows.training(film, 0)
    const encoded = encoder.encoded
    expect(rows.training(film, 0)).toBe(first)
    expect(rows.training(film, 5)).toEqual({ ...first, index: 5 })
    expect(encoder.encoded).toBe(encoded)
    // Equal indices of another file's records are other rows.
    expect(rows.training({ text: 'other', label: '0' }, 0).ids).not.toEqual(first.ids)
  })
})

describe('scoring rows', () => {
  test('every candidate after the context that all share', () => {
    const encoder = fakeEncoder({ bos: true })
    const row = builder({}, encoder).scoring(film, 2)
    expect(encoder.decode(row.context)).toBe('<bos>Review: a fine film\nSentiment:')
    expect(row.candidates.map(({ label, ids }) => [label, encoder.decode(ids)])).toEqual([
      ['bad', ' bad'],
      ['good', ' goo' + 'd'],
    ])
    expect(row).toMatchObject({ index: 2, target: 1 })
  })

  test('a border that one candidate moves moves for all', () => {
    const encoder = fakeEncoder()
    const words = new Map([
      ['0', '!'],
      ['1', 'bc'],
    ])
    const row = builder(
      { template: '{text} a', answer: '{label}', labels: { column: 'label', words, candidates: ['!', 'bc'] } },
      encoder,
    )
    const { context, candidates } = row.scoring(film, 0)
    expect(encoder.decode(context)).toBe('a fine film')
    expect(candidates.map(({ ids }) => encoder.decode(ids))).toEqual([' a!', ' abc'])
  })

  test('a row without a label has no target; without a label set its own answer is the candidate', () => {
    expect(builder().scoring({ text: 'a' }, 0).target).toBe(-1)
    const free = builder({ labels: undefined }).scoring({ text: 'a', label: 'yes' }, 0)
    expect(free).toMatchObject({ target: 0, candidates: [{ label: ' yes' }] })
  })

  test('two values of one word are one candidate', () => {
    const some = findLabels(' {label}', { a: 'yes', b: 'no', c: 'yes' }, [{ label: 'c' }])
    expect(builder({ labels: some }).scoring({ text: 'x', label: 'c' }, 0)).toMatchObject({
      target: 0,
      candidates: { length: 2 },
    })
  })
})

describe('mistakes', () => {
  test('an unknown label names the row and the known ones', () => {
    for (const make of [
      () => builder().training({ text: 'a', label: '2' }, 6),
      () => builder().scoring({ text: 'a', label: '2' }, 6),
    ])
      expect(problem(make)).toMatchObject({
        code: 'unknown-label',
        message: 'row 7 has a label outside the set',
        found: 'label: "2"',
        expected: 'one of "0", "1"',
      })
  })

  test('a missing column lists those that are there', () => {
    expect(problem(() => builder().training({ txet: 'a', label: '1' }, 0))).toMatchObject({
      code: 'missing-column',
      found: 'the columns "txet", "label"',
      hint: 'did you mean "txet"?',
    })
  })

  test('a value never becomes a special token', () => {
    for (const text of ['go <eos> on', '<user>', 'a<unk>'])
      for (const make of [
        () => builder().training({ text, label: '1' }, 0),
        () => builder().scoring({ text, label: '1' }, 0),
        () => builder({ template: [{ role: 'user', content: '{text}' }] }).training({ text, label: '1' }, 0),
      ])
        expect(problem(make)).toMatchObject({ code: 'special-token-in-data', message: 'row 1 holds the text of a special token' })
    // Not even from two values that meet, or a value that meets the template.
    expect(problem(() => builder({ template: '{a}{b}' }).training({ a: '<e', b: 'os>', label: '1' }, 0)).found).toBe('<eos>')
    expect(problem(() => builder({ template: '<e{a}' }).training({ a: 'os>', label: '1' }, 0)).found).toBe('<eos>')
  })

  test('a template writes as many as it wants, and unknown characters are text', () => {
    const row = builder({ template: '<user>{text}<eos><assistant>', answer: '{label}<eos>' }).training(film, 0)
    expect(row.ids.filter(id => id < 4)).toEqual([2, 1, 3, 1])
    expect(builder().training({ text: '☃ ☃', label: '1' }, 0).ids).toContain(4)
  })

  test('an answer without tokens', () => {
    const empty = { labels: undefined, answer: '{label}' }
    expect(problem(() => builder(empty).training({ text: 'a', label: '' }, 0)).code).toBe('empty-answer')
    expect(problem(() => builder(empty).scoring({ text: 'a', label: '' }, 0)).code).toBe('empty-answer')
  })
})

describe('rows longer than the context', () => {
  const long = { text: Array.from({ length: 100 }, (_, i) => `w${i}`).join(' '), label: '0' }

  test('are refused, with the row and the lengths', () => {
    const rows = builder({ contextLength: 60 })
    const tokens = builder({ contextLength: 1000 }).training({ ...long, label: '1' }, 0).ids.length + 4
    const expected = {
      code: 'row-too-long',
      message: "row 8 is longer than the model's context",
      found: `${tokens} tokens, 4 of them virtual`,
      expected: 'at most 60',
    }
    for (const make of [() => rows.check(long, 7), () => rows.training(long, 7), () => rows.scoring(long, 7)])
      expect(problem(make)).toMatchObject(expected)
  })

  test('have their text cut, the same for training and scoring, never the template or the answer', () => {
    const encoder = fakeEncoder({ bos: true })
    const rows = builder({ contextLength: 60, truncate: true }, encoder)
    const row = rows.training(long, 0)
    expect(row.truncated).toBe(true)
    expect(encoder.decode(row.ids)).toMatch(/^<bos>Review: w0 w1 .*\nSentiment: bad$/)
    const scored = rows.scoring(long, 0)
    expect(scored.context).toEqual(row.segments[0]?.ids)
    expect(Math.max(...scored.candidates.map(({ ids }) => ids.length)) + scored.context.length + 4).toBe(60)
  })

  test('have the longest text cut, between characters', () => {
    const record = { a: 'x y z', text: '😀'.repeat(50), label: '1' }
    const options = { template: '{a}|{text}:', contextLength: 30, truncate: true }
    const context = builder(options).training(record, 0).segments[0]?.text ?? ''
    expect(context).toMatch(/^x y z\|(😀)+:$/u)
  })

  test('are refused when template and answer leave no room', () => {
    const error = problem(() => builder({ contextLength: 12, truncate: true }).training(long, 0))
    expect(error).toMatchObject({ code: 'row-too-long', hint: expect.stringContaining('template') })
    expect(
      problem(() => builder({ template: 'no text at all, long enough', contextLength: 8, truncate: true }).check(long, 0)).code,
    ).toBe('row-too-long')
  })

  test('one that fits exactly is whole', () => {
    const length = builder({ contextLength: 1000 }).training({ ...long, label: '1' }, 0).ids.length + 4
    expect(builder({ contextLength: length, truncate: true }).training(long, 0).truncated).toBe(false)
    expect(builder({ contextLength: length - 1, truncate: true }).training(long, 0).truncated).toBe(true)
  })
})

describe('for any text', () => {
  const words = fc.stringMatching(/^[a-z0-9 :!é😀]*$/u)
  const record = fc.record({ text: words, label: fc.constantFrom('0', '1') })
  const shape = fc.record({
    template: fc.constantFrom('{text}', 'Review: {text}\nSentiment:', '{text} a', '{text}{text}'),
    answer: fc.constantFrom(' {label}', '{label}', '{label}!'),
    contextLength: fc.integer({ min: 40, max: 400 }),
    bos: fc.boolean(),
    eos: fc.boolean(),
    end: fc.constantFrom(undefined, { text: '<eos>', ids: [1] }, { text: '!!', ids: [6, 6] }),
  })

  test('segments join to the ids, labels lie in the label segment, and both kinds of row agree', () => {
    fc.assert(
      fc.property(record, shape, (record, { bos, eos, ...options }) => {
        const encoder = fakeEncoder({ bos, eos })
        const rows = builder({ ...options, truncate: true }, encoder)
        const row = rows.training(record, 0)
        expect(row.segments.flatMap(segment => segment.ids)).toEqual(row.ids)
        const roles = row.segments.flatMap(segment => segment.ids.map(() => segment.role))
        expect(row.labels).toEqual(row.ids.map((id, i) => (roles[i] === 'context' ? -100 : id)))
        expect(row.ids.length + 4).toBeLessThanOrEqual(options.contextLength)

        const { context, candidates, target } = rows.scoring(record, 0)
        // Labels that tell themselves apart are scored as they are.
        const unended = builder({ ...options, end: undefined, truncate: true }, encoder).training(record, 0)
        if (options.end === undefined) expect([...context, ...candidates[target]!.ids]).toEqual(row.ids)
        else if (!row.truncated) expect([...context, ...candidates[target]!.ids]).toEqual(unended.ids)
        for (const { ids } of candidates) {
          expect(ids.length).toBeGreaterThan(0)
          expect(context.length + ids.length + 4).toBeLessThanOrEqual(options.contextLength)
        }
        if (!row.truncated) {
          const text = options.template.replaceAll('{text}', () => record.text)
          const joint = candidates.map(({ label }) => encoder.encode(text + options.answer.replace('{label}', label)))
          const whole = candidates.map(({ ids }) => [...context, ...ids])
          expect(whole.map(ids => ids.slice(0, -1))).toEqual(joint.map((ids, i) => ids.slice(0, whole[i]!.length - 1)))
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('with the bundled model', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    const gguf = await openGguf('models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf')
    tokenizer = await loadTokenizer({ ggufMetadata: gguf.metadata })
    await gguf.close()
  })
  const words = {
    ...labels,
    words: new Map(Object.entries({ 0: 'negative', 1: 'positive' })),
    candidates: ['negative', 'positive'],
  }
  const rows = (options: Partial<RowOptions> = {}) =>
    new RowBuilder(tokenizer, { ...task, labels: words, contextLength: 8192, ...options })

  test('SST-2: joint ids are those of the parts, and each label is one token', () => {
    const record: DataRecord = { text: "it 's a charming and often affecting journey", label: '1' }
    const row = rows().training(record, 0)
    const context = `Review: ${record.text}\nSentiment:`
    expect(row.segments.map(segment => segment.ids)).toEqual([tokenizer.encode(context), tokenizer.encode(' positive')])
    expect(
      rows()
        .scoring(record, 0)
        .candidates.map(({ ids }) => ids.length),
    ).toEqual([1, 1])
  })

  test('chat messages: the template marks turns, a value cannot', () => {
    const template = [{ role: 'user', content: '{text}' }] as const
    const row = rows({ template, answer: '{label}' }).training({ text: 'fine', label: '0' }, 0)
    expect(row.segments[0]?.text).toMatch(/<\|im_start\|>user\nfine<\|im_end\|>\n<\|im_start\|>assistant\n$/)
    expect(row.segments[1]?.text).toBe('negative')
    for (const text of ['bad <|im_end|>', '<|endoftext|>'])
      for (const each of [template, task.template])
        expect(problem(() => rows({ template: each }).training({ text, label: '0' }, 0)).code).toBe('special-token-in-data')
  })

  test('truncation fills the context', () => {
    const record = { text: 'a rather long review of a short film, '.repeat(40), label: '1' }
    const row = rows({ contextLength: 64, truncate: true }).training(record, 0)
    expect(row.ids.length + 4).toBeLessThanOrEqual(64)
    expect(row.ids.length + 4).toBeGreaterThanOrEqual(62)
    expect(tokenizer.decode(row.ids)).toMatch(/^Review: a rather long .*\nSentiment: positive$/)
  })
})
