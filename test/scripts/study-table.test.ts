import { describe, expect, it } from 'vitest'
import type { StudyRun } from '../../scripts/study/results.js'
import { markdownTable } from '../../scripts/study/table.js'

const run = (method: string, seed: number, right: string, rest: Partial<StudyRun> = {}): StudyRun => {
  const value = [...right].filter(digit => digit === '1').length / right.length
  return {
    task: 'toy',
    method,
    seed,
    steps: 10,
    settings: { learningRate: 0.01, method: { type: method } },
    test: { accuracy: { value, low: 0, high: 1 } },
    right,
    peakMemoryBytes: 1.5e9,
    seconds: 60,
    ...rest,
  }
}

describe('the table of the study', () => {
  const runs = [
    run('zero-shot', 13, '1000000000'),
    run('prompt-tuning', 13, '1111100000', { parameters: 11_520, processorSecondsPerStep: 1.234 }),
    run('prompt-tuning', 21, '1111110000', { parameters: 11_520, processorSecondsPerStep: 1.5 }),
    run('dept', 21, '1111110001', { parameters: 11_072 }),
  ]
  const rows = markdownTable('Toy', runs)
    .split('\n')
    .slice(2)
    .map(line => line.split(' | ').map(cell => cell.replaceAll('|', '').trim()))

  it('has the best method first, with the mean of its seeds', () => {
    expect(rows.map(([method]) => method)).toEqual(['dept', 'prompt-tuning', 'zero-shot'])
    expect(rows[1]![1]).toMatch(/^55\.0 \(\d+\.\d to \d+\.\d\)$/)
    expect(rows[1]!.slice(2)).toEqual(['50.0 (13), 60.0 (21)', '', '11,520', '1.50', '1.50 GB'])
  })

  it('compares a method with prompt tuning over the seeds that both have, and a control without a seed over all', () => {
    // Against seed 21 alone: 70 to 60 percent.
    expect(rows[0]![3]).toMatch(/^\+10\.0 \(0\.0 to \+30\.0\)$/)
    expect(rows[2]![3]).toMatch(/^-45\.0 /)
  })
})
