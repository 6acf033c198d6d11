import type { PairedComparison } from '../../evaluate/comparison.js'
import type { Metrics } from '../../evaluate/score.js'
import { count, intervalBar, number, probability, scaleOf, withInterval } from './figures.js'
import { html, type Markup } from './html.js'
import { wide } from './page.js'
import { metricNames } from './presentation.js'

export interface Condition {
  readonly name: string
  readonly metrics: Metrics
  /** What the report is about, among what it is compared with. */
  readonly main?: boolean
}

/** The figures of several conditions over the same rows, each a dot on its interval. */
export function outcomeTable(caption: string, conditions: readonly Condition[]): Markup {
  const there = conditions.filter(({ metrics }) => Object.keys(metrics).length > 0)
  const names = [...new Set(there.flatMap(({ metrics }) => Object.keys(metrics)))]
  const lines = names.flatMap(name => {
    const having = there.filter(({ metrics }) => metrics[name] !== undefined)
    const scale = scaleOf(
      name,
      having.map(({ metrics }) => metrics[name]!),
    )
    return having.map(({ name: condition, metrics, main }, i) => {
      const value = metrics[name]!
      const head = i === 0 ? html`<th rowspan="${having.length}" scope="rowgroup">${metricNames[name] ?? name}</th>` : ''
      return html`<tr class="${i === 0 ? 'group' : 'follows'}">${head}<td class="condition">${condition}</td><td class="figure">${withInterval(value, scale)}</td><td>${intervalBar(value, scale, main ? 'main' : '')}</td></tr>`
    })
  })
  return wide(
    html`<table class="outcome stacks"><caption>${caption}, with 95 % intervals</caption><tbody>${lines}</tbody></table>`,
  )
}

/** A paired difference in a sentence. */
export function differenceText({ difference, mcnemar, rowsNeeded }: PairedComparison, isShare: boolean): Markup {
  const digits = (value: number) => (isShare ? (100 * value).toFixed(1) : number(value))
  const signed = (value: number) => (value > 0 ? `+${digits(value)}` : digits(value))
  const sides =
    mcnemar &&
    html`; <span class="right-text">${count(mcnemar.onlyOther)} gained</span>, <span class="wrong-text">${count(mcnemar.onlyBaseline)} lost</span>, ${probability(mcnemar.p)} <span class="quiet">(McNemar, exact)</span>`
  const needed =
    rowsNeeded !== null &&
    html`<span class="quiet">; to find such a difference in 80 of 100 experiments takes ${count(rowsNeeded)} rows</span>`
  return html`<b>${signed(difference.value)}</b>${isShare && ' points'} <span class="quiet">[${signed(difference.low)}, ${signed(difference.high)}]</span>${sides}${needed}`
}
