import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DataRecord } from '../../../src/data/readers/records.js'
import { CaseFile } from '../../../src/search/run/case-book.js'
import { problemOf } from '../../support/problem.js'
import { temporaryFolder } from '../../train/toy.js'

/** `cases.csv` as it comes back from a person and a spreadsheet. */

let folder: string
let remove: () => void
let added: DataRecord[]
let said: string[]
beforeEach(() => {
  ;({ folder, remove } = temporaryFolder())
  added = []
  said = []
})
afterEach(() => remove())

const path = () => join(folder, 'cases.csv')
const saved = (...lines: string[]) => writeFileSync(path(), ['text,label,batch,asked', ...lines, ''].join('\n'))
const opened = (words: Record<string, string> = { 0: 'no', 1: 'yes' }) => {
  const labels = { column: 'label', words: new Map(Object.entries(words)), candidates: [...new Set(Object.values(words))] }
  return new CaseFile(
    folder,
    { text: 'text', labels },
    records => added.push(...records),
    code => said.push(code),
  )
}

test('a batch that nothing came of is said to be one, once', async () => {
  const cases = opened()
  expect(await cases.keep(1, () => Promise.resolve([]))).toBe(0)
  expect(said).toEqual(['no-cases'])
  const asked = [{ text: 'a', asked: 'no' }, { text: 'b', asked: 'yes' }] // biome-ignore format: a list
  expect(await cases.keep(1, () => Promise.resolve(asked))).toBe(2)
  const none = (texts: readonly string[]) => Promise.resolve(texts.map(() => undefined))
  expect(await cases.settle(1, none)).toEqual({ added: 0, left: 2 })
  expect(said).toEqual(['no-cases', 'cases-left-out'])
  expect(await opened().settle(1, none)).toEqual({ added: 0, left: 2 })
  saved('a,no,1,no', 'c,,2,no', 'd,,2,yes')
  expect(await opened().settle(2, ([c]) => Promise.resolve([c && 'yes', undefined]))).toEqual({ added: 1, left: 1 })
  expect(said).toEqual(['no-cases', 'cases-left-out'])
})

const never = () => Promise.reject(new Error('written anew'))

describe('a batch behind a spreadsheet', () => {
  test.each(['1', '1.0', ' 1', '"1,0"', '01'])('is found by its number: %j', async batch => {
    saved(`a,no,${batch},no`, `b,yes,${batch},yes`)
    expect(await opened().keep(1, never)).toBe(2)
    expect(await opened().settle(1)).toEqual({ added: 2, left: 0 })
    expect(added).toEqual([
      { text: 'a', label: '0' },
      { text: 'b', label: '1' },
    ])
  })

  test.each(['one', '1.5', '0'])('is refused where it is no number, with the line: %j', async batch => {
    saved('a,no,1,no', `b,yes,${batch},yes`)
    const problem = await problemOf(opened().keep(1, never))
    expect(problem).toMatchObject({ code: 'run-corrupt', found: `batch: "${batch}"` })
    expect(problem.message).toContain('cases.csv:3')
  })
})

test('rows that a person adds, without a batch, are of the one at hand, whenever the search goes on', async () => {
  saved('a,no,1,no', 'own,yes,,', ',,,')
  expect(await opened().keep(1, never)).toBe(1)
  expect(await opened().settle(1)).toEqual({ added: 2, left: 0 })
  expect(added.map(({ text }) => text)).toEqual(['a', 'own'])
  // It is of the first batch from now on, and none of the texts that were made.
  expect(readFileSync(path(), 'utf8')).toContain('own,yes,1,\n')
  expect(await opened().keep(1, never)).toBe(1)
  expect(await opened().keep(2, () => Promise.resolve([{ text: 'c', asked: 'no' }]))).toBe(1)
  writeFileSync(path(), readFileSync(path(), 'utf8').replace('c,,2', 'c,no,2'))
  expect(await opened().settle(2)).toEqual({ added: 1, left: 0 })
})

test('a text that was emptied is refused with its line, but for one that is of no use', async () => {
  saved('a,no,1,no', ',yes,1,yes')
  const problem = await problemOf(opened().settle(1))
  expect(problem).toMatchObject({ code: 'run-corrupt', found: 'no text in the column "text"' })
  expect(problem.message).toContain('cases.csv:3')
  saved('a,no,1,no', ',-,1,yes')
  expect(await opened().settle(1)).toEqual({ added: 1, left: 1 })
  expect(await opened().texts()).toEqual(['a'])
})

test('labels that differ in case alone are told apart; another case is taken where it is of one class', async () => {
  const words = { yes: 'yes', Yes: 'Yes', no: 'no' }
  saved('a,Yes,1,no', 'b,yes,1,no', 'c,NO,1,no')
  await opened(words).settle(1)
  expect(added.map(({ label }) => label)).toEqual(['Yes', 'yes', 'no'])
  saved('a,YES,1,no')
  const problem = await problemOf(opened(words).settle(1))
  expect(problem.code).toBe('unknown-label')
  expect(problem.found).toContain('may be yes or Yes')
})
