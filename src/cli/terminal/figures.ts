import type { MetricValue } from '../../evaluate/intervals.js'
import type { Metrics } from '../../evaluate/score.js'
import { type Verdict, verdictTexts } from '../../evaluate/verdict.js'
import { metricNames, shares } from '../../report/parts/presentation.js'
import { table } from './output.js'
import { formatNumber } from './progress.js'

/** What a run says that had nothing to be scored on. */
export const NOTHING_SCORED =
  'nothing was scored: data.dev names rows that choose the best checkpoint, data.split.dev sets some of train aside'

/** What a run, a search or an evaluation came to, in words: a line for each baseline. */
export const verdictLines = (verdict: Verdict | undefined): string[] =>
  verdict === undefined
    ? []
    : [
        verdictTexts(verdict)
          .map(text => `verdict: ${text}`)
          .join('\n'),
      ]

/** `91.0 % [86.2, 94.3]` */
export function formatMetric(name: string, { value, low, high }: MetricValue): string {
  const isShare = shares.has(name)
  const digits = (x: number) => (isShare ? (100 * x).toFixed(1) : formatNumber(x))
  return `${digits(value)}${isShare ? ' %' : ''} [${digits(low)}, ${digits(high)}]`
}

/** Metrics of several conditions side by side, a metric a line. */
export function metricsTable(conditions: readonly { readonly name: string; readonly metrics: Metrics }[]): string {
  const there = conditions.filter(({ metrics }) => Object.keys(metrics).length > 0)
  const names = [...new Set(there.flatMap(({ metrics }) => Object.keys(metrics)))]
  const rows = names.map(name => [
    `  ${metricNames[name] ?? name}`,
    ...there.map(({ metrics }) => (metrics[name] === undefined ? '' : formatMetric(name, metrics[name]))),
  ])
  return table([['', ...there.map(({ name }) => name)], ...rows])
}

/** `confusion[target][prediction]` with the labels at its sides. */
export function confusionTable(confusion: readonly (readonly number[])[], labels: readonly string[]): string {
  const names = labels.map(label => (label.length > 20 ? `${label.slice(0, 19)}…` : label))
  const rows = confusion.map((counts, i) => [`  ${names[i] ?? i}`, ...counts.map(String)])
  return table([['  true \\ predicted', ...names], ...rows], { align: ['left', ...names.map(() => 'right' as const)] })
}
