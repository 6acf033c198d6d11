import { type Chart, chartPlace } from '../../report/parts/charts.js'
import { count, scaleOf, withInterval } from '../../report/parts/figures.js'
import { html, type Markup } from '../../report/parts/html.js'
import { type Page, wide } from '../../report/parts/page.js'
import { metricNames } from '../../report/parts/presentation.js'
import { runsTable } from '../../report/runs.js'
import type { Job } from '../parts/jobs.js'
import type { KnownRun, KnownSweep } from '../parts/overview.js'
import { address } from '../parts/places.js'

/** All runs and sweeps: what is under way with its curve, tables of the rest, what cannot be read, and the commands of this page. */

export interface ListOptions {
  /** As people call it. */
  readonly folder: string
  readonly runs: readonly KnownRun[]
  readonly sweeps: readonly KnownSweep[]
  /** Folders that are still to be read. */
  readonly left: number
  /** Of the runs under way. */
  readonly curves: Readonly<Record<string, Chart>>
  readonly jobs: readonly Job[]
}

export function listPage({ folder, runs, sweeps, left, curves, jobs }: ListOptions): Page {
  const read = runs.flatMap(({ summary }) => summary ?? [])
  const bad = [...runs, ...sweeps].filter(({ error }) => error !== undefined)
  const running = runs.filter(({ id }) => curves[`live-${id}`] !== undefined)
  return {
    kind: 'runs and sweeps',
    title: folder,
    lead: html`${count(runs.length)} ${runs.length === 1 ? 'run' : 'runs'}, ${count(sweeps.length)} ${sweeps.length === 1 ? 'sweep' : 'sweeps'}${left > 0 && html`; <b>${count(left)} more are being read</b>`}`,
    tiles: [],
    charts: curves,
    sections: [
      running.length > 0
        ? {
            id: 'running',
            title: 'Under way',
            body: html`<div class="charts">${running.map(
              ({ id, summary }) =>
                html`<div><a href="${address(id)}">${summary?.name ?? id}</a>${chartPlace(`live-${id}`, 'loss', `loss of ${id} so far`)}</div>`,
            )}</div>`,
          }
        : undefined,
      {
        id: 'runs',
        title: 'Runs',
        body:
          read.length === 0
            ? html`<p>No runs yet. <a href="/new?example=sst2%2Fquickstart">Begin with an example</a>, write <a href="/new">a config of your own</a>, or drop <a href="/data">data</a>.</p>`
            : html`${runsTable(read)}${compareForm(read)}`,
      },
      sweeps.length > 0 ? { id: 'sweeps', title: 'Sweeps', body: sweepTable(sweeps) } : undefined,
      bad.length > 0
        ? {
            id: 'unreadable',
            title: 'What cannot be read',
            body: bad.map(({ id, error }) => html`<p class="warning"><b>${id}</b> ${error!.message}</p>`),
          }
        : undefined,
      jobs.length > 0 ? { id: 'commands', title: 'Commands of this page', body: jobTable(jobs) } : undefined,
    ],
  }
}

/** A run that others are held against, and those others. */
function compareForm(runs: readonly { readonly name: string; readonly href: string; readonly state: string }[]): Markup {
  const finished = runs.filter(({ state }) => state === 'finished').slice(0, 500)
  if (finished.length < 2) return html``
  const options = finished.map(({ name, href }) => html`<option value="${href}">${name}</option>`)
  return html`<form class="fields" id="compare"><label>compare <select name="first">${options}</select></label><label>with <select name="others" multiple size="${Math.min(5, finished.length)}">${options}</select></label><button>Compare</button></form>`
}

function sweepTable(sweeps: readonly KnownSweep[]): Markup {
  const lines = sweeps.map(({ id, summary, error }) => {
    const metric = summary?.objectives[0]?.metric
    const figure = metric === undefined ? undefined : summary?.best?.figures[metric]
    const done = summary?.trials.filter(({ state }) => state === 'finished').length ?? 0
    return html`<tr><th scope="row"><a href="${address(id)}">${id.replace(/^sweeps\//, '')}</a></th><td data-name="of">${summary?.of ?? (error ? 'cannot be read' : 'names modules: read on its page')}</td><td data-name="values by">${summary?.strategy ?? ''}</td><td data-name="trials" class="number">${summary ? `${count(done)} of ${count(summary.wanted)}` : ''}</td><td data-name="best" class="figure">${metric !== undefined && figure !== undefined && html`${metricNames[metric] ?? metric} ${withInterval(figure, scaleOf(metric, [figure]))}`}</td></tr>`
  })
  return wide(
    html`<table class="stacks"><thead><tr><th>sweep</th><th>of</th><th>values by</th><th class="number">trials finished</th><th>best</th></tr></thead><tbody>${lines}</tbody></table>`,
  )
}

function jobTable(jobs: readonly Job[]): Markup {
  const lines = jobs.map(({ id, args, state, events }) => {
    const error = events.find(({ event }) => event === 'error')
    return html`<tr><td><code>gradprompt ${args.join(' ')}</code>${error && html`<br><span class="wrong-text small">${String(error.message)}</span>`}</td><td data-name="state">${state}</td><td>${state === 'running' && html`<button type="button" class="copy" data-act="stop-job" data-job="${id}">stop</button>`}</td></tr>`
  })
  return wide(
    html`<table><thead><tr><th>command</th><th>state</th><th><span class="visually-hidden">stop</span></th></tr></thead><tbody>${lines}</tbody></table>`,
  )
}
