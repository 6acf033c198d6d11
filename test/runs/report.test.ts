import { Script } from 'node:vm'
import { expect, test } from 'vitest'
import { type ReportData, reportHtml } from '../../src/runs/report.js'

const hostile = `</script><img src=x onerror="alert('1')">&`
const metric = { value: 0.9, low: 0.8, high: 0.95 }
const data: ReportData = {
  name: hostile,
  config: { template: hostile },
  events: [
    { event: 'step', step: 1, loss: 2 },
    { event: 'step', step: 2, loss: 1 },
    { event: 'dev', step: 2, metrics: { [hostile]: metric } },
  ],
  result: {
    metrics: { accuracy: metric, [hostile]: metric },
    rows: 10,
    confusion: [
      [4, 1],
      [0, 5],
    ],
    labels: [hostile, 'b'],
    control: { metrics: { accuracy: { value: 0.5, low: 0.4, high: 0.6 } }, plain: { metrics: {} }, instruction: hostile },
    parameters: 11_520,
    steps: 2,
    bestStep: 2,
    seconds: 3,
    folder: 'runs/x',
  },
  nearest: [{ row: 0, norm: 1, tokens: [{ text: hostile, id: 1, cosine: 0.5 }], byDot: [] }],
  samples: [
    { text: hostile, label: hostile, predicted: hostile, confidence: 0.9 },
    { text: 'wrong one', label: 'a', predicted: 'b', confidence: 0.6 },
  ],
}
const plotting = { script: 'globalThis.plotted = 1', style: '.u { }' }

test('nothing that comes from data is markup or script', () => {
  const page = reportHtml(data, plotting)
  expect(page).not.toContain('<img')
  expect(page.match(/<\/script>/g)).toHaveLength(2)
  expect(page.match(/<script>/g)).toHaveLength(2)
})

test('the page needs no network and its scripts parse', () => {
  const page = reportHtml(data, plotting)
  expect(page).toContain("default-src 'none'")
  expect(page).not.toMatch(/(?:src|href)="/)
  for (const [, script] of page.matchAll(/<script>([\s\S]*?)<\/script>/g)) expect(() => new Script(script!)).not.toThrow()
})

test('it shows the result beside the control, the matrix, tokens and predictions', () => {
  const page = reportHtml(data, plotting)
  for (const text of [
    '0.900',
    '[0.800, 0.950]',
    'base model, instructed',
    '0.500',
    '11,520 numbers learned',
    'wrong one',
    '<td class="right"',
  ])
    expect(page).toContain(text)
})

test('a run that has not ended has a page too', () => {
  const page = reportHtml({ ...data, result: undefined, nearest: [], samples: [], events: [] }, plotting)
  expect(page).toContain('has not ended yet')
  expect(page).not.toContain('Predictions')
})
