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
  /** Functions of the standard that its provider computes with few digits: programs compute them in double precision, on the host. */
  readonly coarse: ReadonlySet<string>
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
  coarse: new Set<string>(),
  opensAsWritten: false,
  multipliesIntegers: false,
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
    alwaysThere: true,
  },
  { name: 'webgpu', platforms: everywhere, providers: ['webgpu'], ...plain, ...graphics },
  {
    name: 'cuda',
    platforms: ['linux', 'win32'],
    providers: ['cuda'],
    ...plain,
    libraries: { linux: 'node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install' },
  },
  { name: 'dml', platforms: ['win32'], providers: ['dml'], ...plain, ...graphics },
  { name: 'coreml', platforms: ['darwin'], providers: ['coreml'], ...plain },
] as const satisfies readonly DeviceProfile[]

export type Device = (typeof profiles)[number]['name']

export const deviceNames: readonly Device[] = profiles.map(({ name }) => name)

/** Where everything runs that says nothing else. */
export const defaultDevice: Device = 'cpu'

const byName = new Map<string, DeviceProfile>(profiles.map(profile => [profile.name, profile]))

export const deviceProfile = (name: Device): DeviceProfile => byName.get(name)!
