import type { Sides } from '../evaluate/comparison.js'
import type { KeptEvaluation } from '../evaluate/kept-evaluations.js'
import type { ScoredPart } from '../evaluate/predictions.js'
import type { InitialEvent, SearchDevEvent, SearchLoadedEvent, SearchResult, SearchStepEvent } from '../search/run/events.js'
import type { StoredEvent } from '../store/events.js'
import { evaluationList } from './evaluations.js'
import { type Chart, chartPlace, overlaid } from './parts/charts.js'
import { confusionMatrix } from './parts/confusion.js'
import { cost, memoryFact, tokenFact } from './parts/cost.js'
import { bytes, count, duration, number, scaleOf } from './parts/figures.js'
import { html, type Markup } from './parts/html.js'
import { differenceText, outcomeTable } from './parts/outcome.js'
import type { Page, Section, Tile } from './parts/page.js'
import { metricNames, shares } from './parts/presentation.js'
import { promptTable, promptText } from './parts/prompts.js'
import { rowTable } from './parts/rows.js'
import { settings, warnings } from './parts/settings.js'
import { swapTable } from './searches/swaps.js'
import { promptTimeline } from './searches/timeline.js'

export interface SearchReport {
  readonly name: string
  readonly config: Readonly<Record<string, unknown>>
  /** `run.json`. */
  readonly details: unknown
  readonly events: readonly StoredEvent[]
  /** Undefined while the search has not ended. */
  readonly result: SearchResult | undefined
  /** The rows that both prompts were judged on, with the first and with the found one. */
  readonly rows: Sides
  /** Which rows these are. */
  readonly part: ScoredPart
  /** Of the run, by `gradprompt evaluate`. */
  readonly evaluations: readonly KeptEvaluation[]
}

const rowsId = 'table-of-rows'

/** A run that searched a text prompt, as a page. */
export function searchPage({ name, config, details, events, result, rows, part, evaluations }: SearchReport): Page {
  const steps = events.filter(({ event }) => event === 'step') as unknown as SearchStepEvent[]
  const initial = events.find(({ event }) => event === 'initial') as unknown as InitialEvent | undefined
  const charts = curves(steps, events, initial)
  const timeline = promptTimeline(initial?.prompt, steps)
  const sections: (Section | undefined)[] = [
    { id: 'prompt', title: 'Prompt', body: promptsOf(result, initial, steps) },
    result?.test && { id: 'test', title: 'Test', body: testOf(result.test) },
    Object.keys(charts).length > 0
      ? { id: 'course', title: 'Course', body: html`<div class="charts">${places(charts)}</div>` }
      : undefined,
    timeline && { id: 'changes', title: 'How the prompt changed', body: timeline },
    steps.length > 0 ? { id: 'swaps', title: 'Swaps', body: swapTable(steps) } : undefined,
    result && { id: 'best', title: 'Best prompts', body: promptTable(result.ranking, result.initial) },
    result?.test?.confusion && {
      id: 'confusion',
      title: 'Confusion on test',
      body: confusionMatrix(result.test.confusion, result.test.labels ?? [], rows.after.length > 0 ? rowsId : undefined),
    },
    rows.after.length > 0
      ? {
          id: 'rows',
          title: `Rows of ${part}`,
          body: rowTable({
            id: rowsId,
            ...rows,
            names: { before: 'first prompt', after: 'found prompt' },
            labels: result?.test?.labels,
          }),
        }
      : undefined,
    { id: 'evaluations', title: 'Evaluations', body: evaluationList(evaluations) },
    { id: 'cost', title: 'Cost', body: costOf(events, steps, result) },
    { id: 'settings', title: 'Settings', body: [warnings(events), settings(config, details)] },
  ]
  const { type } = (config.search ?? {}) as { type?: string }
  return {
    kind: 'text prompt',
    title: name,
    lead: html`<b>${type}</b> on <b>${String(config.model)}</b>${result === undefined && '. This search has not ended yet.'}`,
    verdict: result?.verdict,
    tiles: result === undefined ? [] : tiles(result),
    sections,
    charts,
  }
}

function promptsOf(
  result: SearchResult | undefined,
  initial: InitialEvent | undefined,
  steps: readonly SearchStepEvent[],
): Markup {
  const first = result?.initial ?? initial
  const best = result ?? steps.at(-1)?.best
  return html`${best && html`<h3>${result ? 'found' : 'best so far'} <span class="quiet">loss ${number(best.objective)}</span></h3>${promptText(best.prompt)}`}
${first && html`<h3>at first <span class="quiet">loss ${number(first.objective)}</span></h3>${promptText(first.prompt, 'before')}`}`
}

function testOf({ metrics, initial, comparison, rows }: NonNullable<SearchResult['test']>): Markup {
  return html`${outcomeTable(`test, ${count(rows)} rows, touched once`, [
    { name: 'first prompt', metrics: initial.metrics },
    { name: 'found prompt', metrics, main: true },
  ])}${comparison && html`<p class="small">Difference on the same rows: ${differenceText(comparison, comparison.mcnemar !== undefined)}.</p>`}`
}

function curves(
  steps: readonly SearchStepEvent[],
  events: readonly StoredEvent[],
  initial: InitialEvent | undefined,
): Record<string, Chart> {
  if (steps.length === 0) return {}
  const charts: Record<string, Chart> = {}
  const start = initial === undefined ? [] : [{ x: 0, now: initial.objective, best: initial.objective }]
  const points = [...start, ...steps.map(({ step, objective, best }) => ({ x: step, now: objective, best: best.objective }))]
  const x = points.map(point => point.x)
  charts.objective = {
    x: 'step',
    lines: [
      { label: 'where it stands', color: 'soft', width: 1, points: points.length < 60 },
      { label: 'best so far', color: 'main' },
    ],
    data: [x, points.map(({ now }) => now), points.map(({ best }) => best)],
  }
  const devs = [
    ...(initial && Object.keys(initial.metrics).length > 0 ? [{ step: 0, metrics: initial.metrics }] : []),
    ...(events.filter(({ event }) => event === 'dev') as unknown as SearchDevEvent[]),
  ]
  const name = Object.keys(devs[0]?.metrics ?? {})[0]
  if (name !== undefined) {
    const known = devs.flatMap(({ step, metrics }) => (metrics[name] ? [{ step, ...metrics[name] }] : []))
    charts.dev = {
      x: 'step',
      lines: [
        { label: metricNames[name] ?? name, color: 'main', points: true },
        { label: 'low', color: 'soft', width: 1 },
        { label: 'high', color: 'soft', width: 1 },
      ],
      data: [
        known.map(({ step }) => step),
        known.map(({ value }) => value),
        known.map(({ low }) => low),
        known.map(({ high }) => high),
      ],
      bands: [[3, 2]],
      percent: shares.has(name),
    }
  }
  const ranks = steps.flatMap(({ step, rankCorrelation }) => (rankCorrelation === null ? [] : [{ step, rankCorrelation }]))
  if (ranks.length > 1)
    charts.rank = {
      x: 'step',
      lines: [{ label: 'rank correlation', color: 'main', points: ranks.length < 60 }],
      data: overlaid([{ x: ranks.map(({ step }) => step), y: ranks.map(({ rankCorrelation }) => rankCorrelation) }]),
    }
  const written = steps.map(({ generatedTokens }) => generatedTokens)
  if (written.at(-1)! > 0)
    charts.written = {
      x: 'step',
      lines: [{ label: 'generated tokens', color: 'main' }],
      data: [steps.map(({ step }) => step), written],
    }
  return charts
}

const titles: Readonly<Record<string, string>> = {
  objective: 'objective: loss over the questions',
  dev: 'dev, of the best prompt',
  rank: 'how well gradients rank candidates (Spearman)',
  written: 'tokens generated',
}

const places = (charts: Readonly<Record<string, Chart>>): Markup[] =>
  Object.entries(charts).map(([id, { data }]) => {
    const last = data[1]!.at(-1)
    return chartPlace(id, titles[id]!, `${titles[id]!} over ${data[0]!.length} points, at the end ${number(last ?? Number.NaN)}`)
  })

function tiles(result: SearchResult): Tile[] {
  const { test, initial, metrics, objective, generatedTokens, seconds, steps, peakMemory } = result
  const part = test === undefined ? 'dev' : 'test'
  const [own, first] = test === undefined ? [metrics, initial.metrics] : [test.metrics, test.initial.metrics]
  const [name, value] = Object.entries(own)[0] ?? []
  const made: Tile[] = []
  if (name !== undefined && value !== undefined) {
    const before = first[name]
    const { format } = scaleOf(name, before ? [value, before] : [value])
    const note = ({ low, high }: typeof value) => `${format(low)} to ${format(high)}`
    made.push({ kind: 'main', name: `${metricNames[name] ?? name} on ${part}`, value: format(value.value), note: note(value) })
    if (before) made.push({ name: 'first prompt', value: format(before.value), note: note(before) })
  }
  const p = test?.comparison?.mcnemar?.p
  made.push(
    { name: 'loss', value: number(objective), note: `at first ${number(initial.objective)}` },
    ...(p === undefined ? [] : [{ name: 'paired p', value: p < 0.0001 ? '< 0.0001' : p.toFixed(4), note: 'McNemar, exact' }]),
    { name: 'generated tokens', value: count(generatedTokens), note: `${count(result.computedTokens)} token rows computed` },
    {
      name: 'time',
      value: duration(seconds),
      note: `${count(steps)} steps${peakMemory === undefined ? '' : `, ${bytes(peakMemory)} at most`}`,
    },
  )
  return made
}

function costOf(events: readonly StoredEvent[], steps: readonly SearchStepEvent[], result: SearchResult | undefined): Markup {
  const loaded = events.find(({ event }) => event === 'loaded') as unknown as SearchLoadedEvent | undefined
  const loading = loaded?.seconds ?? 0
  let [searching, scoring, last] = [0, 0, loading]
  for (const event of events) {
    if ((event.event !== 'step' && event.event !== 'dev') || typeof event.seconds !== 'number') continue
    const spent = Math.max(0, event.seconds - last)
    if (event.event === 'dev') scoring += spent
    else searching += spent
    last = Math.max(last, event.seconds)
  }
  const total = result?.seconds ?? last
  const { generatedTokens, computedTokens, drifted } = result ??
    steps.at(-1) ?? { generatedTokens: 0, computedTokens: 0, drifted: 0 }
  const candidates = steps.reduce((sum, step) => sum + step.candidates, 0)
  return cost(
    [
      { name: 'loading', seconds: loading },
      { name: 'steps', seconds: searching },
      { name: 'dev', seconds: scoring },
      { name: 'ranking and test', seconds: Math.max(0, total - last) },
    ],
    [
      ['in all', duration(total)],
      ['candidates scored', `${count(candidates)} in ${count(steps.length)} steps`],
      tokenFact('token rows computed', computedTokens, searching),
      ['tokens generated', count(generatedTokens)],
      ...(drifted > 0 ? [['candidates whose text has other tokens', count(drifted)] as const] : []),
      ...(loaded === undefined ? [] : [['searched', `${loaded.freeTokens} tokens among ${count(loaded.vocabulary)}`] as const]),
      memoryFact(result?.peakMemory),
    ],
  )
}
