import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { recordTasks } from '../../../src/data/task-records.js'
import { codeBlock } from '../../../src/evaluate/answers/extraction/code.js'
import { programOf } from '../../../src/evaluate/code/passes.js'
import { scoreSamples } from '../../../src/evaluate/generations.js'
import { loadScorer } from '../../../src/evaluate/scorer.js'
import { taskFor } from '../../../src/evaluate/tasks/index.js'
import { compareRuns, evaluate, loadModel, scorePredictions } from '../../../src/index.js'
import type { LanguageModel } from '../../../src/model/language-model.js'
import { problemOf } from '../../support/problem.js'
import { temporaryFolder, toyModel } from '../../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

const hasPython = spawnSync('python3', ['--version']).status === 0
if (!hasPython) console.log('no python3: programs of answers are not run')

const example = (name: string) => new URL(`../../../examples/code/${name}`, import.meta.url).pathname
const rowsOf = (name: string): Record<string, string>[] =>
  readFileSync(example(name), 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
const written = (name: string, rows: readonly object[]) => {
  writeFileSync(join(folder, name), rows.map(row => `${JSON.stringify(row)}\n`).join(''))
  return join(folder, name)
}

describe('the program of an answer', () => {
  const prefix = 'from math import pi\n\ndef area(r):\n    """Of a circle."""\n'
  const row = { prefix, tests: 'assert area(1) == pi' }

  test('goes on with the prefix, or stands behind it', () => {
    expect(programOf(row, '    return pi * r * r\n')).toBe(`${prefix}    return pi * r * r\n\n\nassert area(1) == pi\n`)
    const whole = 'def area(r):\n    return pi\n'
    expect(programOf(row, whole)).toBe(`${prefix}\n\n${whole}\n\nassert area(1) == pi\n`)
    expect(programOf(row, `Sure:\n\n\`\`\`python\n${whole}\`\`\`\nDone.`)).toBe(programOf(row, whole))
    expect(programOf(row, '```\n    return pi\n```')).toBe(programOf(row, '    return pi\n'))
    // A line that the prefix has begun.
    expect(programOf({ ...row, prefix: 'x = ' }, '1')).toBe('x = 1\n\nassert area(1) == pi\n')
    // The head of a function alone has to have a body before something else follows.
    expect(programOf({ ...row, prefix: 'def area(r):\n' }, whole)).toContain('def area(r):\n    pass\n\n\ndef area(r):')
    expect(programOf({ tests: 'assert x' }, 'x = 1')).toBe('x = 1\n\nassert x\n')
    expect(() => programOf({ prefix }, '')).toThrow(/tests/)
  })

  test('imports from the future stand at the top', () => {
    const rest = 'def area(r):\n    return pi\n'
    for (const future of ['from __future__ import annotations\n', 'from __future__ import (\n  annotations\n) # so\n'])
      expect(programOf(row, `${future}${rest}`)).toBe(
        `${future.replace(' # so', '')}${prefix}\n\n${rest}\n\nassert area(1) == pi\n`,
      )
  })

  test('the first block counts, also where the budget has cut it', () => {
    expect(codeBlock.find('a\n```py\nx\n```\n```\ny\n```', '')?.value).toBe('x\n')
    expect(codeBlock.find('```\nx = 1\nprint(', '')?.value).toBe('x = 1\nprint(')
    expect(codeBlock.find('~~~\nx\n```\ny\n~~~', '')?.value).toBe('x\n```\ny\n')
    expect(codeBlock.find('no `code` here', '')).toBeUndefined()
    const text = 'a\n```\nxyz\n```'
    const { start, end } = codeBlock.find(text, '')!
    expect(text.slice(start, end)).toBe('xyz\n')
  })
})

test('rows are read as they are published', () => {
  const humaneval = { task_id: 'x/1', prompt: 'def f():\n', entry_point: 'f', canonical_solution: '    return 1\n', test: 'def check(c):\n    assert c() == 1\n' } // biome-ignore format: a row
  const read = recordTasks.get('humaneval').record(humaneval, 'x:1')
  expect(read).toMatchObject({ task_id: 'x/1', question: 'def f():\n', answer: '    return 1\n', prefix: 'def f():\n' })
  expect(read.tests).toBe('def check(c):\n    assert c() == 1\n\n\ncheck(f)')
  expect(recordTasks.get('humaneval').record(read, 'x:1')).toBe(read)
  const { entry_point: _, ...without } = humaneval
  expect(() => recordTasks.get('humaneval').record(without, 'x:1')).toThrow(/entry_point/)

  const mbpp = { task_id: '1', text: 'Add.', code: 'def a(x): return x', test_list: '["assert a(1) == 1", "assert a(2) == 2"]' }
  expect(recordTasks.get('mbpp').record({ ...mbpp, test_setup_code: 'y = 1' }, 'x:1')).toMatchObject({
    question: 'Add.',
    shown: 'assert a(1) == 1\nassert a(2) == 2',
    tests: 'y = 1\nassert a(1) == 1\nassert a(2) == 2',
  })
  const { text: prompt, ...rest } = mbpp
  const sanitized = recordTasks.get('mbpp').record({ ...rest, prompt, test_imports: '["import math"]' }, 'x:1')
  expect(sanitized).toMatchObject({ question: 'Add.', tests: 'import math\nassert a(1) == 1\nassert a(2) == 2' })
  expect(() => recordTasks.get('mbpp').record({ ...mbpp, test_list: 'assert' }, 'x:1')).toThrow(/list of texts/)
})

test('no code runs without permission, and nothing is generated before that is known', async () => {
  const problem = await problemOf(loadScorer('passes'))
  expect(problem).toMatchObject({ code: 'running-code-not-allowed', expected: '--allow-running-code' })
  const asked = { predictions: example('predictions.jsonl'), data: example('functions.jsonl'), task: 'humaneval' }
  expect((await problemOf(scorePredictions({ ...asked, predictions: written('none.jsonl', rowsOf('functions.jsonl').map(({ task_id }) => ({ task_id, completion: '' }))) }))).code).toBe('running-code-not-allowed') // biome-ignore format: one line
  expect((await problemOf(loadScorer('passes', { allowRunningCode: true, programSeconds: 0 }))).code).toBe('invalid-option')
  for (const wrong of [{ programSeconds: 3601 }, { programMemory: 63 }, { interpreter: '' }, { interpreter: ' ' }])
    expect((await problemOf(loadScorer('passes', { allowRunningCode: true, ...wrong }))).code).toBe('invalid-option')
})

test('samples all count: pass@k of answers that are right or wrong, the best of others', async () => {
  const record = { question: '', answer: 'yes', tests: '' }
  const row = { record, index: 3, texts: ['yes', 'no', 'no', 'yes', 'no'] }
  const isYes = await loadScorer(function isYes(_, text) {
    return text === 'yes'
  })
  const task = taskFor('humaneval', { path: 'x', rows: [] })
  const scored = await scoreSamples(task, row, isYes)
  expect(scored).toMatchObject({ index: 3, text: 'yes', texts: row.texts, score: 0.4 })
  expect(scored.scores!['pass@1']).toBeCloseTo(0.4, 15)
  expect(scored.scores!['pass@2']).toBeCloseTo(0.7, 15)
  expect(scored.scores!['pass@5']).toBe(1)
  expect(scored).not.toHaveProperty('correct')
  const bySize = await scoreSamples(task, row, await loadScorer(function bySize(_, text) {
    return text.length / 10
  })) // biome-ignore format: one call
  expect(bySize.score).toBeCloseTo(0.24, 15)
  expect(bySize.scores).toEqual({ best: 0.3 })
  // One that could not be scored is not right, and is said.
  const failing = await scoreSamples(task, row, await loadScorer(function failing(_, text) {
    if (text === 'yes') throw new Error('no')
    return true
  })) // biome-ignore format: one call
  expect(failing.scores!['pass@1']).toBeCloseTo(0.6, 15)
  expect(failing.error).toContain('no')
})

describe.skipIf(!hasPython)('answers that are run', { timeout: 120_000 }, () => {
  test.each([
    ['humaneval', 'functions.jsonl', 'canonical_solution'],
    ['mbpp', 'sentences.jsonl', 'code'],
  ])('the solutions of the examples of %s pass, and others do not', async (task, name, column) => {
    const rows = rowsOf(name)
    const asked = { data: example(name), task, allowRunningCode: true }
    const right = written(`${task}-right.jsonl`, rows.map(row => ({ task_id: row.task_id, completion: row[column] }))) // biome-ignore format: one line
    const { metrics, errors } = await scorePredictions({ ...asked, predictions: right })
    expect([metrics.accuracy!.value, errors]).toEqual([1, []])
    const wrong = written(`${task}-wrong.jsonl`, rows.map(row => ({ task_id: row.task_id, completion: '    return 17\n' }))) // biome-ignore format: one line
    expect((await scorePredictions({ ...asked, predictions: wrong })).metrics.accuracy!.value).toBe(0)
  })

  test('several answers to a row are samples', async () => {
    const [row] = rowsOf('functions.jsonl')
    const completions = [row!.canonical_solution, '    return 1\n', '    import sys; sys.exit(0)\n', row!.canonical_solution, '']
    const predictions = written('samples.jsonl', completions.map(completion => ({ task_id: row!.task_id, completion }))) // biome-ignore format: one line
    const { results } = await scorePredictions({ predictions, data: [row!], task: 'humaneval', allowRunningCode: true })
    expect(results[0]!.score).toBeCloseTo(0.4, 15)
    expect(results[0]!.scores!['pass@2']).toBeCloseTo(0.7, 15)
  })
})

describe('answers from elsewhere', () => {
  test('a line without an answer, a null and a list are errors that name the line, and an empty text is an answer', async () => {
    const data = [{ id: 'a', answer: '' }, { id: 'b', answer: '' }] // biome-ignore format: one line
    const score = (second: object) =>
      scorePredictions({ data, scorer: 'exact-match', predictions: written('lines.jsonl', [{ id: 'a', text: '' }, { id: 'b', ...second }]) }) // biome-ignore format: one line
    const problem = async (second: object) => (await problemOf(score(second))) as { code: string; message: string }
    expect(await problem({})).toMatchObject({ code: 'missing-column', message: expect.stringContaining('lines.jsonl:2') })
    expect(await problem({ text: null })).toMatchObject({ code: 'null-value', message: expect.stringContaining('lines.jsonl:2') })
    expect(await problem({ text: ['', ''] })).toMatchObject({ code: 'invalid-data', found: 'a list', message: expect.stringContaining('lines.jsonl:2') }) // biome-ignore format: one line
    expect((await score({ text: '' })).metrics.accuracy!.value).toBe(1)
  })

  test('what a task says itself cannot be said beside it', async () => {
    const asked = { predictions: example('predictions.jsonl'), data: example('functions.jsonl'), task: 'humaneval' }
    for (const more of [{ answer: '{canonical_solution}' }, { labels: { a: 'b' } }])
      expect(await problemOf(scorePredictions({ ...asked, ...more }))).toMatchObject({
        code: 'invalid-option',
        found: `${Object.keys(more)[0]} and task`,
      })
    const benchmark = { model: toyModel, data: example('functions.jsonl'), task: 'humaneval' }
    for (const more of [{ template: '{prompt}' }, { answer: '{canonical_solution}' }])
      expect(await problemOf(evaluate({ ...benchmark, ...more }))).toMatchObject({
        code: 'invalid-option',
        message: `${Object.keys(more)[0]} has no effect here: a task says itself what is asked and what is right`,
      })
  })

  test('how programs are run cannot be said where none is', async () => {
    const asked = { predictions: example('predictions.jsonl'), data: example('comments.jsonl') }
    const model = toyModel
    for (const [
      name,
      value,
    ] of Object.entries({ allowRunningCode: true, interpreter: 'python3', programSeconds: 5, programMemory: 512 })) // biome-ignore format: one line
      for (const [more, because] of [
        [{ scorer: 'bleu' }, 'the scorer bleu runs no programs'],
        [{}, 'nothing runs programs of answers'],
      ] as const)
        for (const call of [
          () => scorePredictions({ ...asked, ...more, [name]: value }),
          () =>
            evaluate({ model, data: asked.data, template: '{code}', answer: '{answer}', generate: true, ...more, [name]: value }),
          () => evaluate({ model, data: asked.data, template: '{code}', answer: '{answer}', ...more, [name]: value }),
        ]) {
          const problem = (await problemOf(call())) as { code: string; message: string; expected: string }
          expect(problem).toMatchObject({ code: 'invalid-option', message: expect.stringContaining(`${name} `) })
          expect(problem.message).toContain(because)
          expect(problem.expected).toContain('passes')
        }
    // Nothing is asked for.
    expect((await scorePredictions({ ...asked, scorer: 'bleu', allowRunningCode: false })).rows).toBe(8)
  })

  test('rows that were scored before a stop are kept', async () => {
    const stop = new AbortController()
    const rows = join(folder, 'stopped.jsonl')
    const asked = { predictions: example('predictions.jsonl'), data: example('comments.jsonl'), scorer: 'bleu', rows }
    const onProgress = (done: number) => done === 3 && stop.abort()
    const problem = await problemOf(scorePredictions({ ...asked, signal: stop.signal, onProgress }))
    expect(problem).toMatchObject({ code: 'aborted', hint: expect.stringContaining(rows) })
    const kept = readFileSync(rows, 'utf8')
    await scorePredictions(asked)
    expect(readFileSync(rows, 'utf8').split('\n').slice(0, 3)).toEqual(kept.trimEnd().split('\n'))
    expect(await problemOf(scorePredictions({ ...asked, rows: undefined, signal: stop.signal }))).toMatchObject({
      hint: undefined,
    })
  })

  test('stop strings of a base model cut neither a block nor a whole program', async () => {
    const whole = 'import math\n\ndef f():\n    return math.pi\n'
    const block = `Here:\n\n\`\`\`python\n${whole}\`\`\``
    const lines = [whole, block, '    return 1\n\ndef g():\n    return 2\n', `X = 1\n\n# f\n${whole}`]
    const { results } = await scorePredictions({
      predictions: written('wholes.jsonl', lines.map(completion => ({ completion }))), // biome-ignore format: one line
      data: lines.map((_, i) => ({ task_id: `${i}`, prompt: 'def f():\n', entry_point: 'f', canonical_solution: '', test: '' })),
      task: 'humaneval',
      scorer: (_, text) => text.length > 0,
    })
    expect(results.map(({ text }) => text)).toEqual([whole, block, '    return 1\n', lines[3]])
  })

  test('rows of different numbers of answers are all samples, and a figure is over the rows that have it', async () => {
    const data = ['a', 'b', 'c', 'd'].map(id => ({ id, answer: 'yes' }))
    const said = { a: ['yes', 'no', 'no', 'no', 'yes'], b: ['yes'], c: ['yes', 'no', 'yes'], d: ['no'] }
    const lines = Object.entries(said).flatMap(([id, texts]) => texts.map(prediction => ({ id, prediction })))
    const warnings: { code: string; message: string }[] = []
    const predictions = written('uneven.jsonl', lines)
    const { metrics, results } = await scorePredictions({ predictions, data, scorer: 'exact-match', onWarning: w => warnings.push(w) }) // biome-ignore format: one line
    const passes = Object.entries(metrics).flatMap(([name, { value }]) => (name.startsWith('pass@') ? [[name, value]] : []))
    // pass@3 is of a and c: 1 - C(3,3)/C(5,3), and 1.
    expect(Object.fromEntries(passes)).toEqual({
      'pass@1': expect.closeTo((0.4 + 1 + 2 / 3 + 0) / 4, 12),
      'pass@2': expect.closeTo((0.7 + 1) / 2, 12),
      'pass@3': expect.closeTo((0.9 + 1) / 2, 12),
      'pass@5': 1,
    })
    expect(metrics.score!.value).toBeCloseTo((0.4 + 1 + 2 / 3 + 0) / 4, 12)
    expect(results[1]).toMatchObject({ score: 1, texts: ['yes'], scores: { 'pass@1': 1 } })
    expect(warnings.map(({ code }) => code)).toEqual(['uneven-answers'])
    expect(warnings[0]!.message).toContain('2 of 4 rows have 1, 1 of 4 rows have 3, 1 of 4 rows have 5')
    // The best of texts that are neither right nor wrong, over all rows.
    const bySize = await scorePredictions({ predictions, data, scorer: (_, text) => text.length / 10 })
    expect(bySize.metrics.best!.value).toBeCloseTo((0.3 + 0.3 + 0.3 + 0.2) / 4, 12)
  })

  const asked = { data: example('comments.jsonl'), scorer: 'bleu' }

  test('are rows that compare lays beside others, in pairs', async () => {
    const [ours, theirs] = [join(folder, 'ours.jsonl'), join(folder, 'theirs.jsonl')]
    const { metrics } = await scorePredictions({ ...asked, predictions: example('predictions.jsonl'), rows: theirs })
    const same = written('same.jsonl', rowsOf('comments.jsonl').map(({ answer }) => ({ prediction: answer }))) // biome-ignore format: one line
    expect((await scorePredictions({ ...asked, predictions: same, rows: ours })).metrics.score!.value).toBeCloseTo(1, 14)
    const { rows, comparisons, scorer, binary } = await compareRuns([ours, theirs])
    expect({ rows, scorer, binary }).toEqual({ rows: 8, scorer: 'bleu', binary: false })
    expect(comparisons[0]!.difference.value).toBeCloseTo(metrics.score!.value - 1, 12)
    expect(comparisons[0]!.difference.high).toBeLessThan(0)
    // A file from before rows named their scorer.
    const lines = readFileSync(theirs, 'utf8').trim().split('\n')
    const old = written('old.jsonl', lines.map(line => ({ ...JSON.parse(line), scorer: undefined }))) // biome-ignore format: one line
    expect(await compareRuns([ours, old])).toMatchObject({ scorer: 'bleu', unnamed: ['old'] })
    expect(await compareRuns([old, old])).not.toHaveProperty('scorer')
    const exact = join(folder, 'exact.jsonl')
    await scorePredictions({ ...asked, scorer: 'exact-match', predictions: same, rows: exact })
    expect(await problemOf(compareRuns([ours, exact]))).toMatchObject({ code: 'different-scorers' })
  })

  test('have to answer every row, and no other', async () => {
    const rows = rowsOf('predictions.jsonl')
    const problem = async (predictions: readonly object[]) =>
      problemOf(scorePredictions({ ...asked, predictions: written('bad.jsonl', predictions) }))
    expect(await problem(rows.slice(1))).toMatchObject({
      code: 'missing-prediction',
      found: expect.stringContaining('comments.jsonl:1'),
    })
    expect(await problem([...rows, { id: 'c99', prediction: '' }])).toMatchObject({ code: 'unknown-row', found: 'id: c99' })
    expect(await problem([{ id: 'c0', said: '' }])).toMatchObject({ code: 'missing-column' })
    expect(await problem(Array.from({ length: 9 }, () => ({ prediction: 'x' })))).toMatchObject({ code: 'unknown-row' })
    // By the order of the lines, where there is no name.
    const byPlace = await scorePredictions({ ...asked, predictions: written('plain.jsonl', rows.map(({ prediction }) => ({ prediction }))) }) // biome-ignore format: one line
    const byName = await scorePredictions({ ...asked, predictions: written('turned.jsonl', [...rows].reverse()) })
    expect(byPlace.results).toEqual(byName.results)
  })
})

describe('samples of a model', () => {
  let model: LanguageModel
  beforeAll(async () => {
    model = await loadModel(toyModel, { threads: 1 })
  })
  afterAll(() => model.dispose())

  test('each is scored and kept, and another scorer needs none anew', async () => {
    const data = ['the wine', 'on stone'].map(text => ({ text, answer: 'a' }))
    const base = { model, data, template: '{text} -', answer: ' {answer}', answerEnd: 'none', maxNewTokens: 3, seed: 5 }
    const strategy = { type: 'samples', samples: 3, temperature: 2 }
    const rows = join(folder, 'kept.jsonl')
    const first = await evaluate({ ...base, strategy, rows, scorer: 'bleu' })
    for (const { texts, text, scores } of first.results) {
      expect(texts).toHaveLength(3)
      expect(texts![0]).toBe(text)
      expect(new Set(texts).size).toBeGreaterThan(1)
      expect(scores).toMatchObject({ calls: 3, tokens: 9 })
      expect(scores).not.toHaveProperty('first answer')
    }
    expect(readFileSync(rows, 'utf8')).toContain('"scorer":"bleu"')
    const other = await evaluate({ ...base, strategy, rows, scorer: 'exact-match' })
    expect((await compareRuns([rows, rows])).scorer).toBe('exact-match')
    expect(other.generated).toMatchObject({ resumed: 2, generatedTokens: 0 })
    expect(other.results.map(({ texts }) => texts)).toEqual(first.results.map(({ texts }) => texts))
    expect(other.results[0]!.scores).toMatchObject({ calls: 3, 'pass@1': 0, 'pass@3': 0 })
    expect(other.metrics['pass@2']!.value).toBe(0)
  })
})
