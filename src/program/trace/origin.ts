import { fileURLToPath } from 'node:url'
import { framesOf, lineIn } from '../../stack-lines.js'

/** Where in somebody's function a call was made: what errors of the compiler name. It knows stacks, and nothing of tensors. */

/** Where the compiler's and the kernels' own frames lie, as stacks name them. */
const OWN_FOLDERS = ['../', '../../../kernels/'].flatMap(folder => {
  const { href } = new URL(folder, import.meta.url)
  return [href, fileURLToPath(href)]
})

const TENSORFLOW = /node_modules[\\/]@tensorflow/
const RANDOM = /^(random(Normal|Uniform|UniformInt|StandardNormal|Gamma)|truncatedNormal|multinomial|dropout|rand)$/

/** The call that made a node. */
export class Origin {
  readonly #holder: { stack?: string } = {}

  /** @param stack of an error; by default of this call */
  constructor(stack?: string) {
    if (stack !== undefined) {
      this.#holder.stack = stack
      return
    }
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 50
    Error.captureStackTrace(this.#holder, Origin)
    Error.stackTraceLimit = limit
  }

  /** The first frame outside TF.js and this package's compiler and kernels: the line of the user's function. */
  describe(): string {
    const isNotTheirs = (frame: string) => TENSORFLOW.test(frame) || OWN_FOLDERS.some(folder => frame.includes(folder))
    return lineIn(this.#frames(), isNotTheirs) ?? 'an unknown line'
  }

  /** Name of the TF.js operation that the function called; nothing where it called none. */
  operation(): string | undefined {
    let name: string | undefined
    for (const frame of this.#frames()) {
      if (OWN_FOLDERS.some(folder => frame.includes(folder)) || frame.includes('<anonymous>')) continue
      if (!TENSORFLOW.test(frame)) break
      name = operationOf(frame) ?? name
    }
    return name
  }

  /** Whether TF.js drew random numbers to make this value. */
  drawsRandomNumbers(): boolean {
    return this.#frames().some(frame => TENSORFLOW.test(frame) && RANDOM.test(operationOf(frame) ?? ''))
  }

  #frames(): string[] {
    return framesOf(this.#holder.stack)
  }
}

/** A function of TF.js that stands in a stack; an operation's own ends in an underscore there. */
function operationOf(frame: string): string | undefined {
  const [, name] = /^at (?:new )?(?:\w+\.)*(\w+) /.exec(frame) ?? []
  return name?.endsWith('__op') ? undefined : name?.replace(/_$/, '')
}
