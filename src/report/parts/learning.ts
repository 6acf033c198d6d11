import type { Metrics } from '../../evaluate/score.js'
import type { StoredEvent } from '../../store/events.js'
import { type Chart, chartPlace, overlaid } from './charts.js'
import { number, percent } from './figures.js'
import { html, type Markup } from './html.js'
import { metricNames, shares, smooth } from './presentation.js'

const finite = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null)

/** The steps of a run, each a number or null for what an event does not say. */
export function stepSeries(events: readonly StoredEvent[], name: string): { x: number[]; y: number[] } {
  const points = events.flatMap(event => {
    const value = event.event === 'step' ? finite(event[name]) : null
    return value === null || event.step === undefined ? [] : [{ x: event.step, y: value }]
  })
  return { x: points.map(({ x }) => x), y: points.map(({ y }) => y) }
}

/** The dev points of a run for one figure. */
export function devSeries(events: readonly StoredEvent[], name: string) {
  const points = events.flatMap(event => {
    const metric = event.event === 'dev' ? (event.metrics as Metrics | undefined)?.[name] : undefined
    return metric === undefined || event.step === undefined ? [] : [{ x: event.step, ...metric }]
  })
  const column = (key: 'value' | 'low' | 'high') => points.map(point => finite(point[key]))
  return { x: points.map(({ x }) => x), value: column('value'), low: column('low'), high: column('high') }
}

/** The figures that dev was scored by, the one that matters first. */
export const devMetrics = (events: readonly StoredEvent[]): string[] =>
  Object.keys((events.find(({ event }) => event === 'dev')?.metrics as Metrics | undefined) ?? {})

/** What every step has. */
const common = new Set(['event', 'step', 'loss', 'learningRate', 'gradientNorm', 'tokens', 'rowsPerSecond', 'seconds'])

/** Figures that the loss of a run reports beside its value. */
const ownFigures = (events: readonly StoredEvent[]): string[] => [
  ...new Set(events.flatMap(event => (event.event === 'step' ? Object.keys(event).filter(name => !common.has(name)) : []))),
]

export interface LearningCurves {
  readonly markup: Markup
  readonly charts: Readonly<Record<string, Chart>>
}

/** The course of a run: loss, dev points with their intervals, learning rate, gradient norm. Undefined before the first step. */
export function learningCurves(events: readonly StoredEvent[], control: Metrics | undefined): LearningCurves | undefined {
  const loss = stepSeries(events, 'loss')
  if (loss.x.length === 0) return undefined
  const charts: Record<string, Chart> = {}
  const places: Markup[] = []
  const further: Markup[] = []
  const add = (id: string, title: string, summary: string, chart: Chart) => {
    charts[id] = chart
    const group = id === 'rate' || id === 'norm' || id.startsWith('step-') ? further : places
    group.push(chartPlace(id, title, summary))
  }
  const smoothed = smooth(loss.y)
  add('loss', 'training loss', `loss over ${loss.x.length} steps, from ${number(loss.y[0]!)} to ${number(smoothed.at(-1)!)}`, {
    x: 'step',
    lines: [
      { label: 'of the batch', color: 'soft', width: 1 },
      { label: 'smoothed', color: 'main' },
    ],
    data: [loss.x, loss.y, smoothed],
  })
  for (const name of ownFigures(events)) {
    const { x, y } = stepSeries(events, name)
    if (x.length < 2) continue
    const title = `${metricNames[name] ?? name} of the batch`
    const own = smooth(y)
    const format = shares.has(name) ? percent : number
    add(`step-${name}`, title, `${title}, from ${format(own[0]!)} to ${format(own.at(-1)!)}`, {
      x: 'step',
      lines: [
        { label: 'of the batch', color: 'soft', width: 1 },
        { label: 'smoothed', color: 'main' },
      ],
      data: [x, y, own],
      percent: shares.has(name),
    })
  }
  const figures = devMetrics(events)
  for (const name of [figures[0], figures.includes('logLikelihood') ? 'logLikelihood' : figures[1]]) {
    if (name === undefined || charts[`dev-${name}`] !== undefined) continue
    const { x, value, low, high } = devSeries(events, name)
    const base = control?.[name]?.value
    const isShare = shares.has(name)
    const format = isShare ? percent : number
    const title = `${metricNames[name] ?? name} on dev`
    add(`dev-${name}`, title, `${title}, from ${format(value[0] ?? Number.NaN)} to ${format(value.at(-1) ?? Number.NaN)}`, {
      x: 'step',
      lines: [
        { label: 'tuned', color: 'main', points: true },
        { label: 'low', color: 'soft', width: 1 },
        { label: 'high', color: 'soft', width: 1 },
        ...(base === undefined ? [] : [{ label: 'base model', color: 'control' as const, width: 1, dashed: true }]),
      ],
      data: [x, value, low, high, ...(base === undefined ? [] : [x.map(() => base)])],
      bands: [[3, 2]],
      percent: isShare,
    })
  }
  const rate = stepSeries(events, 'learningRate')
  const norm = stepSeries(events, 'gradientNorm')
  if (rate.x.length > 1)
    add('rate', 'learning rate', 'learning rate over the steps', {
      x: 'step',
      lines: [{ label: 'learning rate', color: 'main' }],
      data: overlaid([rate]),
    })
  if (norm.x.length > 1)
    add('norm', 'norm of the gradient, before clipping', 'gradient norm over the steps', {
      x: 'step',
      lines: [
        { label: 'of the step', color: 'soft', width: 1 },
        { label: 'smoothed', color: 'main' },
      ],
      data: overlaid([norm, { x: norm.x, y: smooth(norm.y) }]),
    })
  return { markup: html`<div class="charts">${places}</div><div class="charts">${further}</div>`, charts }
}
