import { join } from 'node:path'
import type { Metrics } from '../../evaluate/score.js'
import { ownCommand } from '../../own-command.js'
import type { PreflightEvent, SearchEvent, SearchLoadedEvent, SearchResult, SearchStepEvent } from '../../search/run/events.js'
import { forecastCounts } from '../../search/run/forecast-words.js'
import type { RoleSpending } from '../../search/score/budget.js'
import type { ComputationOptions } from '../computing/computation.js'
import { Interrupted } from '../terminal/failure.js'
import { formatMetric, metricsTable, NOTHING_SCORED, verdictLines } from '../terminal/figures.js'
import { count, type Output, plural, quoted, table } from '../terminal/output.js'
import { createActivity, createProgress, formatDuration, formatNumber, type Progress } from '../terminal/progress.js'

export interface SearchReport extends ComputationOptions {
  onNews(event: SearchEvent): void
  /** Waits for the search to end and says what it came to. @returns the exit code */
  of(running: Promise<SearchResult>): Promise<number>
}

/** What `search` and `resume` of a search show while they work and at the end; with `--json` every event is a line. */
export function searchReport(output: Output, knownFolder?: string): SearchReport {
  let loaded: SearchLoadedEvent | undefined
  let progress: Progress | undefined
  let best = Number.POSITIVE_INFINITY
  let hasResult = false
  const note = (text: string) => (progress === undefined ? output.note(text) : progress.note(text))
  const resumable = () => {
    const folder = loaded?.folder ?? knownFolder
    return folder === undefined ? undefined : ownCommand`resume ${folder}`
  }
  const activity = createActivity()
  output.note('loading …')

  const step = (event: SearchStepEvent) => {
    const share = shareOf(event, loaded)
    progress ??= output.quiet
      ? undefined
      : createProgress(loaded?.steps ?? event.step, { firstStep: event.step, firstShare: share })
    const { generatedTokens } = event
    progress?.step({
      share,
      step: event.step,
      best: Math.min(best, event.best.objective),
      ...(generatedTokens > 0 && { generatedTokens }),
    })
    if (event.best.objective >= best) return
    best = event.best.objective
    const written = event.generatedTokens > 0 ? `, ${plural(event.generatedTokens, 'generated token')}` : ''
    note(`step ${event.step}: ${formatNumber(best)}${written}  ${quoted(event.best.prompt, 100)}`)
  }

  const show = (event: SearchEvent): void => {
    activity.clear()
    if (event.event === 'loaded') {
      loaded = event
      output.note(describeLoaded(event))
    } else if (event.event === 'initial') {
      best = event.objective
      note(`first prompt: ${formatNumber(event.objective)}${firstMetric(event.metrics)}  ${quoted(event.prompt, 100)}`)
    } else if (event.event === 'preflight') note(describePreflight(event))
    else if (event.event === 'warning') note(`warning[${event.code}]: ${event.message}`)
    else if (event.event === 'result') hasResult = true
    else if (event.event === 'step') step(event)
    else if (event.event === 'dev') {
      const [name, metric] = Object.entries(event.metrics)[0] ?? []
      if (name !== undefined && metric !== undefined) progress?.dev({ step: event.step, name, value: metric.value })
    }
  }

  const hear = (event: SearchEvent) => {
    output.object(event)
    show(event)
  }
  return {
    hint: resumable,
    onNews: hear,
    onEvent(event) {
      if (event.event === 'warning') hear(event)
    },
    onProgress({ what, done, total }) {
      if (output.quiet) return
      if (progress === undefined) activity.show(what, done, total)
      else progress.doing(`${what} ${done}/${total}`)
    },
    onStopping() {
      note('stopping, with a checkpoint of the last step; Ctrl-C again stops at once')
    },
    async of(running) {
      try {
        const result = await running
        activity.clear()
        progress?.end()
        // A search that had ended before is only shown again.
        if (!hasResult) output.object({ event: 'result', ...result })
        output.text(describeSearch(result))
        return 0
      } catch (error) {
        activity.clear()
        progress?.end()
        const command = resumable()
        if (error instanceof Interrupted && command !== undefined) output.note(`stopped; go on with: ${command}`)
        throw error
      }
    },
  }
}

/** What a role has spent: `optimizer: 12 calls, cost 0.003`. */
const roleWords = ([role, { calls, cost = 0 }]: readonly [string, RoleSpending]) =>
  `${role}: ${plural(calls, 'call')}${cost > 0 ? `, cost ${formatNumber(cost)}` : ''}`

/** What is done of a search that ends with its steps or with its budget, whichever comes first. */
function shareOf({ step, generatedTokens, computedTokens, seconds }: SearchStepEvent, loaded?: SearchLoadedEvent): number {
  const { steps = step, budget = {} } = loaded ?? {}
  const of = (spent: number, limit = Number.POSITIVE_INFINITY) => spent / limit
  return Math.min(
    1,
    Math.max(
      step / steps,
      of(generatedTokens, budget.generatedTokens),
      of(computedTokens, budget.computedTokens),
      of(seconds, budget.seconds),
    ),
  )
}

export function describeLoaded({
  model,
  rows,
  steps,
  freeTokens,
  vocabulary,
  folder,
  seconds,
  forecast,
}: SearchLoadedEvent): string {
  // Without a training row there are only searches that make theirs.
  const sets = [
    ...(rows.train === 0 ? ['none to search on yet, made as it goes'] : []),
    ...Object.entries(rows).flatMap(([part, size]) => (size > 0 ? [`${count(size)} ${part}`] : [])),
  ]
  return (
    `${model} ready in ${formatDuration(seconds)}: ${plural(freeTokens, 'token')} to find among ${count(vocabulary)}, ` +
    `${plural(steps, 'step')}; rows: ${sets.join(', ')}${forecast === undefined ? '' : `\nasks for at most ${forecastCounts(forecast)}`}\nrun: ${folder}`
  )
}

function describePreflight({ questions, cut, answerMass, accuracy, tokensPerPrompt }: PreflightEvent): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`
  return (
    `on ${plural(questions, 'question')} the first prompt has ${formatMetric('accuracy', accuracy)} right; ${percent(cut)} of the reasonings are cut, ` +
    `the answers have a probability of ${percent(answerMass)} behind the extractor, a prompt costs ${plural(tokensPerPrompt, 'token')}`
  )
}

function firstMetric(metrics: Metrics): string {
  const [name, metric] = Object.entries(metrics)[0] ?? []
  return name === undefined || metric === undefined ? '' : `, dev ${name} ${formatMetric(name, metric)}`
}

/** The end of a search: the prompt, before and after, and what to do next. */
export function describeSearch(result: SearchResult): string {
  const { initial, test, folder } = result
  const sections = [
    table([
      ['prompt', JSON.stringify(result.prompt)],
      ['loss', `${formatNumber(result.objective)}, at first ${formatNumber(initial.objective)}`],
    ]),
  ]
  const sides = (first: Metrics, found: Metrics) =>
    metricsTable([
      { name: 'first prompt', metrics: first },
      { name: 'found prompt', metrics: found },
    ])
  if (result.rows > 0)
    sections.push(`dev, ${plural(result.rows, 'row')} [95 % interval]\n${sides(initial.metrics, result.metrics)}`)
  else if (!test) sections.push(NOTHING_SCORED)
  if (test) {
    const { comparison } = test
    const difference = comparison && `  difference ${formatMetric('', comparison.difference)}`
    const p = comparison?.mcnemar && `, p = ${formatNumber(comparison.mcnemar.p)}`
    sections.push(
      `test, ${plural(test.rows, 'row')}\n${sides(test.initial.metrics, test.metrics)}${difference ? `\n${difference}${p ?? ''}` : ''}`,
    )
  }
  sections.push(...verdictLines(result.verdict))
  if (result.privacy === null)
    sections.push('privacy of each row: none. The prompt was found without noise, and may show any row')
  if (result.privacy) {
    const { epsilon, delta, queries, mostQueries, failures = 0 } = result.privacy
    sections.push(
      `privacy of each row, through prompt.json and exports: epsilon ${epsilon.toPrecision(3)}, delta ${delta.toPrecision(3)} ` +
        `(${queries} of at most ${mostQueries} votes taken, ${failures} of them won by no token); the other files of the run hold rows and scores as they are`,
    )
  }
  const spent = [
    plural(result.steps, 'step'),
    formatDuration(result.seconds),
    plural(result.computedTokens, 'token row'),
    ...(result.generatedTokens > 0 ? [plural(result.generatedTokens, 'generated token')] : []),
    ...Object.entries(result.roles ?? {}).map(roleWords),
    ...(result.drifted > 0 ? [`${plural(result.drifted, 'candidate')} whose text has other tokens`] : []),
  ]
  sections.push(
    table([
      ['run', `${folder} (${spent.join(', ')}; report.html shows it in a browser)`],
      ['next', ownCommand`evaluate ${folder} --data FILE`],
      ['', ownCommand`export ${folder} --to text --out ${join(folder, 'text')}`],
    ]),
  )
  return `\n${sections.join('\n\n')}`
}
