import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type KeptEvaluation, keptEvaluations } from '../evaluate/kept-evaluations.js'
import { ownCommand } from '../own-command.js'
import { replaceText } from '../store/atomic.js'
import { count, scaleOf, withInterval } from './parts/figures.js'
import { html, type Markup, type Part, trusted } from './parts/html.js'
import { wide } from './parts/page.js'
import { metricNames } from './parts/presentation.js'

/**
 * Every evaluation of a run, as a part of its page that can be drawn anew without the rest: an evaluation that is made later appears in the
 * page that is there.
 */

const [begin, end] = ['<!--evaluations-->', '<!--end of evaluations-->']

/** What stands in the section: a table, or how there comes to be something. */
export const evaluationList = (kept: readonly KeptEvaluation[]): Markup =>
  html`${trusted(begin)}${kept.length === 0 ? html`<p class="quiet">None yet: <code>${ownCommand`evaluate RUN --data FILE`}</code></p>` : table(kept)}${trusted(end)}`

/** Puts the evaluations of a run into its page, where it has one. */
export async function refreshEvaluations(run: string): Promise<void> {
  const path = join(run, 'report.html')
  const page = await readFile(path, 'utf8').catch(() => undefined)
  const [from, to] = [page?.indexOf(begin) ?? -1, page?.indexOf(end) ?? -1]
  // A page of an earlier version has no place for them.
  if (page === undefined || from === -1 || to < from) return
  const list = evaluationList(await keptEvaluations(run)).text
  await replaceText(path, page.slice(0, from) + list + page.slice(to + end.length))
}

function table(kept: readonly KeptEvaluation[]): Markup {
  const lines = kept.map(({ name, data, settings, outcome }) => {
    const set = Object.entries(settings).filter(([key]) => shown.has(key))
    const [metric, value] = Object.entries(outcome?.metrics ?? {})[0] ?? []
    const before = metric === undefined ? undefined : outcome?.control?.metrics[metric]
    const figure = (of: typeof value): Part =>
      metric !== undefined &&
      of !== undefined &&
      html`${metricNames[metric] ?? metric} ${withInterval(of, scaleOf(metric, [of]))}`
    return html`<tr><th scope="row"><a href="evaluations/${encodeURIComponent(name)}.html">${name}</a></th><td data-name="data">${data}${set.length > 0 && html`<br><span class="quiet small">${set.map(([key, text]) => `${key} ${text}`).join(', ')}</span>`}</td><td class="number" data-name="rows">${outcome === undefined ? 'not ended' : count(outcome.rows)}</td><td class="figure" data-name="result">${figure(value)}</td><td class="figure" data-name="${outcome?.control?.name ?? ''}">${before !== undefined && figure(before)}</td><td data-name="verdict">${outcome?.verdict?.outcome ?? ''}</td></tr>`
  })
  return wide(
    html`<table class="stacks"><thead><tr><th>evaluation</th><th>data</th><th class="number">rows</th><th>result</th><th>held against</th><th>verdict</th></tr></thead><tbody>${lines}</tbody></table>`,
  )
}

/** Of the settings, those that tell evaluations of one run apart. */
const shown = new Set([
  'instruction',
  'chosen by',
  'test-time tuning',
  'ensemble',
  'rows at most',
  'seed',
  'examples',
  'shots',
  'scorer',
  'maxNewTokens',
  'temperature',
])
