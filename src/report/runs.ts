import type { MetricValue } from '../evaluate/intervals.js'
import type { Verdict } from '../evaluate/verdict.js'
import { type ExplorerRow, explorer } from './parts/explorer.js'
import { count, duration, scaleOf, withInterval } from './parts/figures.js'
import { html, type Markup } from './parts/html.js'
import type { Page } from './parts/page.js'
import { metricNames } from './parts/presentation.js'

/** The runs of a folder as a page that links theirs: to be sorted by any column, filtered and searched. */

export interface ListedRun {
  readonly name: string
  readonly kind: string
  readonly state: string
  readonly method: string
  readonly model: string
  readonly data: string
  readonly steps: number
  readonly metric?: (MetricValue & { readonly name: string; readonly of: string }) | undefined
  readonly verdict?: Verdict['outcome'] | undefined
  readonly began?: string | undefined
  readonly seconds?: number | undefined
  readonly evaluations: number
  readonly hasReport: boolean
  /** Where its page is, where that is not the file beside it. */
  readonly href?: string | undefined
}

export interface RunsReport {
  /** Of the folder. */
  readonly name: string
  readonly runs: readonly ListedRun[]
  readonly unreadable: readonly { readonly folder: string; readonly error: Error }[]
}

const heads = ['run', 'state', 'method', 'result', 'verdict', 'model', 'data', 'steps', 'time', 'began']

export function runsPage({ name, runs, unreadable }: RunsReport): Page {
  const bad = unreadable.map(({ folder, error }) => html`<p class="warning"><b>${folder}</b> ${error.message}</p>`)
  return {
    kind: 'runs',
    title: name,
    lead: html`${count(runs.length)} ${runs.length === 1 ? 'run' : 'runs'}. A head sorts by its column.`,
    tiles: [],
    sections: [
      { id: 'runs', title: 'Runs', body: runsTable(runs) },
      bad.length > 0 ? { id: 'unreadable', title: 'What cannot be read', body: bad } : undefined,
    ],
  }
}

/** Runs as a table that can be sorted, filtered and searched. */
export function runsTable(runs: readonly ListedRun[]): Markup {
  const states = ['finished', 'running', 'stopped']
  const methods = [...new Set(runs.map(({ method }) => method))].sort()
  const filters = [
    ...states.map(state => ({ tag: `state-${state}`, name: state })),
    ...(methods.length > 1 ? methods.map((method, i) => ({ tag: `method-${i}`, name: method })) : []),
  ]
  const rows = runs.map(
    (run): ExplorerRow => ({
      tags: [`state-${run.state}`, `method-${methods.indexOf(run.method)}`],
      cells: cellsOf(run),
    }),
  )
  return explorer({ id: 'table-of-runs', heads, rows, filters, search: 'runs', sorts: true })
}

/** The last two names of a long path: the whole of it would leave no room for the rest. */
const shortPath = (path: string): string => (/^([/\\]|[A-Z]:)/.test(path) ? path.split(/[/\\]/).slice(-2).join('/') : path)

function cellsOf(run: ListedRun): ExplorerRow['cells'] {
  const {
    name,
    hasReport,
    href = hasReport ? `${encodeURIComponent(name)}/report.html` : undefined,
    state,
    kind,
    method,
    metric,
    verdict,
    model,
    data,
    steps,
    seconds,
    began,
    evaluations,
  } = run
  const more = evaluations > 0 && html`<br><span class="quiet small">${count(evaluations)} evaluated</span>`
  const figure =
    metric &&
    html`${withInterval(metric, scaleOf(metric.name, [metric]))}<br><span class="quiet small">${metricNames[metric.name] ?? metric.name} on ${metric.of}</span>`
  return [
    {
      content: html`${href === undefined ? name : html`<a href="${href}">${name}</a>`}${more}`,
      kind: 'short',
      sort: name,
    },
    { content: state },
    {
      content: html`${method}<br><span class="quiet small">${kind === 'search' ? 'text prompt' : 'soft prompt'}</span>`,
      sort: method,
    },
    { content: figure ?? '', sort: metric?.value ?? '' },
    { content: verdict ?? '' },
    { content: html`<span title="${model}">${shortPath(model)}</span>`, kind: 'short', sort: model },
    { content: html`<span title="${data}">${shortPath(data)}</span>`, kind: 'short', sort: data },
    { content: count(steps), kind: 'number', sort: steps },
    { content: seconds === undefined ? '' : duration(seconds), kind: 'number', sort: seconds ?? '' },
    { content: began === undefined ? '' : began.slice(0, 16).replace('T', ' '), kind: 'short', sort: began ?? '' },
  ]
}
