import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { unpackError } from '../../error-message.js'
import { GradpromptError } from '../../errors.js'
import { lastLineOf } from '../../processes.js'
import type { FromDevice, Inputs, Outputs, ProgramOnDisk, Shapes, ToDevice } from './messages.js'

/**
 * Runs of programs on several devices at once. Native calls block the process that makes them, so each device beyond the first has one of
 * its own, which maps the same file of weights. What the programs compute is unknown here; whoever asks for several runs at once takes
 * their results in an order of his own (`in-order.ts`), so that they are the same however many devices there are.
 */

/** Runs that a device has been given beyond the one that it is at: the next is there when one has ended. */
const AHEAD = 1

interface Waiting {
  readonly resolve: (outputs: Outputs) => void
  readonly reject: (error: unknown) => void
}

/** A further device, and the process that it has once something has run there. */
class Place {
  readonly #device: string
  readonly #waiting = new Map<number, Waiting>()
  #child: ChildProcess | undefined
  /** How its process ended. */
  #gone: string | undefined
  #runs = 0

  constructor(device: string) {
    this.#device = device
  }

  get outstanding(): number {
    return this.#waiting.size
  }

  async run({ path, options }: ProgramOnDisk, inputs: Inputs, shapes: Shapes): Promise<Outputs> {
    if (this.#gone !== undefined) throw lost(this.#device, this.#gone)
    const child = this.#started()
    const run = this.#runs++
    return new Promise((resolve, reject) => {
      this.#waiting.set(run, { resolve, reject })
      child.ref()
      child.channel?.ref()
      this.#send(child, { run, program: { path, options: { ...options, device: this.#device } }, inputs, shapes })
    })
  }

  release(path: string): void {
    if (this.#child !== undefined) this.#send(this.#child, { release: path })
  }

  /** Ends the process, and what runs in it. */
  end(): void {
    this.#child?.kill('SIGKILL')
  }

  #send(child: ChildProcess, message: ToDevice): void {
    // One that has just died is noticed when it closes.
    if (child.connected) child.send(message, () => {})
  }

  #started(): ChildProcess {
    if (this.#child !== undefined) return this.#child
    const child = fork(fileURLToPath(new URL('../device-process.js', import.meta.url)), [], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
    })
    this.#child = child
    const lastLine = lastLineOf(child.stderr!)
    child.on('message', (message: FromDevice) => {
      const waiting = this.#waiting.get(message.run)
      this.#waiting.delete(message.run)
      if (this.#waiting.size === 0) rest(child)
      if ('outputs' in message) waiting?.resolve(message.outputs)
      else waiting?.reject(unpackError(message.error))
    })
    const gone = (how: string) => {
      const last = lastLine()
      this.#gone ??= last ? `${how}: ${last}` : how
      for (const { reject } of this.#waiting.values()) reject(lost(this.#device, this.#gone))
      this.#waiting.clear()
    }
    child.on('error', ({ message }) => gone(message))
    child.on('close', (code, signal) => gone(`it ended with ${signal ?? code}`))
    return child
  }
}

/** A process that nothing is asked of keeps nobody waiting for its end. */
function rest(child: ChildProcess): void {
  child.unref()
  child.channel?.unref()
  ;(child.stderr as unknown as { unref?: () => void } | null)?.unref?.()
}

const lost = (device: string, found: string) =>
  new GradpromptError('run-failed', `The process of the device ${device} is gone`, {
    found,
    hint: 'a run of a device that was lost goes on where one is, from its checkpoint',
    exitCode: 1,
  })

/** What runs a program where it was opened. */
interface OpenProgram {
  run(inputs: Inputs, shapes: Shapes): Promise<Outputs>
}

export class DeviceProcesses {
  readonly #places: readonly Place[]
  /** Runs on the first device, which is the caller's own. */
  #own = 0

  /** @param further the devices beyond the first; the same one may be named several times */
  constructor(further: readonly string[]) {
    this.#places = further.map(device => new Place(device))
  }

  /** How many runs may as well be asked for at once. */
  get atOnce(): number {
    return (1 + AHEAD) * (1 + this.#places.length)
  }

  /** Runs a program where least is waiting to be run: where it is open, here, or on the device of another process. */
  async run(opened: OpenProgram, program: ProgramOnDisk, inputs: Inputs, shapes: Shapes): Promise<Outputs> {
    let least: Place | undefined
    for (const place of this.#places) if (place.outstanding < (least?.outstanding ?? this.#own)) least = place
    if (least !== undefined) return least.run(program, inputs, shapes)
    this.#own++
    try {
      return await opened.run(inputs, shapes)
    } finally {
      this.#own--
    }
  }

  /** A program that is not run for a while. */
  release(path: string): void {
    for (const place of this.#places) place.release(path)
  }

  dispose(): void {
    for (const place of this.#places) place.end()
  }
}
