import fc from 'fast-check'
import { expect, test } from 'vitest'
import { unicodeNormal } from '../../src/formats/tokenize/unicode-normal.js'

/** Of many classes, of none, and such as are written as several. */
const marks = [
  ...'\u0301\u0323\u0334\u0345\u0344\u05b0\u064b\u3099\u0327\u031b\u0315\u20dd\u0903\u0f71\u0f73\u0f81\u1cd0',
  '\u{1d165}',
  '\u{1d16d}',
]
const forms = ['NFC', 'NFD', 'NFKC', 'NFKD'] as const

test('equals the engine on long stretches of marks', () => {
  const stretch = fc.array(fc.constantFrom(...marks), { minLength: 60, maxLength: 200 }).map(parts => parts.join(''))
  const texts = fc.array(fc.tuple(fc.constantFrom('a', 'e\u0301', 'ﬁ', '각', ''), stretch), { maxLength: 3 })
  fc.assert(
    fc.property(texts, fc.constantFrom(...forms), (parts, form) => {
      const text = parts.flat().join('')
      expect(unicodeNormal(text, form)).toBe(text.normalize(form))
    }),
    { seed: 5, numRuns: 400 },
  )
})

test('half a million marks take no minutes', () => {
  const started = process.cpuUsage()
  const text = unicodeNormal(`a${'\u0301\u0323'.repeat(250_000)}`, 'NFC')
  expect(text.length).toBe(500_000)
  const { user } = process.cpuUsage(started)
  expect(user / 1e6).toBeLessThan(3)
})
