import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { lastLineOf } from '../../processes.js'
import type { Device } from '../../program/devices.js'

/**
 * A trial of a device in a process of its own, as drivers end processes that they fail in. What is tried is unknown here: `../trial/`
 * computes it.
 */

/** What a device computed otherwise than the processor. */
export interface Deviation {
  /** Of what, in words. */
  readonly what: string
  /** Share of the right values; null where a number is none, or none is one. */
  readonly error: number | null
}

export interface Trial {
  readonly seconds: number
  /** Operations a second in products of matrices, for comparing devices. */
  readonly productRate: number
  /** The worst first; a device without any computes rightly. */
  readonly deviations: readonly Deviation[]
  /** Half precisions that its own instructions are to have: how far a training step is off, or why there is none. */
  readonly halves: Readonly<Record<string, number | string>>
}

/** What came of it: a trial, or why there is none. */
export type TrialOutcome = { readonly trial: Trial } | { readonly reason: string; readonly tooLong?: true }

const mostSeconds = 180

export function tryDevice(device: Device, timeoutSeconds = mostSeconds): Promise<TrialOutcome> {
  const child = fork(fileURLToPath(new URL('../trial/process.js', import.meta.url)), [device], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let outcome: TrialOutcome | undefined
  const lastLine = lastLineOf(child.stderr!)
  child.on('message', message => {
    outcome = message as TrialOutcome
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutSeconds * 1000)
  return new Promise(resolve => {
    const end = (reason: string, tooLong = false) => {
      clearTimeout(timer)
      resolve(outcome ?? { reason, ...(tooLong && { tooLong }) })
    }
    child.on('error', ({ message }) => end(message))
    child.on('close', (code, signal) => {
      const how = signal === 'SIGKILL' ? `it took more than ${timeoutSeconds} s` : `its process ended with ${signal ?? code}`
      const last = lastLine()
      end(last ? `${how}: ${last}` : how, signal === 'SIGKILL')
    })
  })
}
