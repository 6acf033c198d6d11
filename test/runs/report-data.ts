import { compareConditions } from '../../src/evaluate/comparison.js'
import type { RowResult } from '../../src/evaluate/row-results.js'
import { verdictOf } from '../../src/evaluate/verdict.js'
import { comparisonPage } from '../../src/report/comparison.js'
import { evaluationPage } from '../../src/report/evaluation.js'
import type { Page } from '../../src/report/parts/page.js'
import { runsPage } from '../../src/report/runs.js'
import { searchPage } from '../../src/report/search.js'
import { type TuneReport, tunePage } from '../../src/report/tune.js'
import type { JudgedPrompt, SearchResult } from '../../src/search/run/events.js'

/** A text that would break out of anything that does not escape it. */
export const hostile = `</script><img src=x onerror="alert('1')">&`
const metric = { value: 0.9, low: 0.8, high: 0.95 }
const weak = { value: 0.5, low: 0.4, high: 0.6 }
const labels = ['negative', hostile]

/** Forty rows: every fourth is wrong, and `shift` moves which. */
const rows = (shift: number): RowResult[] =>
  Array.from({ length: 40 }, (_, index) => {
    const [target, correct] = [index % 2, (index + shift) % 4 !== 0]
    const extracted = labels[correct ? target : 1 - target]!
    return {
      index,
      input: index === 0 ? hostile : `the text of row ${index}, ${'long '.repeat(index)}`,
      answer: labels[target]!,
      extracted,
      score: Number(correct),
      correct,
      confidence: 0.5 + index / 100,
    }
  })

const nearest = (row: number, text: string) => ({ row, norm: 1.5, tokens: [{ text, id: 1, cosine: 0.5 }], byDot: [] })

export const tuneReport: TuneReport = {
  name: hostile,
  config: { model: 'models/small', template: hostile, method: { type: 'prompt-tuning' }, train: { batchSize: 16 } },
  details: {
    environment: { node: '20.0.0' },
    model: { name: hostile, hash: 'abc' },
    data: { train: { path: hostile, rows: 3 } },
  },
  events: [
    { event: 'loaded', seconds: 2 },
    { event: 'control', metrics: { accuracy: weak } },
    ...[1, 2, 3].map(step => ({
      event: 'step',
      step,
      loss: 3 - step,
      learningRate: 0.1,
      gradientNorm: 1,
      tokens: 100,
      rowsPerSecond: 16,
      seconds: 2 + step,
    })),
    { event: 'dev', step: 3, metrics: { accuracy: metric, [hostile]: metric }, seconds: 6 },
    { event: 'warning', code: 'rows-truncated', message: hostile },
    { event: 'samples', step: 3, samples: [{ input: hostile, answer: 'wanted', text: hostile }] },
  ],
  result: {
    metrics: { accuracy: metric, [hostile]: metric },
    rows: 40,
    confusion: [
      [15, 5],
      [5, 15],
    ],
    labels,
    control: { metrics: { accuracy: weak }, plain: { metrics: { accuracy: metric } }, instruction: hostile },
    verdict: verdictOf({ name: hostile, rows: rows(0) }, { name: 'the base model', rows: rows(2) }, { seed: 1, rowsOf: 'dev' })!,
    parameters: 11_520,
    steps: 3,
    bestStep: 3,
    seconds: 7,
    peakMemory: 1.5e9,
    folder: 'runs/x',
  },
  moved: [{ row: 0, start: nearest(0, hostile), end: nearest(0, ' good'), cosine: 0.83 }],
  rows: { dev: { tuned: rows(0), control: rows(2), plain: rows(1) } },
  evaluations: [
    { name: `a ${hostile}`, key: 'k', data: hostile, settings: { instruction: hostile }, outcome: undefined },
    {
      name: 'test',
      key: 'l',
      data: 'test.tsv',
      settings: { seed: '13' },
      outcome: {
        ended: '2026-01-01T00:00:00.000Z',
        rows: 40,
        condition: 'tuned',
        metrics: { accuracy: metric },
        control: { name: hostile, metrics: { accuracy: weak } },
      },
    },
  ],
}

const judged = (prompt: string, objective: number): JudgedPrompt => ({
  prompt,
  ids: [1],
  objective,
  metrics: { accuracy: metric },
})
const [before, after] = [rows(1), rows(0)]
const paired = compareConditions(
  [
    { name: 'a', seeds: [before] },
    { name: 'b', seeds: [after] },
  ],
  { seed: 1 },
)

const searchResult: SearchResult = {
  ...judged('a found prompt', 0.5),
  rows: 40,
  initial: judged(hostile, 1.5),
  ranking: [judged('a found prompt', 0.5), judged(hostile, 1.5)],
  test: {
    metrics: { accuracy: metric },
    rows: 40,
    labels,
    confusion: [
      [15, 5],
      [5, 15],
    ],
    initial: { metrics: { accuracy: weak }, rows: 40 },
    comparison: paired.comparisons[0]!,
  },
  steps: 2,
  drifted: 3,
  generatedTokens: 1234,
  computedTokens: 5678,
  seconds: 9,
  peakMemory: 1e9,
  folder: 'runs/s',
}

const swap = (accepted: boolean, to: string) => ({
  position: 2,
  from: ' the',
  to,
  changed: 1,
  gradientScore: -0.25,
  exactScore: 0.75,
  accepted,
})
const searchStep = (step: number, accepted: boolean) => ({
  event: 'step',
  step,
  prompt: 'a found prompt',
  ids: [1],
  objective: 1 / step,
  best: { prompt: 'a found prompt', objective: 1 / step },
  swap: swap(accepted, hostile),
  shortlist: [swap(accepted, hostile), swap(false, ' other')],
  candidates: 10,
  rankCorrelation: 0.5,
  drifted: 1,
  generatedTokens: 600 * step,
  computedTokens: 100 * step,
  seconds: 2 + step,
})

const generated: RowResult[] = [
  { index: 0, input: hostile, text: 'so 2 + 2 = 4', span: [11, 12], extracted: '4', rule: 'last-number', answer: '4', score: 1, correct: true, finishReason: 'stop' }, // biome-ignore format: a row a line
  { index: 1, input: 'why?', text: hostile, answer: '5', score: 0, correct: false, finishReason: 'length' },
  { index: 2, input: 'how?', text: 'six', extracted: '6', rule: 'last-number', answer: '6', score: 0, error: hostile },
]

/** A page of each kind, made of texts that would break out of anything that does not escape them. */
export const pages: Readonly<Record<string, Page>> = {
  tune: tunePage(tuneReport),
  runs: runsPage({
    name: hostile,
    runs: ['finished', 'stopped'].map((state, i) => ({
      name: `run ${i} ${hostile}`,
      ...{
        kind: 'tune',
        state,
        method: `method-${i}`,
        model: hostile,
        data: hostile,
        steps: 10 * i,
        evaluations: i,
        hasReport: true,
      },
      ...(i === 0 && {
        metric: { ...metric, name: 'accuracy', of: 'dev' },
        verdict: 'better' as const,
        began: '2026-01-01T00:00:00.000Z',
      }),
    })),
    unreadable: [{ folder: hostile, error: new Error(hostile) }],
  }),
  search: searchPage({
    name: 'search',
    config: { search: { type: 'gcg' }, model: hostile },
    details: {},
    events: [
      { event: 'loaded', seconds: 1, freeTokens: 3, vocabulary: 1000 },
      { event: 'initial', prompt: hostile, objective: 1.5, metrics: { accuracy: weak } },
      searchStep(1, true),
      searchStep(2, false),
      { event: 'dev', step: 2, prompt: 'x', metrics: { accuracy: metric }, seconds: 5 },
    ],
    result: searchResult,
    rows: { before, after },
    part: 'test',
    evaluations: [],
  }),
  evaluation: evaluationPage({
    name: 'gsm8k',
    model: 'small',
    data: hostile,
    metrics: { score: weak, extracted: metric },
    rows: generated,
    condition: 'base model',
    generated: {
      task: 'gsm8k',
      conventions: hostile,
      filters: [{ name: 'answer', rules: [{ name: 'hash-number', description: 'after ####' }, { name: 'last-number', description: hostile }] }], // biome-ignore format: a line
      weights: 'stored',
      generatedTokens: 300,
      resumed: 1,
    },
    settings: [['template', hostile]],
    seconds: 3,
    peakMemory: 1e9,
  }),
  comparison: comparisonPage({
    comparison: paired,
    conditions: [
      { name: hostile, seeds: [before] },
      { name: 'b', seeds: [after] },
    ],
    runs: [
      { name: hostile, config: { train: { steps: 1 } }, events: tuneReport.events, result: { seconds: 3, parameters: 5 } },
      { name: 'b', config: { train: { steps: 2, [hostile]: hostile } }, events: tuneReport.events, result: undefined },
    ],
    evaluation: hostile,
  }),
}
