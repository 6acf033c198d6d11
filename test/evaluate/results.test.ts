import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { run } from '../../src/cli/commands/others/compare.js'
import { parseArguments } from '../../src/cli/parse.js'
import { setOrigin } from '../../src/data/readers/records.js'
import { generationMetrics, scoreGenerations } from '../../src/evaluate/generations.js'
import {
  hashOf,
  type RowResult,
  RowResultFile,
  readRowResults,
  resultKey,
  writeRowResults,
} from '../../src/evaluate/row-results.js'
import { applyScorer, loadScorer } from '../../src/evaluate/scorer.js'
import { gsm8k } from '../../src/evaluate/tasks/index.js'
import { problem, problemOf } from '../support/problem.js'

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-results-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
afterEach(() => vi.restoreAllMocks())

let files = 0
function file(content: string, name = `${files++}.jsonl`): string {
  const path = join(folder, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, content)
  return path
}
const lines = (...rows: readonly unknown[]) => rows.map(row => `${JSON.stringify(row)}\n`).join('')

describe('RowResultFile', () => {
  const result = (index: number, key: string): RowResult => ({
    index,
    text: `é ${index}\n`,
    answer: '4',
    score: 1,
    correct: true,
    key,
  })

  test('knows finished rows again, and only those of the same key', async () => {
    const path = join(folder, 'run', 'evaluations', 'test.jsonl')
    const first = await RowResultFile.open(path)
    first.append(result(1, 'k'))
    first.append(result(0, 'k'))
    first.close()
    const again = await RowResultFile.open(path)
    expect(again.finished(1, 'k')).toEqual(result(1, 'k'))
    expect(again.finished(1, 'other')).toBeUndefined()
    expect(again.finished(2, 'k')).toBeUndefined()
    again.append(result(1, 'other'))
    expect(again.rows.map(({ index, key }) => [index, key])).toEqual([
      [0, 'k'],
      [1, 'other'],
    ])
    again.close()
    expect(await readRowResults(path)).toEqual(again.rows)
  })

  test('killed at any byte: whole rows are kept, and what is appended then can be read', async () => {
    const rows = [0, 1, 2].map(index => result(index, 'k'))
    const whole = Buffer.from(lines(...rows))
    const ends = rows.map((_, i) => Buffer.byteLength(lines(...rows.slice(0, i + 1))))
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: whole.length }), async size => {
        const path = file('')
        writeFileSync(path, whole)
        truncateSync(path, size)
        // A line that lacks its end alone is whole.
        const kept = ends.filter(end => end - 1 <= size).length
        const opened = await RowResultFile.open(path)
        expect(opened.rows).toEqual(rows.slice(0, kept))
        opened.append(result(7, 'k'))
        opened.close()
        expect(await readRowResults(path)).toEqual([...rows.slice(0, kept), result(7, 'k')])
      }),
      { numRuns: 60 },
    )
  })

  test.each([
    'notes without an end',
    'Dear all\nnothing',
    '{"a": 1}',
    '{"index": 0, "score": 1}\n[1',
    '{\n  "index"',
    'x\u00e9\n\u00e9',
  ])('a file of something else stays as it is: %j', async content => {
    const path = file(content)
    expect(await problemOf(RowResultFile.open(path))).toMatchObject({ code: 'invalid-results' })
    expect(readFileSync(path, 'utf8')).toBe(content)
  })

  test('rows of other data stay as they are: the file is refused', async () => {
    const path = file(lines(result(0, 'k'), result(1, 'k'), result(2, 'k')))
    using opened = await RowResultFile.open(path)
    opened.requireOnly(() => true)
    expect(problem(() => opened.requireOnly(({ index }) => index !== 1))).toMatchObject({
      code: 'file-exists',
      found: expect.stringContaining('row 2'),
    })
    expect((await readRowResults(path)).map(({ index }) => index)).toEqual([0, 1, 2])
  })

  test('texts of another file are taken where they are those of a row here', async () => {
    const known = { ...result(7, 'other'), textKey: 'same text', text: 'said before' }
    using opened = await RowResultFile.open(file(lines(result(0, 'k'))), [known])
    expect(opened.generated(3, 'same text')).toEqual(known)
    expect(opened.generated(0, 'no such text')).toBeUndefined()
    expect(opened.rows).toHaveLength(1)
  })

  test('results that are never resumed take the place of those before', async () => {
    const path = join(folder, 'whole', 'evaluations', 'test.jsonl')
    await writeRowResults(path, [result(0, 'k'), result(1, 'k')])
    await writeRowResults(path, [result(0, 'other')])
    expect(await readRowResults(path)).toEqual([result(0, 'other')])
    expect(await problemOf(writeRowResults(join(file(''), 'x', 'a.jsonl'), []))).toMatchObject({ code: 'cannot-write' })
  })

  test('a folder that cannot be written to', async () => {
    expect(await problemOf(RowResultFile.open(join(file(''), 'x', 'a.jsonl')))).toMatchObject({ code: 'cannot-write' })
  })
})

describe('readRowResults', () => {
  test('of other programs: row and score, or correct', async () => {
    const path = file(
      `${lines({ row: 1, correct: false, extra: [1] }, { row: 0, score: 0.5 }, { index: 2, correct: 1, row: 'hash' })}\n`,
    )
    expect(await readRowResults(path)).toEqual([
      { index: 0, score: 0.5 },
      { index: 1, score: 0, correct: false },
      { index: 2, score: 1, correct: true, row: 'hash' },
    ])
  })

  test('a torn last line is left out; of several results of a row the last counts', async () => {
    expect(await readRowResults(file(`${lines({ index: 0, score: 1 }, { index: 0, score: 0 })}{"index": 1, "sc`))).toEqual([
      { index: 0, score: 0 },
    ])
  })

  test.each([
    ['{"index": 0, "score": 1}\nnot JSON\n{"index": 1, "score": 1}\n', ':2 is not JSON'],
    ['{"index": 0, "score": 1}\n[1]\n', ':2 is not a result'],
    ['{"score": 1}\n', ':1 does not say which row'],
    ['{"index": -1, "score": 1}\n', ':1 does not say which row'],
    ['{"index": 0}\n', ':1 has no score'],
    ['{"index": 0, "score": "1"}\n', ':1 has no score'],
    ['{"index": 0, "score": 1e999}\n', ':1 has no score'],
    ['{"index": 0, "correct": "yes"}\n', ':1 has no valid "correct"'],
    ['{"ind', 'has no results'],
    ['', 'has no results'],
  ])('%j is refused', async (content, message) => {
    const error = await problemOf(readRowResults(file(content)))
    expect(error).toMatchObject({ code: 'invalid-results', exitCode: 2 })
    expect(error.message).toContain(message)
  })

  test('any bytes are read or refused', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string(),
          fc.json().map(text => `${text}\n`),
        ),
        async content => {
          const read = readRowResults(file(content, 'any.jsonl'))
          await read.catch(async () => expect((await problemOf(read)).exitCode).toBe(2))
        },
      ),
      { numRuns: 100 },
    )
  })
})

test('keys: of all that decides a result, whatever the order of its parts', () => {
  const key = { model: 'm', prompt: 'p', row: 'r', settings: { seed: 1, stop: ['a'], nested: { a: 1, b: 2 } } }
  expect(resultKey(key)).toMatch(/^[0-9a-f]{64}$/)
  expect(resultKey({ ...key, settings: { nested: { b: 2, a: 1 }, stop: ['a'], seed: 1 } })).toBe(resultKey(key))
  const others = [{ model: 'x' }, { prompt: 'x' }, { row: 'x' }, { settings: { seed: 2 } }, { settings: undefined }]
  expect(new Set([key, ...others.map(other => ({ ...key, ...other }))].map(resultKey)).size).toBe(6)
  expect(hashOf({ a: 'b,c' })).not.toBe(hashOf({ a: ['b', 'c'] }))
})

describe('scorers', () => {
  const row = { question: 'q', answer: 'the owl' }

  test.each([
    ['exact-match', ' the owl\n', { score: 1, correct: true }],
    ['exact-match', 'owl', { score: 0, correct: false }],
    ['f1', 'an owl', { score: 1 }],
    ['rouge-l', 'owl', { score: 2 / 3 }],
    ['regular-expression', 'see the owl', { score: 1, correct: true }],
  ])('%s of %j', async (name, text, score) => {
    expect(await applyScorer(await loadScorer(name), row, 0, text)).toEqual(score)
  })

  test.each([
    ['export default (row, text) => text.length / row.answer.length', { score: 3 / 7 }],
    ['export const score = async () => true', { score: 1, correct: true }],
    [
      'export default () => ({ score: 0.5, correct: false, brevity: 2, note: "short" })',
      { score: 0.5, correct: false, scores: { brevity: 2 } },
    ],
    ['export default row => { row.answer = ""; return 1 }', { score: 1 }],
  ])('one of the user: %s', async (source, score) => {
    const scorer = await loadScorer(file(source, `own-${files++}.mjs`))
    expect(await applyScorer(scorer, row, 0, 'owl')).toEqual(score)
    expect(row.answer).toBe('the owl')
  })

  test.each([
    ['() => { throw new Error("no network") }', 'no network'],
    ['() => { throw "text" }', 'text'],
    ['async () => { throw new TypeError("late") }', 'late'],
    ['() => NaN', 'the scorer gave NaN'],
    ['() => "1"', 'the scorer gave 1'],
    ['() => undefined', 'the scorer gave undefined'],
    ['() => null', 'the scorer gave null'],
    ['() => ({ correct: true })', 'the scorer gave {"correct":true}'],
    ['() => ({ score: 1, correct: "yes" })', 'the scorer gave {'],
    ['() => { const a = {}; a.score = a; return a }', 'the scorer gave'],
  ])('%s names the row and the error, and the run goes on', async (source, message) => {
    const scorer = await loadScorer(file(`export default ${source}`, `bad-${files++}.mjs`))
    const records = [0, 1].map(() => ({ ...row }))
    for (const [i, record] of records.entries()) setOrigin(record, `data.jsonl:${i + 1}`)
    const results = await scoreGenerations(
      gsm8k,
      records.map((record, index) => ({ record, index, text: '4' })),
      scorer,
    )
    const { errors } = generationMetrics(results, { seed: 1 })
    expect(errors.map(({ index }) => index)).toEqual([0, 1])
    expect(errors[1]!.message).toContain('data.jsonl:2: ')
    expect(errors[1]!.message).toContain(message)
    expect(results[0]!.score).toBe(0)
  })

  test('a scorer in place of the task’s own score', async () => {
    const scorer = await loadScorer(file('export default (row, text) => ({ score: text.length, brevity: 1 })', 'length.mjs'))
    const rows = ['#### 4', 'none Question: 5'].map((text, index) => ({ record: { question: 'q', answer: '4' }, index, text }))
    const results = await scoreGenerations(gsm8k, rows, scorer)
    expect(results.map(({ score, scores, extracted }) => [score, scores?.brevity, extracted])).toEqual([
      [6, 1, '4'],
      [5, 1, undefined],
    ])
    const { metrics } = generationMetrics(results, { seed: 1 })
    expect(metrics.score).toEqual({ value: 5.5, low: 5, high: 6 })
    expect(metrics).not.toHaveProperty('accuracy')
  })

  test.each([
    ['exact-mach', 'unknown-scorer', 'did you mean exact-match?'],
    ['./no-such-scorer.js', 'file-not-found', 'working directory'],
  ])('%s is refused', async (name, code, hint) => {
    const error = await problemOf(loadScorer(name))
    expect(error).toMatchObject({ code, exitCode: 2 })
    expect(error.hint).toContain(hint)
  })

  test.each(['export const other = 1', 'export default 3', 'syntax error'])('a module without a scorer: %s', async source => {
    expect((await problemOf(loadScorer(file(source, `none-${files++}.mjs`)))).code).toBe('invalid-scorer')
  })
})

describe('gradprompt compare', () => {
  async function compare(...args: readonly string[]) {
    const written: string[] = []
    vi.spyOn(process.stdout, 'write').mockImplementation(text => {
      written.push(String(text))
      return true
    })
    vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const parsed = parseArguments(['compare', ...args], { version: '0', write: () => {} })!
    const code = await run(parsed.invocation)
    return { code, stdout: written.join('') }
  }
  const scores = (...values: readonly number[]) => lines(...values.map((score, index) => ({ index, score })))
  const base = file(scores(1, 0, 0, 0, 0, 0, 0, 0, 0, 1), 'base.jsonl')
  const tuned = file(scores(1, 1, 1, 1, 1, 1, 1, 0, 0, 0), 'tuned.jsonl')

  test('a table for people', async () => {
    const { code, stdout } = await compare(base, tuned)
    expect(code).toBe(0)
    expect(stdout).toContain('10 rows [95 % interval]')
    expect(stdout).toMatch(/accuracy +difference +McNemar p +rows needed/)
    expect(stdout).toMatch(/base +20\.0 % \[5\.7, 51\.0\]/)
    expect(stdout).toMatch(/tuned +70\.0 % \[39\.7, 89\.2\] +\+50\.0 \[[-+\d.]+, \+[\d.]+\] +0\.1250 \(\+6 -1\) +\d+/)
  })

  test('JSON, the same for a seed', async () => {
    const first = await compare(base, tuned, '--json', '--seed', '7')
    const result = JSON.parse(first.stdout)
    expect(result).toMatchObject({
      event: 'result',
      rows: 10,
      conditions: [{ name: 'base', mean: { value: 0.2 } }, { name: 'tuned' }],
      comparisons: [{ name: 'tuned', baseline: 'base', difference: { value: expect.closeTo(0.5, 12) } }],
    })
    vi.restoreAllMocks()
    expect((await compare(base, tuned, '--json', '--seed', '7')).stdout).toBe(first.stdout)
  })

  test('runs by their evaluations, seeds joined by commas, names of one’s own', async () => {
    const paths = ['a-1', 'a-2', 'b-1'].map((name, i) => {
      for (const evaluation of i === 2 ? ['test'] : ['test', 'dev'])
        file(scores(i % 2, 1, 0, 1), join('runs', name, 'evaluations', `${evaluation}.jsonl`))
      return join(folder, 'runs', name)
    })
    const { stdout } = await compare(`old=${paths[0]},${paths[1]}`, paths[2]!, '--json')
    expect(JSON.parse(stdout)).toMatchObject({
      conditions: [
        { name: 'old', seeds: 2, mean: { value: 0.625 } },
        { name: 'b-1', seeds: 1, mean: { value: 0.5 } },
      ],
    })
    expect(await problemOf(compare(paths[0]!, paths[1]!))).toMatchObject({ code: 'missing-option', found: 'dev, test' })
    vi.restoreAllMocks()
    const dev = await compare(paths[0]!, paths[1]!, '--evaluation', 'dev', '--json')
    expect(JSON.parse(dev.stdout).conditions.map(({ name }: { name: string }) => name)).toEqual(['a-1', 'a-2'])
    expect(await problemOf(compare(paths[0]!, paths[2]!, '--evaluation', 'dev'))).toMatchObject({ code: 'unknown-evaluation' })
  })

  test('files whose names hold a comma or an equals sign', async () => {
    const odd = file(scores(1, 0), 'a=b,c.jsonl')
    const { stdout } = await compare(odd, odd, '--json')
    expect(JSON.parse(stdout).conditions.map(({ name }: { name: string }) => name)).toEqual(['a=b,c', 'a=b,c (2)'])
  })

  test('mistakes', async () => {
    const other = file(scores(1, 0))
    appendFileSync(other, lines({ index: 4, score: 1 }))
    expect(await problemOf(compare(base))).toMatchObject({ code: 'missing-argument', exitCode: 2 })
    expect(await problemOf(compare(base, other))).toMatchObject({ code: 'different-rows' })
    expect(await problemOf(compare(base, 'nowhere'))).toMatchObject({ code: 'file-not-found' })
    expect(await problemOf(compare(base, folder))).toMatchObject({ code: 'no-results' })
  })

  test('reading changes nothing', () => expect(readFileSync(base, 'utf8')).toBe(scores(1, 0, 0, 0, 0, 0, 0, 0, 0, 1)))
})
