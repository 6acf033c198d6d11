import type { MetricValue } from '../../evaluate/intervals.js'
import { type ExplorerRow, explorer } from '../parts/explorer.js'
import { count, duration, percent, scaleOf, withInterval } from '../parts/figures.js'
import { html, type Markup } from '../parts/html.js'
import { type Page, type Section, wide } from '../parts/page.js'
import { metricNames } from '../parts/presentation.js'
import { parallelCoordinates } from './parallel.js'

/** A sweep as a page: its trials to be sorted and searched, their options side by side, and which of these mattered. */

export interface ShownTrial {
  readonly number: number
  readonly values: Readonly<Record<string, unknown>>
  readonly state: string
  readonly figures: Readonly<Record<string, MetricValue>>
  readonly steps: number
  readonly seconds: number | undefined
  readonly error: { readonly code: string; readonly message: string } | undefined
  readonly folders: readonly string[]
}

export interface ShownSweep {
  readonly folder: string
  readonly of: string
  readonly strategy: string
  readonly wanted: number
  readonly trials: readonly ShownTrial[]
  readonly objectives: readonly { readonly metric: string; readonly lower: boolean }[]
  readonly best?: ShownTrial | undefined
  readonly front: readonly ShownTrial[]
  readonly alike: readonly ShownTrial[]
  readonly judgedBy: string
  readonly importance: readonly { readonly name: string; readonly share: number; readonly trials: number }[]
  readonly steps: number
  readonly parameters: readonly { readonly name: string }[]
}

const text = (value: unknown) =>
  value === undefined
    ? ''
    : typeof value === 'string'
      ? value
      : typeof value === 'number'
        ? String(Number(value.toPrecision(6)))
        : JSON.stringify(value)

export function sweepPage(sweep: ShownSweep): Page {
  const { folder, trials, best, objectives, strategy, of, wanted, steps, importance } = sweep
  const name =
    folder
      .split(/[\\/]/)
      .filter(part => part !== '')
      .at(-1) ?? folder
  const scale = (metric: string) =>
    scaleOf(
      metric,
      trials.flatMap(({ figures }) => figures[metric] ?? []),
    )
  const [objective] = objectives
  const tiles =
    best && objective && best.figures[objective.metric]
      ? [
          {
            kind: 'main' as const,
            name: `best ${metricNames[objective.metric] ?? objective.metric}`,
            value: scale(objective.metric).format(best.figures[objective.metric]!.value),
            note: `trial ${best.number}`,
          },
        ]
      : []
  const failed = trials.filter(({ state }) => state === 'failed').length
  const sections: (Section | undefined)[] = [
    best && { id: 'best', title: 'The best', body: bestOf(sweep, best) },
    parallel(sweep),
    importance.some(({ trials }) => trials > 3)
      ? { id: 'importance', title: 'Which options mattered', body: importanceTable(importance) }
      : undefined,
    { id: 'trials', title: 'Trials', body: trialTable(sweep) },
  ]
  return {
    kind: 'sweep',
    title: name,
    lead: html`${count(trials.length)} of ${count(wanted)} trials of <b>${of}</b>, values by <b>${strategy}</b>`,
    tiles: [
      ...tiles,
      { name: 'alike', value: count(sweep.alike.length), note: 'trials that cannot be told apart from the best' },
      { name: 'failed', value: count(failed) },
      { name: 'steps', value: count(steps), note: 'over all trials' },
      { name: 'time', value: duration(trials.reduce((sum, { seconds = 0 }) => sum + seconds, 0)), note: 'of finished trials' },
    ],
    sections,
  }
}

function bestOf({ alike, judgedBy, front, trials, parameters }: ShownSweep, best: ShownTrial): Markup {
  const finished = trials.filter(({ state }) => state === 'finished').length
  const numbers = (of: readonly ShownTrial[]) => of.map(({ number }) => number).join(', ')
  return html`<dl class="facts"><dt>trial</dt><dd>${best.number}</dd>${parameters.filter(({ name }) => Object.hasOwn(best.values, name)).map(({ name }) => html`<dt><code>${name}</code></dt><dd>${text(best.values[name])}</dd>`)}</dl>
${alike.length > 0 ? html`<p>Cannot be told apart from trials ${numbers(alike)} (${judgedBy === 'paired rows' ? 'on the same rows, in pairs' : 'by their intervals'}).</p>` : finished > 1 && html`<p>Told apart from all other trials that finished.</p>`}
${front.length > 1 && html`<p>None is better in both objectives than trials ${numbers(front)}.</p>`}
${finished > 1 && html`<p class="small quiet">The best of ${finished} on the rows that chose it looks better than it is: rows that chose nothing say how good it is.</p>`}`
}

function parallel({ trials, parameters, objectives: [objective] }: ShownSweep): Section | undefined {
  if (objective === undefined) return undefined
  const shown = trials.filter(({ figures }) => figures[objective.metric] !== undefined)
  if (shown.length < 2) return undefined
  const axes = [
    ...parameters.map(({ name }) => ({ name, of: (trial: ShownTrial) => trial.values[name] })),
    {
      name: metricNames[objective.metric] ?? objective.metric,
      of: (trial: ShownTrial): unknown => trial.figures[objective.metric]!.value,
    },
  ]
  const lines = shown.map(trial => ({ name: `trial ${trial.number}`, values: axes.map(({ of }) => of(trial)) }))
  return {
    id: 'parallel',
    title: 'Options and outcome',
    body: parallelCoordinates(
      axes.map(({ name }) => name),
      lines,
      objective.lower,
    ),
  }
}

function importanceTable(importance: ShownSweep['importance']): Markup {
  const lines = importance.map(
    ({ name, share, trials }) =>
      html`<tr><th scope="row"><code>${name}</code></th><td data-name="share"><span class="share" style="--share:${share.toFixed(3)}"></span>${percent(share)}</td><td class="number" data-name="trials">${count(trials)}</td></tr>`,
  )
  return html`<p class="small quiet">What each option by itself explains of how trials differ, less what chance would; options that matter only together show as little.</p>${wide(html`<table class="stacks"><thead><tr><th>option</th><th>share</th><th class="number">trials</th></tr></thead><tbody>${lines}</tbody></table>`)}`
}

function trialTable({ trials, parameters, objectives, of, folder }: ShownSweep): Markup {
  const states = [...new Set(trials.map(({ state }) => state))]
  const scales = objectives.map(({ metric }) =>
    scaleOf(
      metric,
      trials.flatMap(({ figures }) => figures[metric] ?? []),
    ),
  )
  const link = ({ number, folders, state }: ShownTrial) => {
    const [first = ''] = folders
    const path = first.startsWith(folder)
      ? first
          .slice(folder.length)
          .replace(/^[\\/]/, '')
          .split(/[\\/]/)
          .map(encodeURIComponent)
          .join('/')
      : ''
    return state === 'finished' && path !== '' ? html`<a href="${path}/report.html">${number}</a>` : number
  }
  const rows = trials.map(
    (trial): ExplorerRow => ({
      tags: [`state-${trial.state}`],
      cells: [
        { content: link(trial), kind: 'number', sort: trial.number },
        {
          content: trial.error
            ? html`failed<br><span class="quiet small">${trial.error.code}: ${trial.error.message}</span>`
            : trial.state,
          sort: trial.state,
        },
        ...objectives.map(({ metric }, i) => {
          const figure = trial.figures[metric]
          return { content: figure && withInterval(figure, scales[i]!), sort: figure?.value ?? '' }
        }),
        ...parameters.map(({ name }) => ({
          content: text(trial.values[name]),
          kind: 'short' as const,
          sort: typeof trial.values[name] === 'number' ? (trial.values[name] as number) : text(trial.values[name]),
        })),
        { content: count(trial.steps), kind: 'number', sort: trial.steps },
        { content: trial.seconds === undefined ? '' : duration(trial.seconds), kind: 'number', sort: trial.seconds ?? '' },
      ],
    }),
  )
  const heads = [
    'trial',
    'state',
    ...objectives.map(({ metric }) => metricNames[metric] ?? metric),
    ...parameters.map(({ name }) => name),
    'steps',
    'time',
  ]
  const data = trials.map(({ number, state, values, figures, steps, seconds }) => ({
    trial: number,
    state,
    ...values,
    ...Object.fromEntries(Object.entries(figures).map(([name, { value }]) => [name, value])),
    steps,
    seconds,
    of,
  }))
  return explorer({
    id: 'table-of-trials',
    heads,
    rows,
    data,
    filters: states.map(state => ({ tag: `state-${state}`, name: state })),
    search: 'trials',
    sorts: true,
  })
}
