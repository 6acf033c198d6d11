import { pairedComparison } from '../evaluate/comparison.js'
import type { MetricValue } from '../evaluate/intervals.js'
import type { KeptEvaluation } from '../evaluate/kept-evaluations.js'
import type { MovedTokens } from '../evaluate/nearest-tokens.js'
import type { ScoredPart } from '../evaluate/predictions.js'
import type { RowResult } from '../evaluate/row-results.js'
import type { Metrics } from '../evaluate/score.js'
import type { StoredEvent } from '../store/events.js'
import { type ControlScores, type RunResult, teacherName } from '../train/events.js'
import { stepRows } from '../train/meta/words.js'
import { evaluationList } from './evaluations.js'
import { calibration } from './parts/calibration.js'
import { confusionMatrix } from './parts/confusion.js'
import { cost, memoryFact, type Spent, tokenFact } from './parts/cost.js'
import { bytes, count, duration, number, percent, scaleOf } from './parts/figures.js'
import { html, type Markup, type Part } from './parts/html.js'
import { learningCurves } from './parts/learning.js'
import { type Condition, differenceText, outcomeTable } from './parts/outcome.js'
import type { Page, Section, Tile } from './parts/page.js'
import { metricNames } from './parts/presentation.js'
import { rowTable } from './parts/rows.js'
import { settings, warnings } from './parts/settings.js'
import { vectors } from './parts/vectors.js'
import { samplesTable } from './samples.js'

/** The rows of a part, in each condition that they were scored in. */
export interface PartRows {
  readonly tuned: readonly RowResult[]
  readonly control: readonly RowResult[]
  readonly plain: readonly RowResult[]
}

export interface TuneReport {
  readonly name: string
  readonly config: Readonly<Record<string, unknown>>
  /** `run.json`. */
  readonly details: unknown
  readonly events: readonly StoredEvent[]
  /** Undefined while the run has not ended. */
  readonly result: RunResult | undefined
  readonly moved: readonly MovedTokens[]
  readonly rows: Readonly<Partial<Record<ScoredPart, PartRows>>>
  /** Of the run, by `gradprompt evaluate`. */
  readonly evaluations: readonly KeptEvaluation[]
}

const rowsId = 'table-of-rows'
/** Of the resamples behind paired differences. */
const seed = 13

/** A run that learned a soft prompt, as a page. */
export function tunePage(report: TuneReport): Page {
  const { name, config, details, events, result, moved, rows } = report
  const curves = learningCurves(events, result?.control.metrics ?? controlOf(events))
  const samples = samplesTable(events)
  const part: ScoredPart = rows.test ? 'test' : 'dev'
  const shown = result && rows[part]
  const base = result && bases(result, part, shown)[0]
  const sections: (Section | undefined)[] = [
    result && { id: 'result', title: 'Before and after', body: outcome(report, result) },
    curves && { id: 'learning', title: 'Learning', body: curves.markup },
    samples && { id: 'samples', title: 'Answers on the way', body: samples },
    result && matrix(result, part, shown !== undefined),
    shown && panels(shown, base, part),
    moved.length > 0 ? { id: 'vectors', title: 'What the vectors read as', body: vectors(moved) } : undefined,
    shown && {
      id: 'rows',
      title: `Rows of ${part}`,
      body: rowTable({
        id: rowsId,
        after: shown.tuned,
        before: base?.rows ?? [],
        names: { before: base?.name ?? '', after: 'tuned' },
        labels: result.labels,
      }),
    },
    { id: 'evaluations', title: 'Evaluations', body: evaluationList(report.evaluations) },
    { id: 'cost', title: 'Cost', body: costOf(events, result, config) },
    { id: 'settings', title: 'Settings', body: [warnings(events), settings(config, details)] },
  ]
  return {
    kind: 'soft prompt',
    title: name,
    lead: lead(config, result),
    verdict: result?.verdict,
    tiles: result === undefined ? [] : tiles(report, result),
    sections,
    charts: curves?.charts ?? {},
  }
}

const controlOf = (events: readonly StoredEvent[]) =>
  events.find(({ event }) => event === 'control')?.metrics as Metrics | undefined

interface Base {
  readonly name: string
  readonly metrics: Metrics
  readonly rows: readonly RowResult[]
}

/** The conditions of the base model on a part, the better one first: that is what has to be beaten. */
function bases({ control }: RunResult, part: ScoredPart, rows: PartRows | undefined): Base[] {
  const scores = part === 'test' ? control.test : control
  if (scores === undefined) return []
  const { instruction } = control
  const name = instruction === null ? 'base model' : 'base model, template alone'
  const plain = { name, metrics: scores.plain.metrics, rows: rows?.plain ?? [] }
  if (instruction === null) return [plain]
  const instructed = { name: 'base model, instructed', metrics: scores.metrics, rows: rows?.control ?? [] }
  const value = ({ metrics }: Base) => Object.values(metrics)[0]?.value ?? Number.NEGATIVE_INFINITY
  return value(plain) > value(instructed) ? [plain, instructed] : [instructed, plain]
}

function lead(config: Readonly<Record<string, unknown>>, result: RunResult | undefined): Part {
  const { type } = (config.method ?? {}) as { type?: string }
  const what = html`<b>${type}</b> on <b>${String(config.model)}</b>`
  return result === undefined ? html`${what}. This run has not ended yet.` : what
}

function tiles({ rows }: TuneReport, result: RunResult): Tile[] {
  const part: ScoredPart = result.test === undefined ? 'dev' : 'test'
  const metrics = result.test?.metrics ?? result.metrics
  const compared = bases(result, part, rows[part])
  const [name, best] = Object.entries(metrics)[0] ?? []
  const made: Tile[] = []
  if (name !== undefined && best !== undefined) {
    const tile = (label: string, value: MetricValue, kind?: 'main'): Tile => {
      const { format } = scaleOf(name, [value])
      return { kind, name: label, value: format(value.value), note: `${format(value.low)} to ${format(value.high)}` }
    }
    made.push(tile(`${metricNames[name] ?? name} on ${part}`, best, 'main'))
    for (const { name: label, metrics } of compared) if (metrics[name] !== undefined) made.push(tile(label, metrics[name]))
    const [base] = compared
    const { tuned = [] } = rows[part] ?? {}
    const sides = base && pairedComparison({ before: base.rows, after: tuned }, seed)?.mcnemar
    if (sides)
      made.push({
        name: 'rows that changed sides',
        value: html`<span class="right-text">+${sides.onlyOther}</span> <span class="wrong-text">−${sides.onlyBaseline}</span>`,
        note: `of ${count(tuned.length)}, against the ${base.name}`,
      })
  }
  for (const [label, value] of Object.entries(result.figures ?? {})) made.push({ name: label, value: number(value) })
  made.push(
    {
      name: 'numbers learned',
      value: count(result.parameters),
      note: `${count(result.steps)} steps${result.bestStep === null ? '' : `, best at ${result.bestStep}`}`,
    },
    {
      name: 'time',
      value: duration(result.seconds),
      note: result.peakMemory === undefined ? undefined : `${bytes(result.peakMemory)} at most`,
    },
  )
  return made
}

function outcome({ rows }: TuneReport, result: RunResult): Markup {
  const { control, metrics, test } = result
  const { instruction } = control
  const conditions = (tuned: Metrics, scores: ControlScores | undefined): Condition[] => [
    { name: instruction === null ? 'base model' : 'base model, template alone', metrics: scores?.plain.metrics ?? {} },
    ...(instruction === null ? [] : [{ name: 'base model, instructed', metrics: scores?.metrics ?? {} }]),
    { name: 'tuned', metrics: tuned, main: true },
    { name: teacherName, metrics: scores?.teacher?.metrics ?? {} },
  ]
  const parts = [
    ...(test === undefined
      ? []
      : [
          {
            part: 'test' as const,
            rows: test.rows,
            caption: 'scored once, at the end',
            of: conditions(test.metrics, control.test),
          },
        ]),
    ...(result.rows === 0
      ? []
      : [{ part: 'dev' as const, rows: result.rows, caption: 'which chose the checkpoint', of: conditions(metrics, control) }]),
  ]
  return html`${parts.map(({ part, rows: size, caption, of }) => {
    const own = rows[part]
    const differences = bases(result, part, own).flatMap(({ name, rows: before }) => {
      const comparison = pairedComparison({ before, after: own?.tuned ?? [] }, seed)
      return comparison === undefined
        ? []
        : [html`<p class="small">Against the ${name}: ${differenceText(comparison, comparison.mcnemar !== undefined)}.</p>`]
    })
    return html`${outcomeTable(`${part}, ${count(size)} rows, ${caption}`, of)}${differences}`
  })}${instruction !== null && html`<p class="small quiet">The base model was told: <q>${instruction}</q></p>`}`
}

function matrix(result: RunResult, part: ScoredPart, hasRows: boolean): Section | undefined {
  const { confusion, labels } = (part === 'test' ? result.test : undefined) ?? result
  if (confusion === undefined || labels === undefined) return undefined
  return {
    id: 'confusion',
    title: `Confusion on ${part}`,
    body: confusionMatrix(confusion, labels, hasRows ? rowsId : undefined),
  }
}

function panels({ tuned }: PartRows, base: Base | undefined, part: ScoredPart): Section | undefined {
  const body = calibration([{ name: 'tuned', rows: tuned, main: true }, ...(base === undefined ? [] : [base])])
  return body && { id: 'calibration', title: `Calibration on ${part}`, body }
}

/** Where the time of a run went, from the times that its events say. */
function costOf(
  events: readonly StoredEvent[],
  result: RunResult | undefined,
  config: Readonly<Record<string, unknown>>,
): Markup {
  const finite = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) ? value : 0)
  const loading = finite(events.find(({ event }) => event === 'loaded')?.seconds)
  let [steps, dev, base, tokens, made, last] = [0, 0, 0, 0, 0, loading]
  for (const event of events) {
    if (event.event !== 'step' && event.event !== 'dev') continue
    const spent = Math.max(0, finite(event.seconds) - last)
    if (event.event === 'dev') dev += spent
    // The first step's time begins after the base model was scored: its own is known by its speed.
    else if (made === 0) {
      const own = Math.min(spent, batchRows(config) / Math.max(finite(event.rowsPerSecond), 1e-6))
      steps += own
      base += spent - own
    } else steps += spent
    if (event.event === 'step') {
      made++
      tokens += finite(event.tokens)
    }
    last = Math.max(last, finite(event.seconds))
  }
  const total = result?.seconds ?? last
  const parts: Spent[] = [
    { name: 'loading', seconds: loading },
    { name: 'base model on dev', seconds: base },
    { name: 'steps', seconds: steps },
    { name: 'dev', seconds: dev },
    { name: 'test and writing', seconds: Math.max(0, total - last) },
  ]
  const rows = made * batchRows(config)
  return cost(parts, [
    ['in all', duration(total)],
    ['rows learned from', `${count(rows)} (${(rows / Math.max(steps, 1e-6)).toFixed(1)} a second)`],
    tokenFact('tokens learned from', tokens, steps),
    ...(made > 0
      ? ([['a step', `${duration(steps / made)}, ${percent(steps / Math.max(total, 1e-6))} of the time`]] as const)
      : []),
    memoryFact(result?.peakMemory),
  ])
}

function batchRows({ train }: Readonly<Record<string, unknown>>): number {
  return stepRows({ batchSize: 1, accumulate: 1, ...(train as Parameters<typeof stepRows>[0] | undefined) })
}
