import { join } from 'node:path'
import type { Metrics } from '../../evaluate/score.js'
import type { exportsElsewhere } from '../../export/index.js'
import { ownCommand } from '../../own-command.js'
import { smooth } from '../../report/parts/presentation.js'
import { EventLog } from '../../store/events.js'
import { openRun } from '../../store/run-folder.js'
import type { Config } from '../../train/config.js'
import { type ControlScores, type GradpromptEvent, type LoadedEvent, type RunResult, teacherName } from '../../train/events.js'
import type { ComputationOptions } from '../computing/computation.js'
import { Interrupted } from '../terminal/failure.js'
import { confusionTable, formatMetric, metricsTable, NOTHING_SCORED, verdictLines } from '../terminal/figures.js'
import { count, type Output, plural, quoted, table } from '../terminal/output.js'
import { createActivity, createProgress, curve, formatDuration, formatNumber, type Progress } from '../terminal/progress.js'

export interface LearningReport extends ComputationOptions {
  /** Waits for the run to end and says what it came to. @returns the exit code */
  of(running: Promise<RunResult>): Promise<number>
}

/** What `tune` and `resume` show while they work and at the end; with `--json` every event is a line. */
export function learningReport(output: Output, knownFolder?: string): LearningReport {
  let loaded: LoadedEvent | undefined
  let progress: Progress | undefined
  let hasResult = false
  const activity = createActivity()
  const folder = () => loaded?.folder ?? knownFolder
  const note = (text: string) => (progress === undefined ? output.note(text) : progress.note(text))
  const resumable = () => {
    const known = folder()
    return known === undefined ? undefined : ownCommand`resume ${known}`
  }
  output.note('loading …')

  const show = (event: GradpromptEvent): void => {
    activity.clear()
    if (event.event === 'loaded') {
      loaded = event
      output.note(describeLoaded(event))
    } else if (event.event === 'control') note(describeControl(event))
    else if (event.event === 'warning') note(`warning[${event.code}]: ${event.message}`)
    else if (event.event === 'result') hasResult = true
    else if (event.event === 'step' && !output.quiet) {
      progress ??= createProgress(loaded?.steps ?? event.step, { firstStep: event.step })
      progress.step(event)
    } else if (event.event === 'dev') {
      const [name, metric] = Object.entries(event.metrics)[0] ?? []
      if (name !== undefined && metric !== undefined) progress?.dev({ step: event.step, name, value: metric.value })
    }
  }

  return {
    hint: resumable,
    onEvent(event) {
      output.object(event)
      show(event)
    },
    onProgress({ what, done, total }) {
      // While steps are made the bar stands; scoring dev is a short part of that.
      if (output.quiet || (progress !== undefined && what === 'dev')) return
      progress?.end()
      activity.show(what === 'texts' ? 'reading texts' : `scoring ${what}`, done, total)
    },
    onStopping() {
      note('stopping at the next step, with a checkpoint; Ctrl-C again stops at once')
    },
    async of(running) {
      let result: RunResult
      try {
        result = await running
      } catch (error) {
        activity.clear()
        progress?.end()
        const command = resumable()
        if (error instanceof Interrupted && command !== undefined) output.note(`stopped; go on with: ${command}`)
        throw error
      }
      activity.clear()
      progress?.end()
      // A run that had ended before is only shown again.
      if (!hasResult) output.object({ event: 'result', ...result })
      const events = await new EventLog(join(result.folder, 'events.jsonl')).read()
      const losses = events.flatMap(event => (event.event === 'step' && typeof event.loss === 'number' ? [event.loss] : []))
      const { config } = await openRun(result.folder)
      const { exportsElsewhere: elsewhere } = await import('../../export/index.js')
      output.text(describeResult(result, losses, await elsewhere((config as Config).method)))
      return 0
    },
  }
}

function describeLoaded({ model, parameters, rows, steps, folder, seconds }: LoadedEvent): string {
  const sets = Object.entries(rows).flatMap(([part, size]) => (size > 0 ? [`${count(size)} ${part}`] : []))
  return (
    `${model} ready in ${formatDuration(seconds)}: ${plural(parameters, 'number')} to learn in ${plural(steps, 'step')}; ` +
    `rows: ${sets.join(', ')}\nrun: ${folder}`
  )
}

function describeControl({ metrics, plain, instruction, rows }: Extract<GradpromptEvent, { event: 'control' }>): string {
  const first = (given: typeof metrics) => {
    const [name, metric] = Object.entries(given)[0] ?? []
    return name === undefined || metric === undefined ? undefined : `${name} ${formatMetric(name, metric)}`
  }
  const [with_, without] = [first(metrics), first(plain.metrics)]
  const parts =
    instruction === null || with_ === undefined
      ? [without ?? with_]
      : [`${with_} with the instruction ${quoted(instruction)}`, without && `${without} without`]
  return `base model, ${plural(rows, 'row')}: ${parts.filter(part => part !== undefined).join('; ')}`
}

/** The end of a run: before and after, the course of the loss, and what to do next. */
export function describeResult(
  result: RunResult,
  losses: readonly number[],
  exports: Awaited<ReturnType<typeof exportsElsewhere>>,
): string {
  const { control, folder } = result
  const conditions = (tuned: Metrics, { metrics, plain, teacher }: Partial<ControlScores>) =>
    metricsTable([
      { name: 'base model', metrics: plain?.metrics ?? {} },
      { name: 'base model, instructed', metrics: (control.instruction !== null && metrics) || {} },
      { name: 'tuned', metrics: tuned },
      { name: teacherName, metrics: teacher?.metrics ?? {} },
    ])
  const sections: string[] = []
  if (result.rows > 0) {
    const best = result.bestStep === null ? '' : `, best at step ${result.bestStep}`
    sections.push(`dev, ${plural(result.rows, 'row')}${best} [95 % interval]\n${conditions(result.metrics, control)}`)
    if (result.confusion && result.labels) sections.push(confusionTable(result.confusion, result.labels))
  } else if (!result.test) sections.push(NOTHING_SCORED)
  if (result.test)
    sections.push(`test, ${plural(result.test.rows, 'row')}\n${conditions(result.test.metrics, control.test ?? {})}`)
  sections.push(...verdictLines(result.verdict))
  if (result.privacy) {
    const { epsilon, delta, steps } = result.privacy
    sections.push(
      `privacy of each training record, through prompt.safetensors: epsilon ${epsilon.toPrecision(3)}, delta ${delta.toPrecision(3)} ` +
        `after ${plural(steps, 'step')}; the log and the scored rows of the run are not covered`,
    )
  }
  for (const [name, value] of Object.entries(result.figures ?? {})) sections.push(`${name} ${formatNumber(value)}`)
  if (losses.length > 1) {
    const drawn = curve(smooth(losses), { width: 60, height: 6 })
    sections.push(
      `loss over ${plural(losses.length, 'step')}, from ${formatNumber(losses[0]!)} to ${formatNumber(smooth(losses).at(-1)!)}\n${drawn}`,
    )
  }
  sections.push(
    table([
      ['run', `${folder} (${formatDuration(result.seconds)}; report.html shows it in a browser)`],
      ['next', ownCommand`inspect ${folder}`],
      ['', ownCommand`evaluate ${folder} --data FILE`],
      ...exports.slice(0, 1).map(({ target, task }) => {
        const out = join(folder, target)
        const command =
          task === undefined
            ? ownCommand`export ${folder} --to ${target} --out ${out}`
            : ownCommand`export ${folder} --to ${target} --prompt-task ${task} --out ${out}`
        return ['', command]
      }),
      ...(exports.length > 1
        ? [
            [
              '',
              `(other tools: --to ${exports
                .slice(1)
                .map(({ target }) => target)
                .join(', ')})`,
            ],
          ]
        : []),
    ]),
  )
  return `\n${sections.join('\n\n')}`
}
