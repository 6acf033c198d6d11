/**
 * Where programs can run: a profile a device. Everything that differs between devices is read from here, so that no other file names
 * one: which operators a program may use, how ONNX Runtime is asked for it, whether whole numbers are multiplied there. It imports
 * nothing, so that options and help know the names without loading a runtime.
 */

export interface DeviceProfile {
  readonly name: string
  /** Node's names of the systems that it can be on. */
  readonly platforms: readonly NodeJS.Platform[]
  /** ONNX Runtime's execution providers, the preferred first. */
  readonly providers: readonly string[]
  /** Operators of ONNX Runtime's own, beside those of the standard, that its provider computes. */
  readonly operators: ReadonlySet<string>
  /**
   * Programs with weights are lowered to what ONNX Runtime's optimiser would arrive at for this device, so that opening them can do
   * without it.
   */
  readonly opensAsWritten: boolean
  /** Products of whole numbers may pay here: whether they lose bits is the processor's to say (`multipliesBytes`). */
  readonly multipliesIntegers: boolean
  /** It is there wherever ONNX Runtime is. */
  readonly alwaysThere: boolean
  /** The command that brings libraries of its provider which no npm package holds, on the systems where there is one. */
  readonly libraries?: { readonly [system in NodeJS.Platform]?: string }
}

const everywhere: readonly NodeJS.Platform[] = ['linux', 'darwin', 'win32']

/** A device that programs reach by the operators of the standard alone. */
const plain = {
  operators: new Set<string>(),
  opensAsWritten: false,
  multipliesIntegers: false,
  alwaysThere: false,
}

const profiles = [
  {
    name: 'cpu',
    platforms: everywhere,
    providers: ['cpu'],
    operators: new Set(['FusedMatMul', 'MatMulIntegerToFloat', 'MatMulNBits', 'RotaryEmbedding', 'SimplifiedLayerNormalization']),
    opensAsWritten: true,
    multipliesIntegers: true,
    alwaysThere: true,
  },
  { name: 'webgpu', platforms: everywhere, providers: ['webgpu'], ...plain },
  {
    name: 'cuda',
    platforms: ['linux', 'win32'],
    providers: ['cuda'],
    ...plain,
    libraries: { linux: 'node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install' },
  },
  { name: 'dml', platforms: ['win32'], providers: ['dml'], ...plain },
  { name: 'coreml', platforms: ['darwin'], providers: ['coreml'], ...plain },
] as const satisfies readonly DeviceProfile[]

export type Device = (typeof profiles)[number]['name']

export const deviceNames: readonly Device[] = profiles.map(({ name }) => name)

/** Where everything runs that says nothing else. */
export const defaultDevice: Device = 'cpu'

const byName = new Map<string, DeviceProfile>(profiles.map(profile => [profile.name, profile]))

export const deviceProfile = (name: Device): DeviceProfile => byName.get(name)!
