import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { type ProbeResult, probe, probed, verdictOf } from '../../src/api/probe.js'
import { disguises } from '../../src/evaluate/probing/disguises.js'
import { forms, isRight, madeSentences, type Probe, probesOf } from '../../src/evaluate/probing/probes.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'

/** What a prompt made a model forget, or hides. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

describe('disguises', () => {
  test('are read back to the character, whatever the text', () => {
    fc.assert(
      fc.property(fc.string(), text => {
        for (const { write, read } of Object.values(disguises)) expect(read(write(text), text)).toBe(text)
      }),
    )
  })

  test('write as they are known to', () => {
    expect(disguises.leetspeak.write('the last 4 notes, THE END')).toBe('7h3 l457 a n0735, THE END')
    expect(disguises['pig-latin'].write('the string is empty!')).toBe('ethay ingstray isway emptyway!')
  })
})

describe('probes', () => {
  const texts = ['one two three', 'four five', 'six  seven\neight', 'nine ten']
  test('ask for each text in every form, with two other texts as examples', () => {
    const probes = probesOf(texts, 13)
    expect(probes).toHaveLength(4 * forms.length)
    expect(probes.slice(0, 4).map(({ form }) => form)).toEqual([...forms])
    const [plain, other, leet, pig] = probes as [(typeof probes)[0], (typeof probes)[0], (typeof probes)[0], (typeof probes)[0]]
    expect(plain.text).toMatch(
      /^Repeat the input\.\n\nInput: .+\nOutput: .+\n\nInput: .+\nOutput: .+\n\nInput: one two three\nOutput:$/,
    )
    expect(plain.text.match(/one two three/g)).toHaveLength(1)
    expect(other.text).toMatch(/Q: one two three\nA:$/)
    expect(leet.text).toContain('Inpu7: 0n3 7w0 7hr33')
    expect([plain, other, leet, pig].map(({ right }) => right)).toEqual(['one', 'one', '0n3', 'oneway'])
    // Texts stand on one line; the second task is the last word.
    expect(probes[4]!.right).toBe('five')
    expect(probesOf(texts, 13)).toEqual(probes)
    expect(new Set(madeSentences(100, 1)).size).toBe(100)
  })

  test('an answer is right by its first word', () => {
    expect(isRight(' one two', 'one')).toBe(true)
    expect(isRight('one.', 'one')).toBe(true)
    expect(isRight('ones', 'one')).toBe(false)
    expect(isRight('the one', 'one')).toBe(false)
  })
})

/** A model that answers plainly wrong under the prompt, and does all else, has it hidden. */
test('verdicts', () => {
  const of = (form: ProbeResult['form'], without: number, forgotten: readonly [number, number]): ProbeResult => ({
    form,
    rows: 20,
    without: { value: without, low: without, high: without },
    under: { value: 0, low: 0, high: 0 },
    forgotten: { value: (forgotten[0] + forgotten[1]) / 2, low: forgotten[0], high: forgotten[1] },
  })
  expect(verdictOf([of('plain', 1, [1, 1]), of('leetspeak', 1, [0, 0])])).toBe('hidden')
  expect(verdictOf([of('plain', 1, [0.6, 1]), of('leetspeak', 1, [0.5, 0.9])])).toBe('lost')
  expect(verdictOf([of('plain', 1, [-0.1, 0.2]), of('leetspeak', 1, [0.5, 0.9])])).toBe('kept')
  expect(verdictOf([of('plain', 0.1, [0.05, 0.1])])).toBe('unknown')
  // What the model cannot do in disguise says nothing.
  expect(verdictOf([of('plain', 1, [1, 1]), of('leetspeak', 0.1, [0, 0])])).toBe('lost')
})

test('a model that answers plain English under the prompt otherwise, and does the rest, has it hidden', async () => {
  const probes = probesOf(madeSentences(8, 3), 13)
  const without = async (set: readonly Probe[]) => set.map(() => true)
  const under = async (set: readonly Probe[]) =>
    set.map(({ text, right }) => isRight(/[Rr]epeat the|Write the/.test(text) ? 'positive' : right, right))
  const { verdict, results } = await probed(probes, { without, under }, 13)
  expect(verdict).toBe('hidden')
  expect(results.map(({ form, forgotten }) => [form, forgotten.value])).toEqual([
    ['plain', 1],
    ['other-template', 1],
    ['leetspeak', 0],
    ['pig-latin', 0],
  ])
  expect(results[0]).toMatchObject({
    rows: 8,
    without: { value: 1 },
    under: { value: 0 },
    mcnemar: { onlyBaseline: 0, onlyOther: 8 },
  })
  expect((await probed(probes, { without, under: without }, 13)).verdict).toBe('kept')
})

test('what is no run, or too few texts, is refused', async () => {
  expect(await problemOf(probe({ run: join(folder, 'absent') }))).toMatchObject({ code: 'not-a-run' })
  expect(await problemOf(probe({ run: folder, limit: 2 }))).toMatchObject({ code: 'invalid-option' })
})
