/**
 * Where programs can run: a profile a device. Everything that differs between devices is read from here, so that no other file names
 * one: which operators a program may use, how ONNX Runtime is asked for it, whether whole numbers are multiplied there. It imports
 * names alone, so that options and help know the devices without loading a runtime.
 */

import { GradpromptError } from '../errors.js'
import type { HalfArithmetic, HalfPrecision } from './precision.js'

export interface DeviceProfile {
  readonly name: string
  /** Node's names of the systems that it can be on. */
  readonly platforms: readonly NodeJS.Platform[]
  /** ONNX Runtime's execution providers, the preferred first. */
  readonly providers: readonly string[]
  /** Operators of ONNX Runtime's own, beside those of the standard, that its provider computes. */
  readonly operators: ReadonlySet<string>
  /** Functions of the standard that its provider computes with few digits: programs compute them in double precision, on the host. */
  readonly coarse: ReadonlySet<string>
  /**
   * Programs with weights are lowered to what ONNX Runtime's optimiser would arrive at for this device, so that opening them can do
   * without it.
   */
  readonly opensAsWritten: boolean
  /** Products of whole numbers may pay here: whether they lose bits is the processor's to say (`multipliesBytes`). */
  readonly multipliesIntegers: boolean
  /** Half precisions that programs may be in, and how their products are computed. An adapter may lack what its device has. */
  readonly halves: { readonly [Precision in HalfPrecision]?: HalfArithmetic }
  /** A machine may have several, told apart by a number: `cuda:1`. */
  readonly numbered: boolean
  /** It is there wherever ONNX Runtime is. */
  readonly alwaysThere: boolean
  /** The command that brings libraries of its provider which no npm package holds, on the systems where there is one. */
  readonly libraries?: { readonly [system in NodeJS.Platform]?: string }
}

const everywhere: readonly NodeJS.Platform[] = ['linux', 'darwin', 'win32']

/** A device that programs reach by the operators of the standard alone. */
const plain = {
  operators: new Set<string>(),
  coarse: new Set<string>(),
  opensAsWritten: false,
  multipliesIntegers: false,
  halves: {},
  numbered: false,
  alwaysThere: false,
}

/**
 * What graphics processors have in their own instructions: sines and cosines are off by 2e-4, the others by as much near zero. Measured by
 * `test/program/operations.test.ts` with `GRADPROMPT_TEST_DEVICE=webgpu`; everything else that it has agrees to 1e-5.
 */
const graphics = { coarse: new Set(['Sin', 'Cos', 'Tan', 'Acos', 'Asinh', 'Atanh', 'Expm1', 'Log1p']) }

const profiles = [
  {
    name: 'cpu',
    platforms: everywhere,
    providers: ['cpu'],
    coarse: new Set(),
    operators: new Set(['FusedMatMul', 'MatMulIntegerToFloat', 'MatMulNBits', 'RotaryEmbedding', 'SimplifiedLayerNormalization']),
    opensAsWritten: true,
    multipliesIntegers: true,
    halves: { fp16: 'cast', bf16: 'rounded' },
    numbered: false,
    alwaysThere: true,
  },
  { name: 'webgpu', platforms: everywhere, providers: ['webgpu'], ...plain, ...graphics, halves: { fp16: 'own' } },
  {
    name: 'cuda',
    platforms: ['linux', 'win32'],
    providers: ['cuda'],
    ...plain,
    halves: { fp16: 'own', bf16: 'own' },
    numbered: true,
    libraries: { linux: 'node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install' },
  },
  { name: 'dml', platforms: ['win32'], providers: ['dml'], ...plain, ...graphics, halves: { fp16: 'own' }, numbered: true },
  { name: 'coreml', platforms: ['darwin'], providers: ['coreml'], ...plain },
] as const satisfies readonly DeviceProfile[]

export type DeviceName = (typeof profiles)[number]['name']

/** A device, and which of several: `cuda`, `cuda:1`. */
export type Device = DeviceName | `${DeviceName}:${number}`

/** A device, several with commas between them (`cuda:0,cuda:1`), or the choice left to what this machine turns out to have. */
export type DeviceChoice = Device | 'auto' | `${Device},${string}`

export const deviceNames: readonly DeviceName[] = profiles.map(({ name }) => name)

/** Where everything runs that says nothing else. */
export const defaultDevice: Device = 'cpu'

/** What may be chosen, in words. */
export const deviceWords: readonly string[] = [
  'auto',
  ...profiles.map(({ name, numbered }: DeviceProfile) => (numbered ? `${name}[:n]` : name)),
]

const byName = new Map<string, DeviceProfile>(profiles.map(profile => [profile.name, profile]))

export const isDevice = (text: unknown): text is Device => typeof text === 'string' && onePattern.test(text)

/** A device as it was named: its profile, and its number where one was given. */
function parsed(device: Device): { profile: DeviceProfile; number: number | undefined } {
  const [name, number] = device.split(':') as [DeviceName, string | undefined]
  return { profile: byName.get(name)!, number: number === undefined ? undefined : Number(number) }
}

const one = `(${profiles.map(({ name, numbered }: DeviceProfile) => (numbered ? `${name}(:\\d{1,2})?` : name)).join('|')})`
const onePattern = new RegExp(`^${one}$`)

/** What a choice looks like. */
export const devicePattern = new RegExp(`^(auto|${one}(,${one})*)$`)

export const isDeviceChoice = (text: unknown): text is DeviceChoice => typeof text === 'string' && devicePattern.test(text)

/**
 * The devices of a choice, in its order.
 * @throws GradpromptError `invalid-option` where they are of several kinds: programs are made for one, and so are their bits
 */
export function devicesOf(choice: Exclude<DeviceChoice, 'auto'>): readonly [Device, ...Device[]] {
  const devices = choice.split(',') as [Device, ...Device[]]
  const kinds = new Set(devices.map(device => deviceProfile(device).name))
  if (kinds.size === 1) return devices
  throw new GradpromptError('invalid-option', 'A model runs on devices of one kind', {
    found: choice,
    expected: `${devices[0]} and others like it`,
    hint: 'a sweep uses devices of several kinds: gradprompt sweep CONFIG --devices',
  })
}

export const deviceProfile = (device: Device): DeviceProfile => parsed(device).profile

/** Which of several; undefined: the one that its provider takes first. */
export const deviceNumber = (device: Device): number | undefined => parsed(device).number
