import { GradpromptError } from '../../errors.js'
import { type Device, defaultDevice, deviceProfile } from '../../program/devices.js'
import type { HalfPrecision } from '../../program/precision.js'
import { defaultThreads } from '../../program/program.js'
import type { Deviation, Trial } from '../devices/isolated-trial.js'
import { functionResults, productRate, type Results, stepResults } from './programs.js'

/** A device held against the processor, number by number. */

/** What float32 leaves of a sum that is added up in another order. */
const tolerance = 2e-5

/** @throws GradpromptError `device-unavailable` */
export async function runTrial(device: Device): Promise<Trial> {
  const started = performance.now()
  const threads = defaultThreads()
  // What a device cannot be opened for is said before anything takes long.
  const speed = await productRate(device, threads)
  const deviations = device === defaultDevice ? [] : await deviationsOf(device, threads)
  const halves = await halvesOf(device, threads)
  return { seconds: (performance.now() - started) / 1000, productRate: speed, deviations, halves }
}

async function deviationsOf(device: Device, threads: number): Promise<Deviation[]> {
  const found: Deviation[] = []
  for (const results of [functionResults, stepResults]) {
    const [own, wanted] = [await results(device, threads), await results(defaultDevice, threads)]
    found.push(...deviations(own, wanted))
  }
  return found.sort((a, b) => (b.error ?? Number.POSITIVE_INFINITY) - (a.error ?? Number.POSITIVE_INFINITY))
}

/** The worst of a training step in each half precision, as a share of what float32 on the processor comes to. */
async function halvesOf(device: Device, threads: number): Promise<Record<string, number | string>> {
  const found: Record<string, number | string> = {}
  for (const [precision, arithmetic] of Object.entries(deviceProfile(device).halves)) {
    if (arithmetic !== 'own') continue
    try {
      const own = await stepResults(device, threads, { precision: precision as HalfPrecision, most: 1 })
      const wanted = await stepResults(defaultDevice, threads, { most: 1 })
      found[precision] = Math.max(...Object.entries(wanted).map(([what, values]) => relativeError(own[what]!, values)))
    } catch (error) {
      if (!(error instanceof GradpromptError)) throw error
      found[precision] = error.found ?? error.message
    }
  }
  return found
}

/** Where results differ by more than rounding. */
export function deviations(own: Results, wanted: Results): Deviation[] {
  return Object.entries(wanted).flatMap(([what, values]) => {
    const error = relativeError(own[what]!, values)
    if (error <= tolerance) return []
    return [{ what, error: Number.isFinite(error) ? error : null }]
  })
}

/** Length of the difference as a share of the wanted vector's; infinite where only one side is a number. */
function relativeError(own: Float32Array, wanted: Float32Array): number {
  let [error, length] = [0, 0]
  for (const [i, x] of wanted.entries()) {
    if (!Object.is(own[i], x)) error += (own[i]! - x) ** 2
    if (Number.isFinite(x)) length += x ** 2
  }
  if (Number.isNaN(error)) return Number.POSITIVE_INFINITY
  return error === 0 ? 0 : Math.sqrt(error / length)
}
