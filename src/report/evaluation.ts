import { pairedComparison } from '../evaluate/comparison.js'
import type { MetricValue } from '../evaluate/intervals.js'
import type { RowResult } from '../evaluate/row-results.js'
import type { Metrics } from '../evaluate/score.js'
import type { Verdict } from '../evaluate/verdict.js'
import { answerTable } from './parts/answers.js'
import { calibration } from './parts/calibration.js'
import { confusionMatrix } from './parts/confusion.js'
import { cost, type Fact, factList, memoryFact, tokenFact } from './parts/cost.js'
import { count, duration, scaleOf } from './parts/figures.js'
import { html, type Part } from './parts/html.js'
import { differenceText, outcomeTable } from './parts/outcome.js'
import type { Page, Tile } from './parts/page.js'
import { metricNames } from './parts/presentation.js'
import { rowTable } from './parts/rows.js'
import { type FilterRules, ruleTable } from './parts/rules.js'

export interface EvaluationReport {
  readonly name: string
  readonly model: string
  readonly data: string
  readonly metrics: Metrics
  readonly rows: readonly RowResult[]
  readonly labels?: readonly string[] | undefined
  readonly confusion?: readonly (readonly number[])[] | undefined
  /** What it is called, beside a control. */
  readonly condition: string
  readonly control?: { readonly name: string; readonly metrics: Metrics; readonly rows: readonly RowResult[] } | undefined
  /** A further condition over the same rows, of which there are figures alone. */
  readonly beside?: { readonly name: string; readonly metrics: Metrics } | undefined
  /** Against the control. */
  readonly verdict?: Verdict | undefined
  /** Where answers were generated. */
  readonly generated?: GeneratedAnswers | undefined
  readonly settings: readonly Fact[]
  readonly seconds: number
  readonly peakMemory: number
}

export interface GeneratedAnswers {
  readonly task: string
  readonly conventions?: string | undefined
  readonly filters: readonly FilterRules[]
  readonly weights: string
  readonly generatedTokens: number
  readonly resumed: number
}

const rowsId = 'table-of-rows'
const seed = 13

/** An evaluation of rows, by likelihood or by generated answers, as a page. */
export function evaluationPage(report: EvaluationReport): Page {
  const { name, model, data, metrics, rows, labels, confusion, condition, control, generated, settings, seconds, peakMemory } =
    report
  const comparison = control && pairedComparison({ before: control.rows, after: rows }, seed)
  const difference =
    comparison &&
    html`<p class="small">Against ${control.name}: ${differenceText(comparison, comparison.mcnemar !== undefined)}.</p>`
  const sure = calibration([
    { name: condition, rows, main: true },
    ...(control ? [{ name: control.name, rows: control.rows }] : []),
  ])
  return {
    kind: generated === undefined ? 'evaluation by likelihood' : 'evaluation by generated answers',
    title: name,
    lead: html`<b>${model}</b> on <b>${data}</b>${generated !== undefined && html`, task <b>${generated.task}</b>`}`,
    verdict: report.verdict,
    tiles: tiles(report),
    sections: [
      {
        id: 'result',
        title: 'Result',
        body: [
          outcomeTable(`${count(rows.length)} rows`, [
            ...(control ? [{ name: control.name, metrics: control.metrics }] : []),
            ...(report.beside ? [report.beside] : []),
            { name: condition, metrics, main: true },
          ]),
          difference,
        ],
      },
      generated && { id: 'rules', title: 'How answers were read', body: ruleTable(generated.filters, rows) },
      labels && confusion ? { id: 'confusion', title: 'Confusion', body: confusionMatrix(confusion, labels, rowsId) } : undefined,
      sure && { id: 'calibration', title: 'Calibration', body: sure },
      {
        id: 'rows',
        title: 'Rows',
        body: generated
          ? answerTable(rowsId, rows)
          : rowTable({
              id: rowsId,
              after: rows,
              before: control?.rows ?? [],
              names: { before: control?.name ?? '', after: condition },
              labels,
            }),
      },
      {
        id: 'cost',
        title: 'Cost',
        body: cost(
          [],
          [
            ['in all', `${duration(seconds)}, ${(rows.length / Math.max(seconds, 1e-6)).toFixed(1)} rows a second`],
            ...(generated === undefined
              ? []
              : [
                  tokenFact('tokens generated', generated.generatedTokens, seconds),
                  ['weights', generated.weights] as const,
                  ...(generated.resumed > 0 ? [['rows from before', count(generated.resumed)] as const] : []),
                ]),
            memoryFact(peakMemory),
          ],
        ),
      },
      {
        id: 'settings',
        title: 'Settings',
        body: factList([
          ['model', model],
          ['data', data],
          ...(generated?.conventions === undefined ? [] : [['conventions', generated.conventions] as const]),
          ...settings,
        ]),
      },
    ],
  }
}

function tiles({ metrics, rows, control, generated }: EvaluationReport): Tile[] {
  const [name, value] = Object.entries(metrics)[0] ?? []
  const made: Tile[] = []
  const tile = (label: string, metric: MetricValue, of: string, kind?: 'main'): Tile => {
    const { format } = scaleOf(of, [metric])
    return { name: label, value: format(metric.value), note: `${format(metric.low)} to ${format(metric.high)}`, kind }
  }
  if (name !== undefined && value !== undefined) {
    made.push(tile(metricNames[name] ?? name, value, name, 'main'))
    const base = control?.metrics[name]
    if (control && base) made.push(tile(control.name, base, name))
  }
  if (generated === undefined) return [...made, { name: 'rows', value: count(rows.length) }]
  const amount = (of: (row: RowResult) => boolean): Part => count(rows.filter(of).length)
  return [
    ...made,
    { name: 'rows', value: count(rows.length) },
    { name: 'no answer found', value: amount(({ rule }) => rule === undefined), note: 'they count 0' },
    ...(rows.some(({ error }) => error !== undefined)
      ? [{ name: 'could not be scored', value: amount(({ error }) => error !== undefined), note: 'they count 0' }]
      : []),
    { name: 'ended by the token budget', value: amount(({ finishReason }) => finishReason === 'length') },
  ]
}
