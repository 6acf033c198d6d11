import { disposedError } from '../errors.js'
import type { Device } from './devices.js'
import { type CompileOptions, Program, type ProgramSpec } from './program.js'
import { memoryKey, type ProgramOrigin } from './program-key.js'
import { DeviceProcesses } from './runtime/device-processes.js'

/** A program that is asked for by what makes it; the rest of its specification is written when it is not open yet. */
export interface ProgramRequest {
  readonly name: string
  readonly origin: ProgramOrigin
  readonly spec: () => Omit<ProgramSpec, 'name' | 'origin'>
  /** Keep packed copies of its weights. */
  readonly pack?: boolean
}

/** The whole specification of what is asked for. */
export const specOf = ({ name, origin, spec }: ProgramRequest): ProgramSpec => ({ ...spec(), name, origin })

/**
 * Programs that are open at a time. A run asks for a handful; a sweep over methods asks one model for as many as it has trials, each with
 * its own buffers and its own mapping of the weights.
 */
const OPEN = 24

/**
 * Programs that stay open for one owner, compiled when they are first asked for; those that were not asked for lately rest. What they
 * compute is unknown here.
 */
export class OpenPrograms {
  readonly #programs = new Map<string, Promise<Program>>()
  readonly #options: Pick<CompileOptions, 'device' | 'threads' | 'elsewhere'>
  readonly #elsewhere: DeviceProcesses | undefined
  readonly #owner: string
  #isDisposed = false

  /**
   * @param owner what a message says was disposed of
   * @param further devices that run what is asked for at once
   */
  constructor({ device, threads }: Pick<CompileOptions, 'device' | 'threads'>, owner: string, further: readonly Device[] = []) {
    this.#owner = owner
    this.#elsewhere = further.length > 0 ? new DeviceProcesses(further) : undefined
    this.#options = {
      ...(device !== undefined && { device }),
      ...(threads !== undefined && { threads }),
      ...(this.#elsewhere && { elsewhere: this.#elsewhere }),
    }
  }

  /** How many runs may as well be asked for at once (`inOrder`). */
  get atOnce(): number {
    return this.#elsewhere?.atOnce ?? 1
  }

  /** @throws GradpromptError `disposed`, and whatever compiling throws; a failed program is compiled anew the next time */
  open(request: ProgramRequest): Promise<Program> {
    this.refuseDisposed()
    const key = memoryKey(request.name, request.origin)
    const known = this.#programs.get(key)
    if (known) {
      this.#programs.delete(key)
      this.#programs.set(key, known)
      return known
    }
    const { pack } = request
    const made = Program.compile(specOf(request), { ...this.#options, ...(pack !== undefined && { pack }) })
    this.#programs.set(key, made)
    made.catch(() => this.#programs.delete(key))
    this.#restOthers()
    return made
  }

  #restOthers(): void {
    const idle = [...this.#programs.values()].slice(0, -OPEN)
    // One that failed was told to whoever asked for it.
    for (const program of idle) program.then(opened => opened.rest()).catch(() => {})
  }

  /** @throws GradpromptError `disposed` */
  refuseDisposed(): void {
    if (this.#isDisposed) throw disposedError(this.#owner)
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true
    const programs = await Promise.allSettled(this.#programs.values())
    this.#programs.clear()
    for (const program of programs) if (program.status === 'fulfilled') await program.value.dispose()
    this.#elsewhere?.dispose()
  }
}
