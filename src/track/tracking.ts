import { setTimeout } from 'node:timers/promises'
import type { RunEvent } from '../store/events.js'
import { trackers } from './index.js'
import type { Scalar, TrackedRun, Tracking } from './tracker.js'

/** The trackers of a run, told of its events. Whatever they do, the run goes on: one that fails is said once and told no more. */

export interface RunTracking {
  /** Returns at once: what trackers do with it they do after. */
  hear(event: RunEvent): void
  /** Waits for trackers, but not for long. */
  close(outcome: 'finished' | 'stopped' | 'failed'): Promise<void>
}

const patienceMilliseconds = 15_000
/** Told and not done with: a tracker that is behind by more is given up. */
const mostWaiting = 10_000

/** @param onFailed hears of a tracker that has failed, once */
export function openTracking(
  names: readonly string[],
  run: TrackedRun,
  onFailed: (name: string, message: string) => void,
): RunTracking {
  const told = names.map(name => {
    let failed = false
    let waiting = 0
    const fail = (error: unknown) => {
      if (failed) return
      failed = true
      const message =
        error instanceof Error ? [error.message, causeOf(error)].filter(text => text !== '').join(': ') : String(error)
      try {
        onFailed(name, message)
      } catch {
        // A hearer that fails stops the run by its own way.
      }
    }
    let tracking: Tracking | undefined
    let last: Promise<void> = Promise.resolve()
      .then(async () => {
        tracking = await trackers.get(name).open(run)
      })
      .catch(fail)
    const queue = (work: (tracking: Tracking) => void | Promise<void>) => {
      if (failed) return
      if (++waiting > mostWaiting) return fail(new Error('it is too far behind'))
      last = last
        .then(async () => {
          if (!failed && tracking !== undefined) await work(tracking)
        })
        .catch(fail)
        .finally(() => waiting--)
    }
    const done = async () => {
      const late = new AbortController()
      await Promise.race([
        last.finally(() => late.abort()),
        setTimeout(patienceMilliseconds, undefined, { signal: late.signal }).then(
          () => fail(new Error(`it did not end within ${patienceMilliseconds / 1000} s`)),
          () => {},
        ),
      ])
    }
    return { queue, done }
  })
  let step = run.step
  return {
    hear(event) {
      if (typeof event.step === 'number') step = event.step
      const scalars = scalarsOf(event, step)
      if (scalars.length > 0) for (const { queue } of told) queue(tracking => tracking.scalars(scalars))
    },
    async close(outcome) {
      for (const { queue } of told) queue(tracking => tracking.close(outcome))
      await Promise.all(told.map(({ done }) => done()))
    },
  }
}

const causeOf = ({ cause }: Error): string => (cause instanceof Error ? cause.message : '')

/** The figures of an event: numbers of a step, dev metrics with the ends of their intervals, and what a run came to. */
export function scalarsOf(event: RunEvent, step: number): Scalar[] {
  const own = event as unknown as Readonly<Record<string, unknown>>
  const numbers = (prefix: string, values: unknown): Scalar[] =>
    Object.entries((values ?? {}) as object).flatMap(([name, value]: [string, unknown]) => {
      if (name === 'step') return []
      if (typeof value === 'number' && Number.isFinite(value)) return [{ name: `${prefix}/${name}`, step, value }]
      return isMetric(value)
        ? [
            { name: `${prefix}/${name}`, step, value: value.value },
            { name: `${prefix}/${name}.low`, step, value: value.low },
            { name: `${prefix}/${name}.high`, step, value: value.high },
          ]
        : []
    })
  if (event.event === 'step') return numbers('train', own)
  if (event.event === 'dev') return numbers('dev', own.metrics)
  if (event.event !== 'result') return []
  const test = own.test as { metrics?: unknown } | undefined
  return [...numbers('result', own.metrics), ...numbers('test', test?.metrics)]
}

const isMetric = (value: unknown): value is { value: number; low: number; high: number } =>
  typeof value === 'object' &&
  value !== null &&
  (['value', 'low', 'high'] as const).every(name => Number.isFinite((value as Record<string, unknown>)[name]))
