import { join } from 'node:path'
import { installedVersion } from '../../code-identity.js'
import { unknownName } from '../../errors.js'
import { cacheFolder, hashOf, readSealedText, writeSealedText } from '../../program/cache.js'
import {
  type Device,
  type DeviceChoice,
  defaultDevice,
  deviceNames,
  deviceProfile,
  devicesOf,
  deviceWords,
  isDeviceChoice,
} from '../../program/devices.js'
import { defaultThreads } from '../../program/program.js'
import { adapters, freeMemory } from './adapters.js'
import { type Trial, type TrialOutcome, tryDevice } from './isolated-trial.js'

/**
 * What `auto` comes to: of the devices that compute rightly and have room for the weights the fastest, where one is faster than the
 * processor. Trials take seconds, so they are kept with the cache for as long as the machine says the same of itself.
 */

/** Trials are done anew after so many days: drivers are updated, and not every system says so. */
const mostDays = 30

/** A device of this machine, and what came of its trial. */
export interface Tried {
  readonly device: Device
  readonly outcome: TrialOutcome
  /** Free bytes of its own memory, where they are known. */
  readonly free?: number | undefined
}

/**
 * The devices to use, of one kind.
 *
 * @param needed bytes that the weights take
 * @returns of `auto` the processor where no other device will do; which it is is a warning of the process, `device-chosen`
 * @throws GradpromptError `invalid-option`
 */
export async function chooseDevices(choice: DeviceChoice, needed: number): Promise<readonly [Device, ...Device[]]> {
  if (!isDeviceChoice(choice)) throw unknownName('invalid-option', 'device is not valid', String(choice), deviceWords)
  if (choice !== 'auto') return devicesOf(choice)
  const { device, why } = best(await triedDevices(), needed)
  process.emitWarning(`device: ${device} (${why})`, { type: 'GradpromptWarning', code: 'device-chosen' })
  return [device]
}

/** A thread a core; where several processes compute on one processor, they share its cores. */
export const threadsOf = (devices: readonly Device[]): number =>
  Math.max(1, Math.floor(defaultThreads() / devices.filter(device => device === devices[0]).length))

/** The fastest of the devices that will do, and the reason in words. */
export function best(tried: readonly Tried[], needed: number): { device: Device; why: string } {
  const reasons: string[] = []
  const usable = tried.flatMap(({ device, outcome, free }): { device: Device; rate: number }[] => {
    const reason = refusal(outcome, free, needed)
    if (reason === undefined) return [{ device, rate: (outcome as { trial: Trial }).trial.productRate }]
    reasons.push(`${device} ${reason}`)
    return []
  })
  const [fastest] = usable.sort((a, b) => b.rate - a.rate)
  if (fastest === undefined || fastest.device === defaultDevice) {
    const slower = usable.slice(1).map(({ device }) => `${device} is slower here`)
    return { device: defaultDevice, why: [...slower, ...reasons].join('; ') || 'nothing else is here' }
  }
  const processor = usable.find(({ device }) => device === defaultDevice)
  const times = processor ? `, ${(fastest.rate / processor.rate).toFixed(1)} times the processor's speed on products` : ''
  const unknown = tried.find(({ device }) => device === fastest.device)!.free === undefined
  const memory = unknown ? '; how much memory it has is not known, so nothing was held against it' : ''
  return { device: fastest.device, why: `it computes as the processor does${times}${memory}` }
}

function refusal(outcome: TrialOutcome, free: number | undefined, needed: number): string | undefined {
  if ('reason' in outcome) return 'cannot be used (gradprompt doctor says why)'
  const [worst] = outcome.trial.deviations
  if (worst) return `computes wrongly (${worst.what})`
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  // Steps take memory beside the weights: at least a fifth of what those take.
  if (free !== undefined && free < 1.2 * needed) return `has ${gigabytes(free)} free where ${gigabytes(1.2 * needed)} are needed`
  return undefined
}

/** Every device that this system may have, tried or remembered. */
async function triedDevices(): Promise<Tried[]> {
  const found = await adapters()
  const here = {
    versions: installedVersion('onnxruntime-node'),
    platform: process.platform,
    drivers: process.env.VK_ICD_FILENAMES,
  }
  const key = hashOf(
    here,
    found.map(({ free: _, ...adapter }) => adapter),
  )
  const path = join(cacheFolder(), 'programs', `devices-${key}.json`)
  const names = deviceNames.filter(name => deviceProfile(name).platforms.includes(process.platform))
  const kept = remembered(path)
  const outcomes: (readonly [Device, TrialOutcome])[] = kept ?? []
  if (!kept) {
    // One after the other, as each is timed.
    for (const name of names) outcomes.push([name, await tryDevice(name)])
    // What took too long on a busy machine may not at another time.
    if (outcomes.every(([, outcome]) => !('tooLong' in outcome)))
      writeSealedText(path, JSON.stringify({ time: Date.now(), outcomes }))
  }
  return outcomes.map(([device, outcome]) => ({ device, outcome, free: freeMemory(device, found) }))
}

function remembered(path: string): [Device, TrialOutcome][] | undefined {
  const text = readSealedText(path)
  if (text === undefined) return undefined
  const { time, outcomes } = JSON.parse(text)
  return Date.now() - time < mostDays * 86_400_000 ? outcomes : undefined
}
