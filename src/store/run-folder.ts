import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError, refuseFullDisk } from '../errors.js'
import { exists, isFile, removeFile } from '../files.js'
import { inWords } from '../own-calls.js'
import { ownCommand } from '../own-command.js'
import type { MadeWithModules } from '../own-modules.js'
import { isTemporary, replaceText } from './atomic.js'
import { type Checkpoint, CheckpointStore } from './checkpoints.js'
import { EventLog, type RunEvent, type StoredEvent } from './events.js'
import { acquireLock, type Lock, lockHolder } from './lock.js'
import { notARun } from './other-folders.js'
import { modulePlace, pathsFrom, withFoundPaths } from './run-paths.js'

const configName = 'config.yaml'
const detailsName = 'run.json'
const resultName = 'result.json'
/** What the vectors were before the first step. */
export const startName = 'start.safetensors'
const lockName = 'run.lock'
const checkpointsName = 'checkpoints'
const isLock = (name: string): boolean => name.startsWith(lockName)
/** A config or a result is a page of text; more than this is not one. */
const maxTextBytes = 16 * 2 ** 20

/**
 * A run's folder:
 *
 *     config.yaml          the resolved config; its presence makes a folder a run
 *     run.json             what it ran on: versions, processor, threads, hashes of model and data
 *     events.jsonl         what happened, a JSON object a line
 *     checkpoints/         the last two and the best
 *     start.safetensors    where the vectors began
 *     reference.jsonl      what the prompt said before its first step, where a loss counts from there
 *     prompt.safetensors   what was learned
 *     predictions/         what became of each dev and test row, with the prompt and without
 *     result.json          the last event
 *     run.lock             while a process writes here
 *
 * Every file is complete or absent, whenever the process is killed.
 */
export class Run {
  /** The folder's path as the user gave it. */
  readonly folder: string
  /** As parsed from YAML: not validated. Files that it names are where they are now. */
  readonly config: unknown
  /** The content of `run.json`, when there is one. */
  readonly details: unknown
  readonly #events: EventLog
  readonly #checkpoints: CheckpointStore
  readonly #lock: Lock | undefined

  constructor(folder: string, config: unknown, details: unknown, lock: Lock | undefined) {
    this.folder = folder
    this.config = config
    this.details = details
    this.#events = new EventLog(join(folder, 'events.jsonl'))
    this.#checkpoints = new CheckpointStore(join(folder, checkpointsName))
    this.#lock = lock
  }

  /** Whether it searches for a text prompt; otherwise it learns a soft one. */
  get isSearch(): boolean {
    return typeof this.config === 'object' && this.config !== null && 'search' in this.config
  }

  /** Where the modules of its config are looked for, that may have moved with it. */
  get modules(): MadeWithModules {
    const { folder, details } = this
    return { name: folder, placeOf: given => modulePlace(given, folder, details) }
  }

  get promptPath(): string {
    return join(this.folder, 'prompt.safetensors')
  }

  /** Appends a line to the log before it returns. */
  appendEvent(event: RunEvent): void {
    this.#forWriting()
    this.#events.append(event)
  }

  readEvents(): Promise<StoredEvent[]> {
    return this.#events.read()
  }

  /**
   * Makes the folder what it was when `step` had been done: later events (and a result) and later checkpoints go, and so
   * does a torn last line. A resumed run calls it with its checkpoint's step, or 0 without one, before it logs anything. A
   * step's checkpoint must therefore be written after the step's events.
   */
  async rewind(step: number): Promise<void> {
    this.#forWriting()
    await removeFile(join(this.folder, resultName))
    await this.#checkpoints.discardAfter(step)
    await this.#events.truncate(step)
  }

  async writeCheckpoint(checkpoint: Checkpoint): Promise<void> {
    this.#forWriting()
    await this.#checkpoints.write(checkpoint)
  }

  /** The newest whole checkpoint. `onSkipped` hears of each newer one that is torn or corrupt. */
  latestCheckpoint(onSkipped?: (error: GradpromptError) => void): Promise<Checkpoint | undefined> {
    return this.#checkpoints.latest(onSkipped)
  }

  /** @throws GradpromptError `checkpoint-corrupt`, also when it does not exist. */
  readCheckpoint(step: number): Promise<Checkpoint> {
    return this.#checkpoints.read(step)
  }

  /** For a run resumed with other options, such as more steps. */
  async writeConfig(config: unknown): Promise<void> {
    this.#forWriting()
    await writeConfig(this.folder, config)
  }

  async writeResult(result: unknown): Promise<void> {
    this.#forWriting()
    await replaceText(join(this.folder, resultName), `${JSON.stringify(result, null, 2)}\n`)
  }

  /** The process that writes here, when one does. */
  writer(): Promise<number | undefined> {
    return lockHolder(join(this.folder, lockName))
  }

  /** Undefined when the run has not ended. @throws GradpromptError `run-corrupt` */
  async readResult(): Promise<unknown> {
    const path = join(this.folder, resultName)
    const result = await readJson(path)
    if (result === undefined || (typeof result === 'object' && result !== null && !Array.isArray(result))) return result
    throw new GradpromptError('run-corrupt', `${path} does not hold a result`)
  }

  /** Lets other processes write. The run can still be read. */
  async close(): Promise<void> {
    this.#events.close()
    await this.#lock?.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #forWriting(): void {
    if (this.#lock === undefined) throw new Error(`${this.folder} was opened for reading`)
  }
}

/**
 * A new run, locked for this process, with its config and details written.
 * @param out the folder; it must not exist or be empty. Without it the first free one of `runs/<name>`, `runs/<name>-2`, …
 * @throws GradpromptError `run-exists`, `folder-not-empty`, `run-locked`, `cannot-write`
 */
export async function createRun(
  out: string | undefined,
  { config, name, details, parent = 'runs' }: { config: unknown; name: string; details?: object; parent?: string },
): Promise<Run> {
  const { folder, isNew } = out === undefined ? await newFolder(parent, name) : await givenFolder(out)
  let lock: Lock | undefined
  let mine = false
  try {
    lock = await acquireLock(join(folder, lockName))
    // Another process may have been faster between the first look and the lock.
    await refuseOccupied(folder)
    mine = isNew
    await mkdir(join(folder, checkpointsName), { recursive: true })
    const paths = await pathsFrom(folder, config, details)
    const known = { ...details, ...(Object.keys(paths).length > 0 && { paths }) }
    await replaceText(join(folder, detailsName), `${JSON.stringify(known, null, 2)}\n`)
    // The config comes last: with it the folder is a run.
    await writeConfig(folder, config)
    return new Run(folder, config, known, lock)
  } catch (error) {
    if (mine) await rm(folder, { recursive: true, force: true })
    await lock?.release()
    throw asUserError(error, folder)
  }
}

/**
 * Tells before any work whether `createRun` would take a folder.
 * @throws GradpromptError `run-exists`, `folder-not-empty`, `cannot-write`
 */
export async function refuseOccupied(folder: string): Promise<void> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return
    throw asUserError(error, folder)
  }
  if (names.includes(configName)) {
    throw new GradpromptError('run-exists', `${folder} already holds a run`, {
      found: join(folder, configName),
      expected: 'a folder that does not exist, or an empty one',
      hint: `${ownCommand`resume ${folder}`}, or another --out`,
    })
  }
  // What a run leaves that was killed before it had a config is no one's work.
  const leftover = (name: string) => [detailsName, checkpointsName].includes(name) || isLock(name) || isTemporary(name)
  const foreign = names.filter(name => !leftover(name))
  if (foreign.length > 0 || (names.includes(checkpointsName) && (await readdir(join(folder, checkpointsName))).length > 0)) {
    throw new GradpromptError('folder-not-empty', `${folder} holds other files`, {
      found: (foreign.length > 0 ? foreign : names).slice(0, 5).join(', '),
      expected: 'a folder that does not exist, or an empty one',
      hint: 'give another --out',
    })
  }
}

/**
 * An existing run. With `write` it is locked for this process, and what a killed one left half-written is removed.
 * @throws GradpromptError `not-a-run`, `run-corrupt`, `run-locked`
 */
export async function openRun(folder: string, { write = false }: { write?: boolean } = {}): Promise<Run> {
  if (typeof folder !== 'string')
    throw new GradpromptError('not-a-run', 'this is no run', { found: inWords(folder), expected: 'the path of its folder' })
  const configPath = join(folder, configName)
  if (!(await isFile(configPath))) throw await notARun(folder, configName)
  const lock = write ? await acquireLock(join(folder, lockName)) : undefined
  try {
    const { parseYaml } = await import('../config/yaml.js')
    const config = parseText(configPath, await readText(configPath), text => {
      const parsed = parseYaml(text)
      if ('problem' in parsed) throw new Error(parsed.problem.message)
      return parsed.value
    })
    if (typeof config !== 'object' || config === null || Array.isArray(config)) {
      throw new GradpromptError('run-corrupt', `${configPath} does not hold a config`)
    }
    const details = await readJson(join(folder, detailsName))
    if (lock !== undefined) await removeTemporaries(folder)
    return new Run(folder, await withFoundPaths(config, folder, details), details, lock)
  } catch (error) {
    await lock?.release()
    throw error
  }
}

/** Whether a process works on a run. */
export const isRunning = async (folder: string): Promise<boolean> => (await lockHolder(join(folder, lockName))) !== undefined

/** The first of `runs/<name>`, `runs/<name>-2`, … that is not there. It is not made. */
export async function freeFolder(parent: string, name: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const folder = folderNamed(parent, name, attempt)
    if (!(await exists(folder))) return folder
  }
}

function folderNamed(parent: string, name: string, attempt: number): string {
  const plainName = name.replace(/[^\p{L}\p{N}_.-]+/gu, '-').replace(/^[.-]+/, '') || 'run'
  return join(parent, attempt === 1 ? plainName : `${plainName}-${attempt}`)
}

async function newFolder(parent: string, name: string): Promise<{ folder: string; isNew: true }> {
  try {
    await mkdir(parent, { recursive: true })
    for (let attempt = 1; ; attempt++) {
      const folder = folderNamed(parent, name, attempt)
      if (await made(folder)) return { folder, isNew: true }
    }
  } catch (error) {
    throw asUserError(error, parent)
  }
}

async function givenFolder(folder: string): Promise<{ folder: string; isNew: boolean }> {
  await refuseOccupied(folder)
  try {
    await mkdir(join(folder, '..'), { recursive: true })
    return { folder, isNew: await made(folder) }
  } catch (error) {
    throw asUserError(error, folder)
  }
}

/** Of several processes that try at once, one makes it. */
async function made(folder: string): Promise<boolean> {
  try {
    await mkdir(folder)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function writeConfig(folder: string, config: unknown): Promise<void> {
  const { stringify } = await import('yaml')
  await replaceText(join(folder, configName), stringify(config))
}

async function removeTemporaries(folder: string): Promise<void> {
  for (const place of [folder, join(folder, checkpointsName)]) {
    const names = (await exists(place)) ? await readdir(place) : []
    // Another process may be trying for the lock just now.
    for (const name of names)
      if (isTemporary(name) && !isLock(name)) await rm(join(place, name), { force: true, recursive: true })
  }
}

async function readText(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > maxTextBytes) {
    throw new GradpromptError('run-corrupt', `${path} is too large`, {
      found: `${size} bytes`,
      expected: `at most ${maxTextBytes}`,
    })
  }
  return readFile(path, 'utf8')
}

async function readJson(path: string): Promise<unknown> {
  return (await isFile(path)) ? parseText(path, await readText(path), text => JSON.parse(text)) : undefined
}

function parseText(path: string, text: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text)
  } catch (error) {
    throw new GradpromptError('run-corrupt', `${path} cannot be read`, {
      found: error instanceof Error ? error.message.split('\n')[0]! : String(error),
      cause: error,
    })
  }
}

function asUserError(error: unknown, folder: string): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (error instanceof GradpromptError || code === undefined) return error
  refuseFullDisk(error, folder)
  return new GradpromptError('cannot-write', `a run cannot be written to ${folder}`, {
    found: code === 'ENOTDIR' || code === 'EEXIST' ? 'a file where a folder is needed' : (error as Error).message,
    expected: 'a folder that can be made and written',
    hint: 'give another --out',
    cause: error,
  })
}
