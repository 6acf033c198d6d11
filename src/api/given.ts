import { inMemory, isRows, type MemoryRows, type Rows, takeRows } from '../data/memory-rows.js'
import { type Part, parts, type TaskRows } from '../data/task.js'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { LanguageModel } from '../model/language-model.js'

/**
 * What a program may hand over in the place of a name: an open model, rows in memory. They are taken out of a config before it is
 * checked and written, and the config says what stood there.
 */

/** A config that may hold an open model, and rows in the place of paths. */
export type Given<Input extends { readonly data: object }> = Omit<Input, 'model' | 'data'> & {
  /** A model, or the name of one. One that is given keeps its device, threads and memory, and is not disposed of. */
  readonly model?: LanguageModel | string | undefined
  readonly data: Omit<Input['data'], Part> &
    TrainRows<Input['data']> & {
      readonly dev?: string | Rows | undefined
      readonly test?: string | Rows | undefined
    }
}

/** Training rows as a config needs them: a file, or rows as an iterable of objects, which may be asynchronous. */
type TrainRows<Data> = Data extends { readonly train: unknown }
  ? { readonly train: string | Rows }
  : { readonly train?: string | Rows | undefined }

/** Parts that a run has from memory, or whose files are elsewhere now, for resuming it. */
export type GivenRows = { readonly [Name in Part]?: string | Rows | undefined }

interface Separated {
  /** As a file could say it; still to be checked. */
  readonly input: unknown
  readonly model?: LanguageModel | undefined
  readonly rows: TaskRows
}

/** @throws GradpromptError `invalid-option` where a config says how to open a model that is open; `invalid-data` */
export async function separate(given: unknown): Promise<Separated> {
  if (!isRecord(given)) return { input: given, rows: {} }
  const { model, data } = given
  const rows = isRecord(data) ? await takeParts(data) : {}
  const named = Object.fromEntries(Object.keys(rows).map(part => [part, inMemory]))
  const input = { ...given, ...(isRecord(data) && { data: { ...data, ...named } }) }
  if (!(model instanceof LanguageModel)) return { input, rows }
  return { input: { ...input, ...placeOf(model, given) }, model, rows }
}

/** The rows among parts, each read once. @throws GradpromptError `invalid-data` */
export async function takeParts(data: Readonly<Record<string, unknown>>): Promise<TaskRows> {
  const taken: Partial<Record<Part, MemoryRows>> = {}
  for (const part of parts) {
    const rows = data[part]
    if (isRows(rows)) taken[part] = await takeRows(rows, part)
  }
  return taken
}

/** What a config says of an open model, so that a later process finds the same. */
function placeOf(model: LanguageModel, given: Readonly<Record<string, unknown>>) {
  const said = ['device', 'threads', 'memory', 'keepWeights', 'precision'].find(name => given[name] !== undefined)
  if (said !== undefined) {
    throw new GradpromptError('invalid-option', `${said} belongs to a model that is opened by its name`, {
      found: `${said}: ${JSON.stringify(given[said])}, and a model that is open`,
      expected: 'one of them',
      hint: `loadModel(name, { ${said} }) opens it so`,
    })
  }
  const { checkpoint, devices, threads, memory } = model
  return { model: checkpoint.name, device: devices.join(','), threads, ...memory.opening }
}
