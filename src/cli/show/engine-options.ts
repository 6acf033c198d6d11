import { GradpromptError, unknownName } from '../../errors.js'
import type { RunCodeOptions } from '../../evaluate/sandbox/running.js'
import type { Products } from '../../generate/programs.js'
import { weightChoices } from '../../generate/width.js'
import { type DeviceChoice, deviceWords, isDeviceChoice } from '../../program/devices.js'
import { keepingChoices } from '../../program/keeping.js'
import { precisions } from '../../program/precision.js'
import type { EngineRequest } from '../computing/messages.js'
import type { OptionValues } from '../terminal/command.js'

/** The options that `generate` and `serve` have in common. @throws GradpromptError `invalid-option` */
export function engineRequest(options: OptionValues): EngineRequest {
  return {
    ...machineRequest(options),
    weights: oneOf(options, 'weights', weightChoices),
    batchSize: inRange(options, 'batch-size', { least: 1 }),
    promptLookup: options['no-prompt-lookup'] !== true,
  }
}

/** A model, and how it is opened. @throws GradpromptError `invalid-option` */
export function machineRequest(
  options: OptionValues,
): Pick<EngineRequest, 'model' | 'families' | 'device' | 'threads' | 'memory' | 'keepWeights' | 'precision'> {
  return {
    model: options.model as string | undefined,
    families: options.family as readonly string[] | undefined,
    device: chosenDevice(options),
    threads: inRange(options, 'threads', { least: 1 }),
    memory: inRange(options, 'memory', { above: 0 }),
    keepWeights: oneOf(options, 'keep-weights', keepingChoices),
    precision: oneOf(options, 'precision', precisions),
  }
}

/** The arithmetic of answers, in words. */
export const arithmetic = (weights: Products): string =>
  weights === 'fp32' ? 'exact arithmetic (fp32)' : weights === 'stored' ? 'products in 8 bits or less' : `products in ${weights}`

/** What is said where `auto` has not come to exact arithmetic. */
export const inexactNote =
  'exact arithmetic does not fit comfortably into the memory, or weights are kept compact: some answers may differ from the exact ones (--weights fp32, --memory)'

/** One of a few words. @throws GradpromptError `invalid-option` */
export function oneOf<Word extends string>(options: OptionValues, name: string, words: readonly Word[]): Word | undefined {
  const given = options[name]
  if (given === undefined) return undefined
  const found = words.find(word => word === given)
  if (found !== undefined) return found
  throw unknownName('invalid-option', `--${name} is not valid`, String(given), words)
}

/** @throws GradpromptError `invalid-option` */
export function chosenDevice({ device }: OptionValues): DeviceChoice | undefined {
  if (device === undefined || isDeviceChoice(device)) return device
  throw unknownName('invalid-option', '--device is not valid', String(device), deviceWords)
}

/** A device for each of several processes. @throws GradpromptError `invalid-option` */
export function chosenDevices({ devices, workers, device }: OptionValues): readonly DeviceChoice[] | undefined {
  if (devices === undefined) return undefined
  const other = workers !== undefined ? `--workers ${workers}` : device !== undefined ? `--device ${device}` : undefined
  if (other !== undefined)
    throw new GradpromptError('invalid-option', '--devices is a process for each device', {
      found: `--devices ${devices} and ${other}`,
      expected: '--devices alone',
      hint: 'name a device twice for two processes on it',
    })
  const names = String(devices)
    .split(',')
    .map(name => name.trim())
  return names.map(name => {
    if (isDeviceChoice(name)) return name
    throw unknownName('invalid-option', '--devices is not valid', name, deviceWords)
  })
}

/** A number of the command line within its limits. @throws GradpromptError `invalid-option` */
export function inRange(
  options: OptionValues,
  name: string,
  {
    least = Number.NEGATIVE_INFINITY,
    above = Number.NEGATIVE_INFINITY,
    below = Number.POSITIVE_INFINITY,
    most = Number.POSITIVE_INFINITY,
  }: Limits,
): number | undefined {
  const value = options[name] as number | undefined
  if (value === undefined || (value >= least && value > above && value < below && value <= most)) return value
  const lower = Number.isFinite(least) ? [`at least ${least}`] : Number.isFinite(above) ? [`more than ${above}`] : []
  const upper = Number.isFinite(most) ? [`at most ${most}`] : Number.isFinite(below) ? [`less than ${below}`] : []
  throw new GradpromptError('invalid-option', `--${name} is not valid`, {
    found: String(value),
    expected: [...lower, ...upper].join(', '),
  })
}

interface Limits {
  readonly least?: number
  readonly above?: number
  readonly below?: number
  readonly most?: number
}

/** Whether and how code of answers is run, as flags say it. */

export const runningNames = ['allow-running-code', 'interpreter', 'program-seconds', 'program-memory']

export const readRunning = (options: OptionValues): RunCodeOptions => ({
  allowRunningCode: options['allow-running-code'] === true || undefined,
  interpreter: options.interpreter as string | undefined,
  programSeconds: options['program-seconds'] as number | undefined,
  programMemory: options['program-memory'] as number | undefined,
})
