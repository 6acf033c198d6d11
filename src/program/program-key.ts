import { cpus } from 'node:os'
import { codeOf, installedVersion } from '../code-identity.js'
import { hashOf } from './cache.js'

/**
 * By what programs are told apart: in memory by the functions that compute them, in the cache by those functions' code, and in both by
 * the options that they read. Whoever asks for a program says what makes it; neither a model nor a method is known here.
 */

/** What makes a program's tensor code what it is. */
export interface ProgramOrigin {
  /** `import.meta.url` of the module that writes the tensor code. */
  readonly module: string
  /**
   * Objects whose functions it calls: a model's family, a method, losses. Where each is declared (`declareCode`), the program is found in
   * the cache without tracing; otherwise it is traced whenever it is opened, and its graph is its key.
   */
  readonly parts: readonly (object | undefined)[]
  /** All that the code depends on besides: plain JSON. */
  readonly options: unknown
}

const identities = new WeakMap<object, number>()
let count = 0

/** By which a process knows an object: a copy is another. */
function identityOf(part: object | undefined): number {
  if (part === undefined) return 0
  const known = identities.get(part) ?? ++count
  identities.set(part, known)
  return known
}

/** Tells programs apart that one owner has open. */
export const memoryKey = (name: string, { module, parts, options }: ProgramOrigin): string =>
  JSON.stringify([name, module, parts.map(identityOf), options])

/** Tells programs apart across processes. @returns undefined where the code of a part is not known */
export function cacheKey({ module, parts, options }: ProgramOrigin): string | undefined {
  const code = codeOf(
    module,
    parts.filter(part => part !== undefined),
  )
  return code && hashOf(code, options, toolchain())
}

let known: string | undefined

/** What a program depends on beyond what it computes: the compiler, the versions of ONNX Runtime and TF.js, and the processor. */
function toolchain(): string {
  known ??= hashOf(
    codeOf(new URL('./program.js', import.meta.url).href) ?? performance.timeOrigin,
    installedVersion('onnxruntime-node'),
    installedVersion('@tensorflow/tfjs'),
    process.arch,
    process.platform,
    cpus()[0]?.model,
  )
  return known
}
