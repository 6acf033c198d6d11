import { type Condition as Compared, type Comparison, measureOf } from '../evaluate/comparison.js'
import type { MetricValue } from '../evaluate/intervals.js'
import type { RowResult } from '../evaluate/row-results.js'
import type { StoredEvent } from '../store/events.js'
import { type Chart, chartPlace, overlaid } from './parts/charts.js'
import { type Cell, type ExplorerRow, explorer, type Filter } from './parts/explorer.js'
import { bytes, count, duration, intervalBar, number, percent, type Scale, scaleOf, withInterval } from './parts/figures.js'
import { html, type Markup, type Part } from './parts/html.js'
import { devMetrics, devSeries, stepSeries } from './parts/learning.js'
import { differenceText } from './parts/outcome.js'
import { type Page, type Section, wide } from './parts/page.js'
import { metricNames, shares, smooth } from './parts/presentation.js'

/** What a compared run has besides its rows. */
export interface ComparedRun {
  /** Of the condition. */
  readonly name: string
  readonly config: Readonly<Record<string, unknown>>
  readonly events: readonly StoredEvent[]
  readonly result: Readonly<Record<string, unknown>> | undefined
}

export interface ComparisonReport {
  readonly comparison: Comparison
  readonly conditions: readonly Compared[]
  /** The runs among them: one for each seed. */
  readonly runs: readonly ComparedRun[]
  /** Which rows these are. */
  readonly evaluation: string | undefined
}

const mostRows = 2000
const mostColors = 6

/** Several evaluations over the same rows, beside each other, as a page. */
export function comparisonPage(report: ComparisonReport): Page {
  const { comparison, conditions, runs, evaluation } = report
  const names = conditions.map(({ name }) => name)
  const charts = curves(runs, names)
  const sections: (Section | undefined)[] = [
    { id: 'result', title: 'Result', body: resultTable(comparison) },
    comparison.comparisons.length > 0 ? { id: 'differences', title: 'Differences', body: differences(comparison) } : undefined,
    Object.keys(charts).length > 0
      ? {
          id: 'learning',
          title: 'Learning',
          body: html`<div class="charts">${Object.keys(charts).map(id => chartPlace(id, titleOf(id), `${titleOf(id)} of ${names.join(', ')}`))}</div>`,
        }
      : undefined,
    { id: 'rows', title: 'Rows', body: rowsOf(report) },
    runs.length > 0 ? { id: 'cost', title: 'Cost', body: costs(runs) } : undefined,
    runs.length > 1 ? { id: 'settings', title: 'Settings that differ', body: settingsOf(runs) } : undefined,
  ]
  const scale = scaleFor(comparison)
  return {
    kind: 'comparison',
    title: names.join(' · '),
    lead: html`${count(comparison.rows)} rows${evaluation !== undefined && html` of <b>${evaluation}</b>`}, the same for all`,
    tiles: comparison.conditions.map(({ name, mean }, i) => ({
      name,
      value: scale.format(mean.value),
      note: `${scale.format(mean.low)} to ${scale.format(mean.high)}`,
      kind: i > 0 && mean.value === Math.max(...comparison.conditions.map(({ mean }) => mean.value)) ? 'main' : undefined,
    })),
    sections,
    charts,
  }
}

const scaleFor = ({ binary, conditions }: Comparison): Scale =>
  scaleOf(
    binary ? 'accuracy' : 'score',
    conditions.map(({ mean }) => mean),
  )

function resultTable(comparison: Comparison): Markup {
  const scale = scaleFor(comparison)
  const several = comparison.conditions.some(({ seeds }) => seeds > 1)
  const lines = comparison.conditions.map(({ name, seeds, mean, seedDeviation }, i) => {
    const spread = seedDeviation === undefined ? '' : comparison.binary ? percent(seedDeviation) : number(seedDeviation)
    return html`<tr class="group"><th scope="row"><span class="swatch" style="--color:var(--${color(i)})"></span>${name}</th>${several && html`<td class="number" data-name="seeds">${seeds}</td><td class="number" data-name="between seeds">${spread}</td>`}<td class="figure">${withInterval(mean, scale)}</td><td>${intervalBar(mean, scale, i === 0 ? '' : 'main')}</td></tr>`
  })
  const heads = several && html`<th class="number">seeds</th><th class="number">deviation</th>`
  return wide(
    html`<table class="stacks"><thead><tr><th></th>${heads}<th>${measureOf(comparison)}</th><th></th></tr></thead><tbody>${lines}</tbody></table>`,
  )
}

function differences({ comparisons, binary }: Comparison): Markup {
  const all = comparisons.map(({ difference }) => difference)
  const most = Math.max(...all.map(({ low, high }) => Math.max(Math.abs(low), Math.abs(high))), 1e-6) * 1.05
  const scale = { format: number, from: -most, to: most }
  const bar = (difference: MetricValue) => html`<span class="around-zero">${intervalBar(difference, scale, 'main')}</span>`
  const lines = comparisons.map(
    one =>
      html`<tr class="group"><th scope="row">${one.name} − ${one.baseline}</th><td>${differenceText(one, binary)}</td><td>${bar(one.difference)}</td></tr>`,
  )
  return html`<p class="small quiet">On the same rows, in pairs. The middle of each axis is no difference.</p>${wide(html`<table class="stacks"><tbody>${lines}</tbody></table>`)}`
}

const color = (i: number): `series-${number}` => `series-${(i % mostColors) + 1}`

const titleOf = (id: string): string =>
  id === 'loss' ? 'training loss, smoothed' : id === 'objective' ? 'objective, best so far' : `${metricNames[id] ?? id} on dev`

function curves(runs: readonly ComparedRun[], names: readonly string[]): Record<string, Chart> {
  const charts: Record<string, Chart> = {}
  const colorOf = (name: string) => color(Math.max(0, names.indexOf(name)))
  const add = (id: string, lines: readonly { name: string; x: number[]; y: (number | null)[] }[], points: boolean) => {
    const there = lines.filter(({ x }) => x.length > 0)
    if (there.length === 0) return
    charts[id] = {
      x: 'step',
      lines: there.map(({ name }) => ({ label: name, color: colorOf(name), width: 2, points })),
      data: overlaid(there),
      percent: shares.has(id),
    }
  }
  const losses = runs.map(({ name, events }) => ({ name, series: stepSeries(events, 'loss') }))
  add(
    'loss',
    losses.map(({ name, series }) => ({ name, x: series.x, y: smooth(series.y) })),
    false,
  )
  add(
    'objective',
    runs.map(({ name, events }) => {
      const steps = events.flatMap(({ event, step, best }) => {
        const objective = (best as { objective?: unknown } | undefined)?.objective
        return event === 'step' && step !== undefined && typeof objective === 'number' ? [{ step, objective }] : []
      })
      return { name, x: steps.map(({ step }) => step), y: steps.map(({ objective }) => objective) }
    }),
    false,
  )
  const metric = runs.flatMap(({ events }) => devMetrics(events).slice(0, 1))[0]
  if (metric !== undefined)
    add(
      metric,
      runs.map(({ name, events }) => {
        const { x, value } = devSeries(events, metric)
        return { name, x, y: value }
      }),
      true,
    )
  return charts
}

function rowsOf({ conditions, comparison }: ComparisonReport): Markup {
  const sides = conditions.map(({ name, seeds }) => ({
    name,
    rows: seeds.map(rows => new Map(rows.map(row => [row.index, row]))),
  }))
  const [first] = conditions[0]!.seeds
  const mean = (rows: readonly ReadonlyMap<number, RowResult>[], index: number) =>
    rows.reduce((sum, one) => sum + (one.get(index)?.score ?? 0), 0) / rows.length
  const all = first!.map(row => ({ row, scores: sides.map(({ rows }) => mean(rows, row.index)) }))
  const spread = ({ scores }: (typeof all)[number]) => Math.max(...scores) - Math.min(...scores)
  all.sort((a, b) => spread(b) - spread(a) || a.row.index - b.row.index)
  const shown = all.slice(0, mostRows)
  const filters: Filter[] = [
    { tag: 'differ', name: 'they differ' },
    ...sides.slice(1).flatMap(({ name }, i) => [
      { tag: `better${i + 1}`, name: `${name} better` },
      { tag: `worse${i + 1}`, name: `${name} worse` },
    ]),
    { tag: 'same', name: 'alike' },
    ...(comparison.binary ? [{ tag: 'none', name: 'none right' }] : []),
  ]
  const rows = shown.map(({ row, scores }): ExplorerRow => {
    const tags = [scores.some(score => score !== scores[0]) ? 'differ' : 'same']
    scores.forEach((score, i) => {
      if (score > scores[0]!) tags.push(`better${i}`)
      if (score < scores[0]!) tags.push(`worse${i}`)
    })
    if (scores.every(score => score === 0)) tags.push('none')
    const cells: Cell[] = [
      { content: row.index + 1, kind: 'number' },
      { content: (row.input ?? row.prompt ?? '').slice(0, 4000), kind: 'text' },
      { content: row.answer ?? '', kind: 'short' },
      ...sides.map(({ rows: own }, i) => ({
        content: said(own, row.index, scores[i]!, comparison.binary),
        kind: 'short' as const,
      })),
    ]
    return { tags, cells }
  })
  const cut =
    all.length > shown.length && html`<p class="small quiet">${shown.length} of ${all.length} rows: those that differ first.</p>`
  const heads = ['row', 'text', 'answer', ...sides.map(({ name }) => name)]
  return html`${explorer({ id: 'table-of-rows', heads, rows, filters, chosen: 'differ', search: 'texts and answers' })}${cut}`
}

function said(rows: readonly ReadonlyMap<number, RowResult>[], index: number, score: number, binary: boolean): Part {
  const tone = !binary ? '' : score === 1 ? 'right-text' : score === 0 ? 'wrong-text' : ''
  const single = rows.length === 1 ? rows[0]!.get(index) : undefined
  const mark = !binary
    ? number(score)
    : single
      ? score === 1
        ? '✓'
        : '✗'
      : `${Math.round(score * rows.length)} of ${rows.length}`
  return html`<span class="${tone}">${mark}${single?.extracted !== undefined && `\u00a0${single.extracted}`}</span>`
}

function costs(runs: readonly ComparedRun[]): Markup {
  const known = (value: unknown, format: (value: number) => string) => (typeof value === 'number' ? format(value) : '')
  const lines = runs.map(
    ({ name, result = {} }) =>
      html`<tr><th scope="row">${name}</th><td class="number" data-name="numbers learned">${known(result.parameters, count)}</td><td class="number" data-name="steps">${known(result.steps, count)}</td><td class="number" data-name="tokens generated">${known(result.generatedTokens, count)}</td><td class="number" data-name="time">${known(result.seconds, duration)}</td><td class="number" data-name="memory">${known(result.peakMemory, bytes)}</td></tr>`,
  )
  return wide(
    html`<table class="stacks"><thead><tr><th></th><th class="number">numbers learned</th><th class="number">steps</th><th class="number">tokens generated</th><th class="number">time</th><th class="number">memory</th></tr></thead><tbody>${lines}</tbody></table>`,
  )
}

/** The options of which not all runs have the same value. */
function settingsOf(runs: readonly ComparedRun[]): Markup {
  const flat = runs.map(({ config }) => new Map(leaves(config, '')))
  const paths = [...new Set(flat.flatMap(one => [...one.keys()]))]
  const differing = paths.filter(path => path !== 'out' && flat.some(one => one.get(path) !== flat[0]!.get(path)))
  if (differing.length === 0) return html`<p class="quiet">None.</p>`
  const lines = differing.map(
    path =>
      html`<tr><th scope="row"><code>${path}</code></th>${flat.map((one, i) => html`<td class="short" data-name="${runs[i]!.name}">${one.get(path) ?? html`<span class="quiet">not given</span>`}</td>`)}</tr>`,
  )
  return wide(
    html`<table class="stacks"><thead><tr><th></th>${runs.map(({ name }) => html`<th>${name}</th>`)}</tr></thead><tbody>${lines}</tbody></table>`,
  )
}

function leaves(value: unknown, path: string): [string, string][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return Object.entries(value).flatMap(([name, part]) => leaves(part, path === '' ? name : `${path}.${name}`))
  return [[path, typeof value === 'string' ? value : JSON.stringify(value)]]
}
