import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { MetricValue } from '../evaluate/intervals.js'
import type { NearestTokens } from '../evaluate/nearest-tokens.js'
import type { Metrics } from '../evaluate/score.js'
import type { RunResult } from '../train/events.js'
import { replaceText } from './atomic.js'
import type { StoredEvent } from './events.js'
import { metricNames, smooth } from './presentation.js'

export interface SamplePrediction {
  readonly text: string
  readonly label: string
  readonly predicted: string
  /** Share of the candidates' probability that the predicted one has. */
  readonly confidence: number
}

export interface ReportData {
  readonly name: string
  readonly config: unknown
  readonly events: readonly StoredEvent[]
  /** Undefined while the run has not ended. */
  readonly result: RunResult | undefined
  readonly nearest: readonly NearestTokens[]
  readonly samples: readonly SamplePrediction[]
}

/** Writes `report.html` into a run's folder: one file that needs neither network nor server. */
export async function writeReport(folder: string, data: ReportData): Promise<string> {
  const require = createRequire(import.meta.url)
  const [script, style] = await Promise.all([
    readFile(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'),
    readFile(require.resolve('uplot/dist/uPlot.min.css'), 'utf8'),
  ])
  const path = join(folder, 'report.html')
  await replaceText(path, reportHtml(data, { script, style }))
  return path
}

/**
 * A run as a page. Everything that comes from data is escaped.
 * @param plotting the script and the style sheet of uPlot
 */
export function reportHtml(data: ReportData, plotting: { readonly script: string; readonly style: string }): string {
  const { name, config, result, nearest, samples } = data
  const title = `${name} · gradprompt`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>${escapeText(title)}</title>
<style>${plotting.style}${pageStyle}</style>
</head>
<body>
<h1>${escapeText(name)}</h1>
${result === undefined ? '<p>This run has not ended yet.</p>' : summary(result)}
<h2>Learning</h2>
<div class="plots"><div id="loss"></div><div id="dev"></div></div>
${result === undefined ? '' : results(result)}
${nearest.length > 0 ? nearestTable(nearest) : ''}
${samples.length > 0 ? sampleTables(samples) : ''}
<h2>Config</h2>
<pre>${escapeText(stringify(config))}</pre>
<script>${plotting.script}</script>
<script>const series = ${inScript(plotSeries(data.events))}
${plotScript}</script>
</body>
</html>
`
}

function summary(result: RunResult): string {
  const { metrics, parameters, steps, bestStep, seconds } = result
  const [name, best] = Object.entries(metrics)[0] ?? []
  const headline =
    name === undefined || best === undefined
      ? ''
      : `<p class="headline">${escapeText(metricNames[name] ?? name)} <b>${figure(best)}</b> <small>${interval(best)}</small> on dev</p>`
  const facts = [
    `${parameters.toLocaleString('en-US')} numbers learned`,
    `${steps.toLocaleString('en-US')} steps`,
    ...(bestStep === null ? [] : [`best at step ${bestStep}`]),
    `${Math.round(seconds)} s`,
  ]
  return `${headline}<p>${facts.map(escapeText).join(' · ')}</p>`
}

function results({ metrics, rows, test, control, confusion, labels }: RunResult): string {
  const base = control.instruction === null ? 'base model' : 'base model, instructed'
  const comparison = (caption: string, tuned: Metrics, untuned: Metrics, plain: Metrics) => {
    const conditions = [
      { name: base, metrics: untuned },
      ...(control.instruction === null ? [] : [{ name: 'base model, template alone', metrics: plain }]),
      { name: 'tuned', metrics: tuned },
    ].filter(({ metrics }) => Object.keys(metrics).length > 0)
    const lines = Object.keys(tuned).map(key => {
      const cells = conditions.map(({ metrics: { [key]: value } }) =>
        value === undefined ? '<td></td>' : `<td><b>${figure(value)}</b> <small>${interval(value)}</small></td>`,
      )
      return `<tr><th>${escapeText(metricNames[key] ?? key)}</th>${cells.join('')}</tr>`
    })
    const heads = conditions.map(condition => `<th>${escapeText(condition.name)}</th>`).join('')
    return `<table><caption>${escapeText(caption)}, with 95 % intervals</caption><tr><td></td>${heads}</tr>${lines.join('')}</table>`
  }
  const parts = ['<h2>Result</h2>']
  if (rows > 0) parts.push(comparison(`dev, ${rows} rows`, metrics, control.metrics, control.plain.metrics))
  if (test !== undefined) {
    const { metrics: untuned = {}, plain } = control.test ?? {}
    parts.push(comparison(`test, ${test.rows} rows`, test.metrics, untuned, plain?.metrics ?? {}))
  }
  if (control.instruction !== null) parts.push(`<p>Instruction: <q>${escapeText(control.instruction)}</q></p>`)
  if (confusion !== undefined && labels !== undefined) parts.push(confusionTable(confusion, labels))
  return parts.join('\n')
}

function confusionTable(confusion: readonly (readonly number[])[], labels: readonly string[]): string {
  const lines = confusion.map((counts, target) => {
    const total = Math.max(
      1,
      counts.reduce((a, b) => a + b, 0),
    )
    const cells = counts.map(
      (count, i) => `<td class="${i === target ? 'right' : 'wrong'}" style="--share:${(count / total).toFixed(3)}">${count}</td>`,
    )
    return `<tr><th>${escapeText(labels[target] ?? String(target))}</th>${cells.join('')}</tr>`
  })
  const heads = labels.map(label => `<th>${escapeText(label)}</th>`).join('')
  return `<table class="confusion"><caption>rows: what it is; columns: what was predicted</caption><tr><td></td>${heads}</tr>${lines.join('')}</table>`
}

function nearestTable(nearest: readonly NearestTokens[]): string {
  const lines = nearest.map(({ row, norm, tokens }) => {
    const cells = tokens.map(
      ({ text, cosine }) => `<td><code>${escapeText(JSON.stringify(text))}</code> <small>${cosine.toFixed(2)}</small></td>`,
    )
    return `<tr><th>${row + 1}</th>${cells.join('')}<td><small>${norm.toFixed(2)}</small></td></tr>`
  })
  const width = Math.max(...nearest.map(({ tokens }) => tokens.length))
  return `<h2>What the vectors read as</h2>
<table><caption>the vocabulary's closest rows, with their cosine; far from all words, a vector still has a closest one</caption>
<tr><th>row</th><th colspan="${width}">nearest tokens</th><th>norm</th></tr>${lines.join('')}</table>`
}

function sampleTables(samples: readonly SamplePrediction[]): string {
  const part = (title: string, chosen: readonly SamplePrediction[]) => {
    if (chosen.length === 0) return ''
    const lines = chosen.map(
      ({ text, label, predicted, confidence }) =>
        `<tr><td class="text">${escapeText(text)}</td><td>${escapeText(label)}</td><td>${escapeText(predicted)} <small>${Math.round(100 * confidence)} %</small></td></tr>`,
    )
    return `<table><caption>${title}</caption><tr><th>text</th><th>label</th><th>predicted</th></tr>${lines.join('')}</table>`
  }
  const isRight = ({ label, predicted }: SamplePrediction) => label === predicted
  return `<h2>Predictions</h2>
${part('right', samples.filter(isRight))}
${part(
  'wrong',
  samples.filter(sample => !isRight(sample)),
)}`
}

/** `[x, y, …]` of each plot. */
function plotSeries(events: readonly StoredEvent[]): { loss: number[][]; dev: { name: string; data: number[][] } | null } {
  const number = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) ? value : Number.NaN)
  const steps = events.filter(event => event.event === 'step' && Number.isFinite(number(event.loss)))
  const losses = steps.map(event => number(event.loss))
  const devs = events.flatMap(event => {
    const [name, metric] = Object.entries((event.event === 'dev' && (event.metrics as Metrics)) || {})[0] ?? []
    return name === undefined || metric === undefined ? [] : [{ step: event.step ?? 0, name, ...metric }]
  })
  const dev = devs[0] && {
    name: metricNames[devs[0].name] ?? devs[0].name,
    data: [devs.map(({ step }) => step), ...(['value', 'low', 'high'] as const).map(key => devs.map(dev => number(dev[key])))],
  }
  return { loss: [steps.map(({ step }) => step ?? 0), losses, smooth(losses)], dev: dev ?? null }
}

const figure = ({ value }: MetricValue): string => (Math.abs(value) < 1e4 ? value.toFixed(3) : value.toExponential(2))
const interval = ({ low, high }: MetricValue): string =>
  `[${figure({ value: low, low, high })}, ${figure({ value: high, low, high })}]`

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escapeText = (text: string): string => text.replace(/[&<>"']/g, character => entities[character]!)

/** JSON that can stand in a script element. */
const inScript = (value: unknown): string =>
  JSON.stringify(value).replace(/[<>\u2028\u2029]/g, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)

const pageStyle = `
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --faint: #8a919a; --line: #d9dde2; --mark: #2563eb; --soft: #93b4f5; --right: 22 163 74; --wrong: 220 38 38 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --faint: #8a919a; --line: #343a41; --mark: #7aa5ff; --soft: #3c5a94 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 960px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.headline { font-size: 1.25rem; margin: .5rem 0 } small, caption { color: var(--faint); font-weight: normal }
table { border-collapse: collapse; margin: .75rem 0 } caption { text-align: left; padding-bottom: .25rem }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.text { max-width: 40rem; white-space: pre-wrap; overflow-wrap: anywhere }
.confusion td[style] { text-align: right; padding: .2rem .9rem; background: rgb(var(--wrong) / calc(.5 * var(--share))) }
.confusion td.right { background: rgb(var(--right) / calc(.5 * var(--share))) }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; overflow-x: auto }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } .u-legend { color: var(--ink) }`

const plotScript = `const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
const plots = []
function draw() {
  for (const plot of plots.splice(0)) plot.destroy()
  const axis = { stroke: css('--faint'), grid: { stroke: css('--line'), width: 1 }, ticks: { stroke: css('--line'), width: 1 } }
  const plot = (id, title, lines, data) => plots.push(new uPlot(
    { title, width: Math.min(460, innerWidth - 40), height: 260, scales: { x: { time: false } }, axes: [axis, axis], series: [{ label: 'step' }, ...lines] },
    data, document.getElementById(id)))
  const line = (label, color, width) => ({ label, stroke: css(color), width, points: { show: false } })
  if (series.loss[0].length > 0) plot('loss', 'loss', [line('of the batch', '--soft', 1), line('smoothed', '--mark', 2)], series.loss)
  if (series.dev) plot('dev', 'dev ' + series.dev.name, [{ ...line('value', '--mark', 2), points: { show: true } }, line('low', '--soft', 1), line('high', '--soft', 1)], series.dev.data)
}
draw()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)`
