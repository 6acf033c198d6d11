import { join } from 'node:path'
import { GradpromptError } from '../../../errors.js'
import type { MetricValue } from '../../../evaluate/intervals.js'
import type { Metrics } from '../../../evaluate/score.js'
import { isFile } from '../../../files.js'
import type { RunEvent } from '../../../store/events.js'
import { EventLog } from '../../../store/events.js'
import type { Figures } from '../../../sweep/space/objectives.js'
import type { TrialOptions, TrialOutcome } from './trial-kind.js'

/** A run as a trial, whatever it learns: it begins, goes on where another has left it, and is left at the dev score of a step. */

interface Result {
  readonly metrics: Metrics
  readonly steps: number
  readonly seconds: number
}

export interface RunWays {
  /** Begins the run in its folder. */
  begin(hearer: RunHearer): Promise<{ readonly result: Result }>
  resume(hearer: RunHearer): Promise<{ readonly result: Result }>
  /** What else the run came to. */
  figures(result: Result): Figures
}

interface RunHearer {
  readonly signal: AbortSignal
  readonly onEvent: (event: RunEvent) => void
}

export async function runTrial(
  { begin, resume, figures }: RunWays,
  { folder, until, signal, onEvent }: Pick<TrialOptions, 'folder' | 'until' | 'signal' | 'onEvent'>,
): Promise<TrialOutcome> {
  const isBegun = await isFile(join(folder, 'config.yaml'))
  const before =
    isBegun && until !== undefined ? rungIn(await new EventLog(join(folder, 'events.jsonl')).read(), until) : undefined
  if (before !== undefined) return before
  const leaving = new AbortController()
  let left: TrialOutcome | undefined
  const hearer: RunHearer = {
    signal: signal === undefined ? leaving.signal : AbortSignal.any([signal, leaving.signal]),
    onEvent(event) {
      onEvent(event)
      if (until === undefined || left !== undefined) return
      left = rungIn([event], until)
      if (left !== undefined) leaving.abort()
    },
  }
  try {
    const { result } = await (isBegun ? resume(hearer) : begin(hearer))
    return {
      figures: { ...result.metrics, ...figures(result), seconds: exactly(result.seconds), steps: exactly(result.steps) },
      steps: result.steps,
      seconds: result.seconds,
    }
  } catch (error) {
    if (left !== undefined && !signal?.aborted && error instanceof GradpromptError && error.code === 'aborted') return left
    throw error
  }
}

/** What the first dev score at or behind a step says. */
function rungIn(events: readonly RunEvent[], until: number): TrialOutcome | undefined {
  const found = events.find(event => event.event === 'dev' && (event.step ?? 0) >= until)
  if (found === undefined) return undefined
  const { metrics, seconds, step } = found as unknown as { metrics: Metrics; seconds: number; step: number }
  return { figures: { ...metrics }, steps: step, seconds }
}

/** A figure that is known, and no estimate. */
export const exactly = (value: number): MetricValue => ({ value, low: value, high: value })

/** An open model says itself how it was opened. */
export function withoutPlace(config: unknown): Record<string, unknown> {
  const {
    device: _device,
    threads: _threads,
    memory: _memory,
    keepWeights: _form,
    precision: _precision,
    families: _families,
    ...rest
  } = config as Record<string, unknown>
  return rest
}
