import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { commentBleu } from '../../../src/evaluate/code/bleu.js'
import { codeBleuOf } from '../../../src/evaluate/code/codebleu/codebleu.js'
import { withoutPythonComments } from '../../../src/evaluate/code/codebleu/comments.js'
import { type CodeLanguage, codeLanguages } from '../../../src/evaluate/code/codebleu/languages.js'
import { codeTokens } from '../../../src/evaluate/code/codebleu/ngrams.js'
import { passAtK, passFigures } from '../../../src/evaluate/code/pass-at-k.js'
import { loadScorer } from '../../../src/evaluate/scorer.js'
import { problemOf } from '../../support/problem.js'

interface Expected {
  readonly code: string
  readonly reference: string
  readonly ngrams: number
  readonly weighted: number
  readonly syntax: number
  readonly flow: readonly [number, number]
}

const fixture = JSON.parse(readFileSync(new URL('../../fixtures/evaluate/code-metrics.json', import.meta.url), 'utf8')) as {
  readonly bleu: readonly { readonly text: string; readonly reference: string; readonly bleu: number }[]
  readonly comments: readonly { readonly code: string; readonly without: string }[]
  readonly codebleu: Readonly<Record<string, readonly Expected[]>>
}

test.each(fixture.bleu)("BLEU of a comment is CodeXGLUE's: $text", ({ text, reference, bleu }) => {
  expect(commentBleu(text, reference)).toBeCloseTo(bleu, 12)
})

test('a comment is as good as itself', () => {
  expect(commentBleu('Returns the sum of two numbers.', 'Returns the sum of two numbers.')).toBeCloseTo(1, 15)
})

test.each(fixture.comments)('Python is left without its comments: $code', ({ code, without }) => {
  // Spaces between tokens mean nothing, and those behind the last of a line.
  const lines = (text: string) => text.split('\n').map(line => line.trimEnd().replaceAll(/(?<=\S)[ \t]+/g, ' '))
  expect(lines(withoutPythonComments(code))).toEqual(lines(without))
})

test('pass@k is the share of draws with a right one', () => {
  expect(passAtK(5, 2, 1)).toBeCloseTo(0.4, 15)
  expect(passAtK(5, 2, 2)).toBeCloseTo(0.7, 15)
  expect(passAtK(5, 0, 5)).toBe(0)
  expect(passAtK(5, 1, 5)).toBe(1)
  // All pairs and triples of 7 of which 3 are right, counted.
  const draws = (k: number, from = 0): number[][] =>
    k === 0
      ? [[]]
      : Array.from({ length: 7 - from }, (_, i) => i + from).flatMap(i => draws(k - 1, i + 1).map(rest => [i, ...rest]))
  for (const k of [1, 2, 3, 4, 5, 6]) {
    const all = draws(k)
    expect(passAtK(7, 3, k)).toBeCloseTo(all.filter(draw => draw.some(i => i < 3)).length / all.length, 14)
  }
  expect(passAtK(10_000, 5000, 10)).toBeCloseTo(1 - 0.5 ** 10, 5)
  expect(() => passAtK(5, 6, 1)).toThrow(RangeError)
  expect(() => passAtK(5, 2, 6)).toThrow(RangeError)
  expect(passFigures(5, 2)).toEqual({ 'pass@1': passAtK(5, 2, 1), 'pass@2': passAtK(5, 2, 2), 'pass@5': 1 })
})

const require = createRequire(import.meta.url)
const isThere = ({ grammar }: CodeLanguage) => {
  try {
    return [require.resolve('web-tree-sitter'), require.resolve(`${grammar.package}/${grammar.file}`)].length === 2
  } catch {
    console.log(`no ${grammar.package}: CodeBLEU of it is not tested`)
    return false
  }
}

describe.each(codeLanguages.filter(isThere))('CodeBLEU of $name', language => {
  test.each(fixture.codebleu[language.name]!)('has the parts that the package finds: $code', async expected => {
    const compare = await codeBleuOf(language)
    const { ngrams, weighted, syntax, flow, score } = compare(expected.code, expected.reference)
    expect(ngrams).toBeCloseTo(expected.ngrams, 12)
    expect(syntax).toBeCloseTo(expected.syntax, 12)
    // Of a text whose tokens weigh less than 1 in all the package divides by 1.
    const right = codeTokens(expected.reference)
    const weight = right.reduce((sum, token) => sum + (language.keywords.has(token) ? 1 : 0.2), 0)
    if (weight >= 1) expect(weighted).toBeCloseTo(expected.weighted, 12)
    else expect(weighted).toBeCloseTo(expected.weighted / Math.min(1, weight) ** 0.25, 12)
    const [low, high] = expected.flow
    const none = high === 0 && flow === 1
    if (!none) {
      expect(flow).toBeGreaterThanOrEqual(low - 1e-12)
      expect(flow).toBeLessThanOrEqual(high + 1e-12)
    }
    expect(score).toBeCloseTo((ngrams + weighted + syntax + flow) / 4, 12)
  })

  test.each(fixture.codebleu[language.name]!)('is 1 of a text and itself: $code', async ({ code }) => {
    if (codeTokens(code).length < 4) return
    expect((await codeBleuOf(language))(code, code)).toEqual({ score: 1, ngrams: 1, weighted: 1, syntax: 1, flow: 1 })
  })

  test('hostile texts have a figure', async () => {
    const compare = await codeBleuOf(language)
    const texts = [
      '',
      ' \n\t',
      '\0',
      '"'.repeat(99),
      '(((((((',
      '}}}}',
      'ü = "🎉" # ß',
      '\ud800',
      'a\r\nb\r\n',
      '/* never',
      `${'('.repeat(2000)}`,
      '\u2028',
    ]
    for (const code of texts)
      for (const reference of texts)
        for (const part of Object.values(compare(code, reference))) {
          expect(part).toBeGreaterThanOrEqual(0)
          expect(part).toBeLessThanOrEqual(1 + 1e-12)
        }
  })
})

test('a parser that is not installed is asked for with the command that installs it', async () => {
  const [python] = codeLanguages
  const absent = { ...python!, name: 'absent', grammar: { package: 'tree-sitter-absent', file: 'x.wasm' } }
  const problem = await problemOf(codeBleuOf(absent))
  expect(problem).toMatchObject({
    code: 'missing-package',
    hint: 'npm install --ignore-scripts web-tree-sitter tree-sitter-absent',
  })
})

test.runIf(codeLanguages.every(isThere))('a scorer per language, and one that reads it in the row', async () => {
  const row = { answer: 'int y = x ;', language: 'Java' }
  const [named, byRow] = [await loadScorer('codebleu-java'), await loadScorer('codebleu')]
  expect(await named.score(row, 'int y = x ;')).toEqual({ score: 1, ngrams: 1, weighted: 1, syntax: 1, flow: 1 })
  expect(await byRow.score(row, 'Here it is:\n```java\nint y = x ;\n```\n')).toEqual(await named.score(row, 'int y = x ;'))
  await expect(byRow.score({ ...row, language: 'cobol' }, '')).rejects.toMatchObject({ code: 'unknown-language' })
})
