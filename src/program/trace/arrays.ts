import { GradpromptError } from '../../errors.js'
import { Origin } from './origin.js'

/**
 * What is allocated while a function is traced. TF.js makes real arrays for `zeros`, `ones` and `eye`, in its own gradients too, and a
 * trace at the largest sizes of a range would need gigabytes for numbers that nothing reads. These functions are called from within TF.js,
 * where nothing can be put in their place; but whatever they make comes from a global constructor. So while a trace runs, the
 * constructors of typed arrays ask who calls. For TF.js's own uniform and identity matrices they return an array of one element, which
 * stands for all; any other array is made as asked, as long as it is not unreasonably large.
 *
 * A trace is synchronous, so that no other code sees these constructors. This file knows nothing of tensors.
 */

/** What an array of one element stands for: as many of that element as the shape says, or ones on a diagonal of zeros. */
export type Standing = 'uniform' | 'identity'

/** Bytes in one array that is made while a function is traced. */
const LARGEST = 64 * 2 ** 20

const NAMES = ['Float32Array', 'Int32Array', 'Uint8Array'] as const
type Constructor = Float32ArrayConstructor | Int32ArrayConstructor | Uint8ArrayConstructor

/** A function's name in a stack; a bundler may have numbered it. */
const named = (name: string) => new RegExp(`^${name}[$_]?\\d*$`)

/**
 * TF.js's functions that fill an array with one number, and the ones that allocate it for them, by their names in a stack from the innermost
 * on. Where these names are not to be found (in a program whose bundler shortened them), all arrays are real ones.
 */
const STANDING: readonly (readonly [callers: readonly RegExp[], standing: Standing])[] = [
  [['makeZerosTypedArray', 'zeros'].map(named), 'uniform'],
  [['makeZerosTypedArray', 'makeOnesTypedArray', 'ones'].map(named), 'uniform'],
  [['getArrayFromDType', 'TensorBuffer', 'buffer', 'eye_'].map(named), 'identity'],
]
const DEPTH = Math.max(...STANDING.map(([callers]) => callers.length))

/** Runs `run` with constructors that note in `standing` what the arrays that they return stand for. */
export function withStandingArrays<T>(standing: WeakMap<object, Standing>, run: () => T): T {
  const before = NAMES.map(name => globalThis[name])
  const scope = globalThis as unknown as Record<string, Constructor>
  for (const [i, name] of NAMES.entries()) scope[name] = watched(before[i]!, standing)
  try {
    return run()
  } finally {
    for (const [i, name] of NAMES.entries()) scope[name] = before[i]!
  }
}

function watched(Typed: Constructor, standing: WeakMap<object, Standing>): Constructor {
  const handler = {
    construct(_: Constructor, given: readonly unknown[], target: new () => object): object {
      const [first] = given
      if (typeof first === 'number') {
        const kind = standingOf(callers(handler.construct))
        if (kind) {
          const one = new Typed(1)
          standing.set(one, kind)
          return one
        }
      }
      const length = typeof first === 'number' ? first : ((first as { length?: number } | undefined)?.length ?? 0)
      if (length * Typed.BYTES_PER_ELEMENT > LARGEST) throw tooLarge(length * Typed.BYTES_PER_ELEMENT)
      return Reflect.construct(Typed, given, target) as object
    },
  }
  return new Proxy(Typed, handler)
}

/** The functions from which `inner` was called, the innermost first. */
function callers(inner: (...given: never[]) => unknown): NodeJS.CallSite[] {
  const { prepareStackTrace, stackTraceLimit } = Error
  const holder: { stack?: unknown } = {}
  Error.prepareStackTrace = (_, sites) => sites
  Error.stackTraceLimit = DEPTH
  try {
    Error.captureStackTrace(holder, inner)
    return holder.stack as NodeJS.CallSite[]
  } finally {
    Error.stackTraceLimit = stackTraceLimit
    // An absent one is put back as absent: Node takes another way then.
    if (prepareStackTrace) Error.prepareStackTrace = prepareStackTrace
    else Reflect.deleteProperty(Error, 'prepareStackTrace')
  }
}

function standingOf(sites: readonly NodeJS.CallSite[]): Standing | undefined {
  const file = sites[0]?.getFileName()
  const found = STANDING.find(([names]) =>
    names.every((name, i) => name.test(sites[i]?.getFunctionName() ?? '') && sites[i]!.getFileName() === file),
  )
  return found?.[1]
}

function tooLarge(bytes: number): GradpromptError {
  const origin = new Origin()
  const operation = origin.operation()
  return new GradpromptError('array-too-large', 'An array was made by size while the function was traced', {
    found: `${(bytes / 2 ** 20).toFixed(0)} MiB ${operation ? `in ${operation} ` : ''}at ${origin.describe()}`,
    expected: `arrays of ${LARGEST / 2 ** 20} MiB at the most, at the largest sizes of the declared ranges too`,
    hint: 'make it of tensors (tf.fill, tf.range, tf.oneHot, comparisons), make it once outside the function, or pass it as an input',
  })
}
