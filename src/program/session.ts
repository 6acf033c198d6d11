import { existsSync } from 'node:fs'
import type * as ort from 'onnxruntime-node'
import { GradpromptError } from '../errors.js'
import { ownCommand } from '../own-command.js'
import { type Device, defaultDevice, deviceNumber, deviceProfile } from './devices.js'
import type { TypedArray } from './runtime/messages.js'
import { onnxRuntime } from './runtime/onnx-runtime.js'

/** The only file that knows ONNX Runtime; `runtime/onnx-runtime.ts` loads it. */

export type { TypedArray }

export interface SessionOptions {
  readonly device: Device
  readonly threads: number
  /** Keep packed copies of the weights: faster for a few rows, more memory, slower to open. */
  readonly pack?: boolean
  /** ONNX Runtime's own graph optimisations. Programs of models are lowered to what these would arrive at, and open twice as fast without. */
  readonly optimize?: boolean
  /** Writes a profile of every run to this file prefix when the session is released. */
  readonly profile?: string
}

/** The devices that the installed ONNX Runtime was built for. */
export function supportedDevices(): { name: string; bundled: boolean }[] {
  return onnxRuntime().listSupportedBackends()
}

const DTYPE = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, bool: Uint8Array, uint8: Uint8Array } as const

/** Of WebGPU's adapters some have no numbers of 16 bits, which shows when a program is run. */
const withoutHalf = (cause: unknown) =>
  new GradpromptError('device-unavailable', 'This graphics adapter computes no fp16', {
    found: 'an adapter without the feature shader-f16',
    expected: 'fp32',
    hint: `leave --precision out; \`${ownCommand`doctor`}\` says what each device has`,
    cause,
  })

/** A compiled model, ready to run. */
export class Session {
  readonly #session: ort.InferenceSession
  readonly #inputTypes: ReadonlyMap<string, keyof typeof DTYPE>
  readonly #running = new Set<Promise<unknown>>()
  #released: Promise<void> | undefined

  private constructor(session: ort.InferenceSession, inputTypes: ReadonlyMap<string, keyof typeof DTYPE>) {
    this.#session = session
    this.#inputTypes = inputTypes
  }

  /** @throws GradpromptError `device-unavailable`, `session-failed` */
  static async open(path: string, options: SessionOptions): Promise<Session> {
    if (!existsSync(path))
      throw new GradpromptError('file-not-found', `The compiled program is not there: ${path}`, { exitCode: 1 })
    const { providers, opensAsWritten, alwaysThere, libraries } = deviceProfile(options.device)
    const number = deviceNumber(options.device)
    const { InferenceSession } = onnxRuntime()
    try {
      const session = await InferenceSession.create(path, {
        executionProviders: providers.map(name => (number === undefined ? name : { name, deviceId: number })),
        intraOpNumThreads: options.threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        graphOptimizationLevel: opensAsWritten && options.optimize === false ? 'disabled' : 'all',
        // Sizes differ from run to run, so a memory pattern remembered for one shape serves no other.
        enableMemPattern: false,
        logSeverityLevel: 3,
        ...(options.profile ? { enableProfiling: true, profileFilePrefix: options.profile } : {}),
        // Numbers that are no longer normal cost a hundred times as much. ONNX Runtime also sets this for the thread that calls it, whose own
        // numbers below 2^-1022 are zero from then on.
        extra: { session: { disable_prepacking: options.pack ? '0' : '1', set_denormal_as_zero: '1', force_spinning_stop: '1' } },
      })
      const types = new Map(session.inputMetadata.map(meta => [meta.name, (meta as { type: keyof typeof DTYPE }).type]))
      return new Session(session, types)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      if (!alwaysThere) {
        const tried = `\`${ownCommand`doctor`}\` tries each of them; --device ${defaultDevice} always works`
        const command = libraries?.[process.platform]
        throw new GradpromptError('device-unavailable', `The device ${options.device} cannot be used`, {
          found: reason.split('\n')[0]!,
          expected: `a device of this machine (ONNX Runtime was built for ${supportedDevices()
            .map(({ name }) => name)
            .join(', ')})`,
          hint:
            command === undefined
              ? tried
              : `${tried}. The libraries of ${options.device} are not in npm packages: \`${command}\` downloads them`,
          cause,
        })
      }
      throw refusedProgram(reason, cause)
    }
  }

  /**
   * Runs the program. Typed arrays in and out, by name.
   *
   * @param shapes the shape of each input
   * @throws GradpromptError `disposed`, `run-failed`, `memory-exhausted`
   */
  async run(
    inputs: Readonly<Record<string, TypedArray>>,
    shapes: Readonly<Record<string, readonly number[]>>,
  ): Promise<Record<string, { data: TypedArray; shape: readonly number[] }>> {
    if (this.#released) throw new GradpromptError('disposed', 'A session was run after it was released', { exitCode: 1 })
    const { Tensor } = onnxRuntime()
    const feeds: Record<string, ort.Tensor> = {}
    for (const [name, data] of Object.entries(inputs)) {
      const type = this.#inputTypes.get(name)
      if (type) feeds[name] = new Tensor(type as 'float32', data as Float32Array, shapes[name] as number[])
    }
    const running = this.#session.run(feeds)
    this.#running.add(running)
    let results: ort.InferenceSession.OnnxValueMapType
    try {
      results = await running
    } catch (cause) {
      if (/requires f16/.test(String(cause))) throw withoutHalf(cause)
      const found = cause instanceof Error ? cause.message : String(cause)
      const code = /out of memory|allocate memory|bad.?alloc/i.test(found) ? 'memory-exhausted' : 'run-failed'
      throw new GradpromptError(code, 'ONNX Runtime failed while running a program', {
        found,
        hint:
          code === 'run-failed'
            ? /out of (data )?bounds|invalid ind(ex|ice)/i.test(found)
              ? 'an index lies outside its tensor: below 0, or not below its size'
              : 'a run of a device that was lost goes on where one is, from its checkpoint'
            : 'set a smaller --train.batch-size or a smaller memory budget',
        exitCode: 1,
        cause,
      })
    } finally {
      this.#running.delete(running)
    }
    return Object.fromEntries(
      Object.entries(results).map(([name, value]) => {
        const tensor = value as ort.Tensor
        return [name.replace(/:out$/, ''), { data: tensor.data as TypedArray, shape: tensor.dims }]
      }),
    )
  }

  /** Frees the session once what runs has ended. A second call waits for the first one. */
  release(): Promise<void> {
    this.#released ??= Promise.allSettled([...this.#running]).then(() => this.#session.release())
    return this.#released
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }
}

/** @param reason what ONNX Runtime says */
export const refusedProgram = (reason: string, cause?: unknown): GradpromptError =>
  new GradpromptError('session-failed', 'ONNX Runtime refused a compiled program', {
    found: reason,
    // The weights stand beside the program: somebody has taken them out of the cache since it was opened.
    ...(/external data path does not exist/i.test(reason) && {
      hint: 'the cache was emptied while it was in use: the same command again makes it anew (a run is resumed)',
    }),
    exitCode: 1,
    cause,
  })
