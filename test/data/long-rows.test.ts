import { expect, test } from 'vitest'
import { RowBuilder } from '../../src/data/rows/rows.js'
import { problem } from '../support/problem.js'
import { fakeEncoder } from './encoder.js'

test('rows that are longer by far are refused, or cut, without tokenising all of their text', () => {
  let most = 0
  const plain = fakeEncoder({ bos: true })
  const encode = (text: string) => {
    most = Math.max(most, text.length)
    return plain.encode(text)
  }
  const told = { ...plain, encode, longestToken: 9 }
  const task = { template: '{text}:', answer: ' {label}', contextLength: 60, numVirtualTokens: 4 }
  const huge = { text: 'word '.repeat(20_000), label: 'good' }
  expect(problem(() => new RowBuilder(told, task).training(huge, 7))).toMatchObject({
    code: 'row-too-long',
    found: '100001 characters, and 4 virtual tokens',
  })
  // What no text could fit beside is not the text's to mend.
  for (const truncate of [false, true])
    expect(problem(() => new RowBuilder(told, { ...task, numVirtualTokens: 60, truncate }).training(huge, 7))).toMatchObject({
      code: 'row-too-long',
      hint: expect.stringContaining('method.numVirtualTokens'),
    })
  const cut = new RowBuilder(told, { ...task, truncate: true }).training(huge, 0)
  expect(cut.truncated).toBe(true)
  expect(cut.ids).toEqual(new RowBuilder(plain, { ...task, truncate: true }).training(huge, 0).ids)
  expect(most).toBeLessThan(2000)
})
