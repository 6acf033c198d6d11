import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { reject } from '../../src/api/foreign/reject.js'
import { predict } from '../../src/api/prediction/predict.js'
import { tune } from '../../src/api/tune.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig } from '../train/toy.js'

/** A classifier that is taught to say that a row is of none of its classes. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

const words = join(folder, 'words.txt')
writeFileSync(words, ['hand', 'door', 'in', 'at', 'stone', ''].join('\n'))
const foreign = join(folder, 'foreign.jsonl')
writeFileSync(foreign, ['in hand', 'at it', 'a hand'].map(text => `${JSON.stringify({ text })}\n`).join(''))
const base = join(folder, 'base')
beforeAll(async () => {
  await tune({ ...toyConfig(folder, { train: { steps: 4 }, threads: 1 }), out: base })
})
const options = { run: base, words, labels: 3, texts: 2, maxNewTokens: 4, groups: 2, steps: 4, batchSize: 4, threads: 1 }

test('mines labels, learns two prompts, sets a threshold, is measured, and predict goes by it', async () => {
  const out = join(folder, 'rejecting')
  const run = await reject({ ...options, foreign: [foreign], out })
  expect(run.foreignLabels).toHaveLength(3)
  expect(run.foreignLabels.some(label => ['the', 'of'].includes(label))).toBe(false)
  expect(run.config.method).toMatchObject({ type: 'lapt', known: ['the', 'of'], numVirtualTokens: 4, init: { from: [base] } })
  const rows = readFileSync(run.texts, 'utf8').trimEnd().split('\n').map(line => JSON.parse(line) as { label: string }) // biome-ignore format: lines
  expect(rows.some(({ label }) => run.foreignLabels.includes(label))).toBe(true)
  expect(rows.some(({ label }) => label === '0')).toBe(true)
  const [measured] = run.measured
  expect(measured!.rows).toEqual({ known: 4, foreign: 3 })
  expect(measured!.scores.grouped.auroc.value).toBeGreaterThanOrEqual(0)
  expect(run.rejection.threshold).toBeGreaterThan(0)

  const data = ['the wine', 'the stone', 'in hand', 'at it'].map(text => ({ text }))
  const of = async (reject: boolean | number) => {
    const answers = []
    for await (const { prediction, known, probabilities } of predict({ prompt: out, data, reject, threads: 1 }))
      answers.push({ prediction, known: known!, classes: Object.keys(probabilities!) })
    return answers
  }
  const plain = await of(false)
  for (const { prediction, known, classes } of plain) {
    expect(classes).toEqual(['the', 'of'])
    expect(['the', 'of']).toContain(prediction)
    expect(known).toBeGreaterThan(0)
    expect(known).toBeLessThanOrEqual(1)
  }
  const { threshold } = run.rejection
  for (const [i, { prediction }] of (await of(true)).entries())
    expect(prediction).toBe(plain[i]!.known < threshold ? 'none of these' : plain[i]!.prediction)
  for (const { prediction } of await of(1)) expect(prediction).toBe('none of these')
  writeFileSync(join(out, 'rejection.json'), '{}')
  expect(await problemOf(of(true))).toMatchObject({ code: 'run-corrupt' })
})

test('the same call goes on with a run that was stopped while it learned, and another call leaves it alone', async () => {
  const whole = await reject({ ...options, seed: 5, foreign: [foreign], out: join(folder, 'whole') })
  const out = join(folder, 'stopped')
  const stop = new AbortController()
  const given = { ...options, seed: 5, foreign: [foreign], out }
  const onEvent = ({ event }: { event: string }) => event === 'step' && stop.abort()
  expect(await problemOf(reject({ ...given, onEvent, signal: stop.signal }))).toMatchObject({ code: 'aborted' })
  expect(await problemOf(reject({ ...given, steps: 5 }))).toMatchObject({ code: 'run-exists' })
  const again = await reject(given)
  expect(again.rejection).toEqual(whole.rejection)
  expect(again.measured[0]!.scores).toEqual(whole.measured[0]!.scores)
  // Once more, of the run that has ended: nothing is learned anew.
  const learned = readFileSync(join(out, 'prompt.safetensors'))
  const events: string[] = []
  const ended = await reject({ ...given, onEvent: ({ event }) => events.push(event) })
  expect(ended.rejection).toEqual(whole.rejection)
  expect(ended.measured[0]!.scores).toEqual(whole.measured[0]!.scores)
  expect(events).not.toContain('step')
  expect(readFileSync(join(out, 'prompt.safetensors'))).toEqual(learned)
})

test('a run of something else in the folder is refused before anything is written', async () => {
  const before = [readdirSync(folder), readdirSync(base)]
  expect(await problemOf(reject({ ...options, out: base }))).toMatchObject({ code: 'run-exists' })
  expect([readdirSync(folder), readdirSync(base)]).toEqual(before)
})

test('a run that was not taught, free text and what is out of range are refused before anything is written', async () => {
  const rows = predict({ prompt: base, data: [{ text: 'the wine' }], reject: true, threads: 1 })
  expect(await problemOf(rows.next())).toMatchObject({ code: 'cannot-reject' })
  const out = join(folder, 'none')
  const of = (given: object) => problemOf(reject({ ...options, ...given, out }))
  expect(await of({ labels: 0 })).toMatchObject({ code: 'invalid-option' })
  expect(await of({ share: 2 })).toMatchObject({ code: 'invalid-option' })
  expect(await of({ labels: 40 })).toMatchObject({ code: 'invalid-option' })
  expect(await of({ foreign: [join(folder, 'absent.tsv')] })).toMatchObject({ code: 'file-not-found' })
  const empty = join(folder, 'empty.txt')
  writeFileSync(empty, '\n')
  expect(await of({ words: empty })).toMatchObject({ code: 'empty-text' })
  expect(existsSync(out)).toBe(false)
  // The instruction of the base model names every label, and the toy's context has 128 tokens.
  const many = join(folder, 'many.txt')
  writeFileSync(many, Array.from({ length: 60 }, (_, i) => `hand ${i}`).join('\n'))
  expect(await of({ words: many, labels: 60 })).toMatchObject({
    code: 'row-too-long',
    message: expect.stringContaining('it names all labels'),
    hint: 'fewer foreign labels: labels (--labels N)',
  })
  expect(readdirSync(folder).filter(name => name.startsWith('none'))).toEqual([])
})
