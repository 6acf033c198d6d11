import { createHash } from 'node:crypto'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError, readError, writeError } from '../errors.js'
import { removeFile } from '../files.js'
import { openSafetensors, writeSafetensors } from '../formats/safetensors.js'
import { ownCommand } from '../own-command.js'
import { synchronizeFolder } from './atomic.js'

export interface NamedTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly data: Float32Array
}

/** Everything a run needs to go on from a step to the same bits. */
export interface Checkpoint {
  /** Optimiser steps done. */
  readonly step: number
  /** Parameters, the optimiser's moments, … under names that differ. */
  readonly tensors: readonly NamedTensor[]
  /** Plain JSON: counters, the state of early stopping, the position in the data. */
  readonly state: unknown
  /** The step of the best checkpoint so far; its file is kept. */
  readonly bestStep?: number | undefined
}

const format = 'gradprompt-checkpoint-1'
/** Two, so that one is left when the newest turns out to be corrupt. */
const keptCheckpoints = 2

/** The folder of a run's checkpoints: one safetensors file a step, with a digest of all that it holds. */
export class CheckpointStore {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  path(step: number): string {
    return join(this.folder, `step-${String(step).padStart(6, '0')}.safetensors`)
  }

  /**
   * Writes a checkpoint as a whole, then deletes all but the last two and the best. The tensors are copied before it
   * returns its promise, so training may go on; the next call has to wait for it.
   */
  async write({ step, tensors, state, bestStep }: Checkpoint): Promise<void> {
    const copies = tensors.map(({ name, shape, data }) => ({ name, shape: [...shape], data: data.slice() }))
    const header = {
      format,
      step: String(step),
      ...(bestStep !== undefined && { bestStep: String(bestStep) }),
      state: JSON.stringify(state) ?? 'null',
    }
    // The run's own folder is not made anew: somebody has deleted it.
    await mkdir(this.folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw writeError(error, this.folder)
    })
    await writeSafetensors(this.path(step), copies, { ...header, sha256: digest(header, copies) })
    // Before older ones go.
    await synchronizeFolder(this.folder)
    await this.#keep(bestStep)
  }

  /** @throws GradpromptError `checkpoint-corrupt` when a byte is not what was written. */
  async read(step: number): Promise<Checkpoint> {
    const path = this.path(step)
    try {
      const file = await openSafetensors(path)
      try {
        const { sha256, ...header } = Object.fromEntries(file.metadata)
        const tensors: NamedTensor[] = []
        for (const [name, { shape }] of file.tensors) tensors.push({ name, shape, data: await file.read(name) })
        if (header.format !== format || header.step !== String(step) || sha256 !== digest(header, tensors)) {
          throw new Error('its digest differs')
        }
        return {
          step,
          tensors,
          state: JSON.parse(header.state ?? ''),
          ...(header.bestStep !== undefined && { bestStep: Number(header.bestStep) }),
        }
      } finally {
        await file.close()
      }
    } catch (error) {
      throw new GradpromptError('checkpoint-corrupt', `the checkpoint ${path} cannot be used`, {
        found: error instanceof Error ? error.message : String(error),
        hint: `delete the file; \`${ownCommand`resume RUN`}\` then goes on from the checkpoint before it`,
        exitCode: 1,
        cause: error,
      })
    }
  }

  /** The newest checkpoint that is whole. `onSkipped` hears of each newer one that is not. */
  async latest(onSkipped?: (error: GradpromptError) => void): Promise<Checkpoint | undefined> {
    for (const step of (await this.steps()).reverse()) {
      try {
        return await this.read(step)
      } catch (error) {
        if (!(error instanceof GradpromptError)) throw error
        onSkipped?.(error)
      }
    }
    return undefined
  }

  /** The steps there are files of, upwards. */
  async steps(): Promise<number[]> {
    let names: string[]
    try {
      names = await readdir(this.folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw readError(error, this.folder)
    }
    const steps = names.flatMap(name => {
      const digits = /^step-(\d{6,15})\.safetensors$/.exec(name)?.[1]
      return digits === undefined ? [] : [Number(digits)]
    })
    return steps.sort((a, b) => a - b)
  }

  /** Deletes what is newer than a step. */
  async discardAfter(step: number): Promise<void> {
    for (const later of await this.steps()) if (later > step) await removeFile(this.path(later))
  }

  async #keep(bestStep: number | undefined): Promise<void> {
    const steps = await this.steps()
    for (const step of steps.slice(0, -keptCheckpoints)) {
      if (step !== bestStep) await removeFile(this.path(step))
    }
  }
}

/** SHA-256 over the metadata and every tensor's name, shape and bytes, in an order of their own. */
function digest(header: Readonly<Record<string, string>>, tensors: readonly NamedTensor[]): string {
  const hash = createHash('sha256')
  hash.update(JSON.stringify(Object.entries(header).sort(byName)))
  for (const [name, { shape, data }] of tensors.map((tensor): [string, NamedTensor] => [tensor.name, tensor]).sort(byName)) {
    hash.update(JSON.stringify([name, shape]))
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  return hash.digest('hex')
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : a > b ? 1 : 0)
