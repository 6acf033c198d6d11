import type { Plan } from '../../api/sweep/plan.js'
import type { SweepSummary, SweepTrial } from '../../api/sweep/summary.js'
import type { SweepEvent } from '../../api/sweep/worker.js'
import { shellWord } from '../../errors.js'
import { metricNames } from '../../report/parts/presentation.js'
import { samplers } from '../../sweep/samplers/index.js'
import { valuesText, valueText } from '../../sweep/space/space.js'
import type { ComputationOptions } from '../computing/computation.js'
import { Interrupted } from '../terminal/failure.js'
import { formatMetric } from '../terminal/figures.js'
import { count, type Output, plural, shorten, table } from '../terminal/output.js'
import { formatNumber } from '../terminal/progress.js'

export interface SweepReport extends ComputationOptions {
  readonly onNews: (event: SweepEvent) => void
  /** Waits for all workers. */
  of(parts: readonly Promise<unknown>[]): Promise<void>
}

/** What `sweep` shows while trials come and go; with `--json` every event is a line. */
export function sweepReport(output: Output, folder: string): SweepReport {
  const command = `gradprompt sweep ${shellWord(folder)}`
  let began = false
  const said = new Set<string>()
  return {
    hint: () => command,
    onStopping: () => output.note('stopping at the next step, with a checkpoint; Ctrl-C again stops at once'),
    onNews(event) {
      output.object(event)
      if (event.event === 'sweep' && !began) {
        began = true
        output.note(
          `${plural(event.trials, 'trial')}${event.done > 0 ? `, ${count(event.done)} done` : ''}; values by ${event.strategy}`,
        )
      } else if (event.event === 'trial-end') {
        const what =
          event.state === 'failed'
            ? `failed: ${event.error?.code}: ${event.error?.message}`
            : `${event.state === 'stopped' ? `step ${event.steps}: ` : ''}${figureText(event.figures, event.metric)}`
        output.note(`trial ${event.trial} (${event.done}/${event.trials})  ${what}  ${valuesText(event.values)}`)
      } else if (event.event === 'run' && event.of.event === 'warning') {
        const { code, message } = event.of as unknown as { code: string; message: string }
        // What is said of the data is said at every run.
        if (!said.has(message)) output.note(`trial ${event.trial}: warning[${code}]: ${message}`)
        said.add(message)
      }
    },
    async of(parts) {
      // Whoever fails is heard when the others have come to an end as well: their trials are whole.
      const ends = await Promise.allSettled(parts)
      const failed = ends.flatMap(end => (end.status === 'rejected' ? [end.reason as unknown] : []))
      const [first] = failed
      if (first === undefined) return
      if (first instanceof Interrupted) output.note(`stopped; go on with: ${command}`)
      throw first
    },
  }
}

function figureText(figures: SweepTrial['figures'], metric: string | undefined): string {
  const figure = metric === undefined ? undefined : figures[metric]
  return figure === undefined ? '' : `${metricNames[metric!] ?? metric} ${formatMetric(metric!, figure)}`
}

const mostLines = 40

/** Trials as a table, the best first, and what they say together. */
export function describeSweep(summary: SweepSummary): string {
  const { folder, trials, objectives, best, front, alike, importance, wanted } = summary
  const states = (['finished', 'stopped', 'running', 'waiting', 'failed'] as const).flatMap(state => {
    const own = trials.filter(trial => trial.state === state).length
    return own > 0 ? [`${count(own)} ${state}`] : []
  })
  const head = `${folder}: ${count(trials.length)} of ${plural(wanted, 'trial')} begun${states.length > 0 ? ` (${states.join(', ')})` : ''}`
  if (trials.length === 0) return head
  const ordered = inOrder(summary)
  const options = summary.parameters.map(({ name }) => name)
  const lines = ordered
    .slice(0, mostLines)
    .map(trial => [
      `${trial.number}${trial.number === best?.number ? ' *' : ''}`,
      trial.state === 'stopped' ? `step ${trial.steps}` : trial.state,
      ...objectives.map(({ metric }) => (trial.figures[metric] ? formatMetric(metric, trial.figures[metric]) : '')),
      ...options.map(name => (Object.hasOwn(trial.values, name) ? shorten(valueText(trial.values[name]), 28) : '')),
      trial.error ? shorten(`${trial.error.code}: ${trial.error.message}`, 60) : '',
    ])
  const heads = [
    'trial',
    'state',
    ...objectives.map(({ metric }) => metricNames[metric] ?? metric),
    ...options.map(name => name.split('.').at(-1)!),
    '',
  ]
  const sections = [head, table([heads, ...lines])]
  if (ordered.length > mostLines) sections.push(`and ${count(ordered.length - mostLines)} more: --csv or --html has all`)
  if (front.length > 1) sections.push(`none is better in both than: ${front.map(({ number }) => number).join(', ')}`)
  if (best !== undefined) sections.push(bestLines(summary, best, alike))
  const told = importance.filter(({ trials }) => trials > 3)
  if (told.length > 0 && trials.length > 5)
    sections.push(
      `what each option alone explains of the differences between trials\n${table(
        told.map(({ name, share }) => [`  ${name}`, `${Math.round(100 * share)} %`]),
        { align: ['left', 'right'] },
      )}`,
    )
  return sections.join('\n\n')
}

function bestLines({ judgedBy, objectives, trials }: SweepSummary, best: SweepTrial, alike: readonly SweepTrial[]): string {
  const [objective] = objectives
  const figure = objective && best.figures[objective.metric]
  const finished = trials.filter(({ state }) => state === 'finished').length
  const by = judgedBy === 'paired rows' ? 'on the same rows, in pairs' : 'by their intervals'
  const said =
    alike.length === 0
      ? finished > 1
        ? `told apart from all others (${by})`
        : ''
      : `cannot be told apart ${by} from ${alike.length > 12 ? plural(alike.length, 'other') : `trial${alike.length > 1 ? 's' : ''} ${alike.map(({ number }) => number).join(', ')}`}`
  return [
    `best: trial ${best.number}${figure ? `, ${metricNames[objective.metric] ?? objective.metric} ${formatMetric(objective.metric, figure)}` : ''}: ${valuesText(best.values)}`,
    ...(said === '' ? [] : [`  ${said}`]),
    ...(finished > 1 ? [`  the best of ${finished} on the rows that chose it looks better than it is: score it on others`] : []),
    `  gradprompt evaluate ${shellWord(best.folders[0]!)} --data FILE`,
  ].join('\n')
}

/** Finished trials by the first objective, then those that were stopped, the furthest first, then the rest. */
export function inOrder({ trials, objectives: [objective] }: Pick<SweepSummary, 'trials' | 'objectives'>): SweepTrial[] {
  const loss = ({ figures }: SweepTrial) => {
    const value = objective && figures[objective.metric]?.value
    return value === undefined ? Number.POSITIVE_INFINITY : objective!.lower ? value : -value
  }
  const rank = { finished: 0, stopped: 1, running: 2, waiting: 2, failed: 3 }
  const progress = (trial: SweepTrial) => (trial.state === 'stopped' ? -trial.steps : 0)
  return [...trials].sort(
    (a, b) =>
      rank[a.state] - rank[b.state] ||
      progress(a) - progress(b) ||
      (loss(a) < loss(b) ? -1 : loss(a) > loss(b) ? 1 : a.number - b.number),
  )
}

/** What a dry run shows: what varies, and the first values. */
export async function describePlan(plan: Plan): Promise<{ text: string; object: object }> {
  const { space, strategy, trials, seeds, options, objectives, fixed, allowed, constraints } = plan
  const shown: Record<string, unknown>[] = []
  for (let trial = 0; trial < Math.min(5, trials); trial++) {
    const tried = (values: object) => shown.some(known => JSON.stringify(known) === JSON.stringify(values))
    const values = samplers[strategy]!.choose({ space, seen: [], trial, seed: options.seed, fixed, allowed, tried })
    if (values !== undefined) shown.push(values)
  }
  const lines = space.map(({ name, domain, when }) => [
    `  ${name}`,
    domain.kind === 'list'
      ? domain.values.map(valueText).join(', ')
      : `${domain.normal ? 'normal, ' : ''}${formatNumber(domain.min)} to ${formatNumber(domain.max)}${domain.log ? ', logarithmic' : ''}${domain.step ? `, in steps of ${domain.step}` : ''}`,
    when.map(({ name, values }) => `when ${name} is ${values.map(valueText).join(' or ')}`).join(' and '),
  ])
  const metrics = objectives.map(({ metric }) => metric ?? 'the figure that matters most').join(' and ')
  const text = [
    `${plural(trials, 'trial')} of ${plan.of} by ${strategy}${seeds.length > 1 ? `, each with seeds ${seeds.join(', ')}` : ''}; best is by ${metrics}${options.stop ? `; ${options.stop.type} stops trials early` : ''}`,
    table(lines),
    ...(constraints.length > 0 ? [`constraints: ${constraints.map(({ text }) => text).join('; ')}`] : []),
    `the first:\n${shown.map(values => `  ${valuesText(values)}`).join('\n')}`,
  ].join('\n\n')
  return { text, object: { of: plan.of, strategy, trials, seeds, over: options.over, first: shown } }
}
