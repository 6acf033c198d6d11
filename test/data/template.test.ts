import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findLabels, labelWord } from '../../src/data/texts/labels.js'
import { compileTemplate, escapeTemplate, prependInstruction, requireColumns } from '../../src/data/texts/template.js'
import { problem } from '../support/problem.js'

describe('templates', () => {
  test.each([
    ['Review: {text}\nSentiment:', ['text'], 'Review: a {film}\nSentiment:'],
    ['{text}{text} {the label}', ['text', 'the label'], 'a {film}a {film} 1'],
    ['{{"a": "{text}"}}', ['text'], '{"a": "a {film}"}'],
    ['{{{text}}}', ['text'], '{a {film}}'],
    ['{{text}}', [], '{text}'],
    ['', [], ''],
  ])('%j', (text, columns, rendered) => {
    const template = compileTemplate(text)
    expect(template.columns).toEqual(columns)
    expect(template.render({ text: 'a {film}', 'the label': '1' })).toBe(rendered)
  })

  test.each(['{text', 'text}', '{}', '{ }', '{a{b}', 'a } b', '{text}}'])('%j is refused', text => {
    expect(problem(() => compileTemplate(text))).toMatchObject({ code: 'invalid-template', exitCode: 2 })
  })

  test('an escaped text renders to itself', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('{', '}', 'a', '$', '&') }), text => {
        expect(compileTemplate(escapeTemplate(text)).render({})).toBe(text)
      }),
    )
  })

  test('an instruction goes before a text, and into the system message', () => {
    expect(compileTemplate(prependInstruction('{a}', 'Say {yes}.') as string).render({ a: 'x' })).toBe('Say {yes}.\nx')
    expect(prependInstruction([{ role: 'user', content: '{a}' }], 'Do.')).toEqual([
      { role: 'system', content: 'Do.' },
      { role: 'user', content: '{a}' },
    ])
    expect(prependInstruction([{ role: 'system', content: 'Be kind.' }], 'Do.')).toEqual([
      { role: 'system', content: 'Do.\nBe kind.' },
    ])
  })

  test('the columns are those of the file', () => {
    requireColumns(['a'], ['a', 'b'], 'template')
    expect(problem(() => requireColumns(['txt'], ['text', 'label'], 'template'))).toMatchObject({
      code: 'missing-column',
      found: '{txt}',
      expected: 'one of "text", "label"',
      hint: 'did you mean {text}?',
    })
    expect(problem(() => requireColumns(['text'], ['one long string of cliches', '0'], 'template')).hint).toContain(
      'data.columns',
    )
    // No template can name it.
    expect(problem(() => requireColumns(['price'], ['text', 'price {€}'], 'a.csv: the template')).hint).toMatch(
      /braces in its name .* --columns .*: 'name=price \{€\}' for "price \{€\}"/,
    )
    expect(problem(() => compileTemplate('{price {€}}')).hint).toMatch(/write \{\{ and \}\} for braces; .* --columns /)
  })
})

describe('labels', () => {
  const rows = (...values: string[]) => values.map(label => ({ text: 'x', label }))

  test('configured: values to words, in the order given', () => {
    const labels = findLabels(' {label}', { pos: 'good', neg: 'bad', very: 'good' }, rows('neg', 'pos'))
    expect(labels).toMatchObject({ column: 'label', candidates: ['good', 'bad'] })
    expect(labelWord(labels!, { label: 'very' }, 0)).toBe('good')
    expect(labelWord(labels!, {}, 0)).toBeUndefined()
  })

  test('of several columns in the answer, the one whose values are known', () => {
    expect(findLabels('{text}: {label}', { a: 'b' }, rows('a'))?.column).toBe('label')
    expect(problem(() => findLabels('yes', { a: 'b' }, rows('a'))).code).toBe('invalid-config')
  })

  test('a value outside the set', () => {
    const labels = findLabels('{label}', { a: 'b' }, rows('a'))!
    for (const label of ['b', 'toString', '__proto__', ''])
      expect(problem(() => labelWord(labels, { label }, 2))).toMatchObject({
        code: 'unknown-label',
        message: 'row 3 has a label outside the set',
      })
  })

  test('not configured: few values that come back are a set, many are free text', () => {
    expect(findLabels('{label}', undefined, rows('b', 'a', 'b', 'a'))?.candidates).toEqual(['a', 'b'])
    expect(findLabels('{label}', undefined, rows('a', 'b', 'c', 'a'))).toBeUndefined()
    const fifty = Array.from({ length: 50 }, (_, i) => `${i}`)
    expect(findLabels('{label}', undefined, rows(...fifty, ...fifty))?.candidates).toHaveLength(50)
    expect(findLabels('{label}', undefined, rows(...fifty, '50', ...fifty, '50'))).toBeUndefined()
    expect(findLabels('{label} {text}', undefined, rows('a', 'a'))).toBeUndefined()
    expect(findLabels('yes', undefined, rows('a', 'a'))).toBeUndefined()
  })
})
