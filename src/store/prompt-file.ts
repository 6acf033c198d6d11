import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import type { AnswerEnd } from '../data/texts/answer-end.js'
import { aggregates, type Verbalizer } from '../data/texts/verbalizer.js'
import { GradpromptError } from '../errors.js'
import { openSafetensors, writeSafetensors } from '../formats/safetensors.js'
import { elementCount } from '../numbers.js'
import { ownCommand } from '../own-command.js'
import type { NamedTensor } from './checkpoints.js'

const format = 'gradprompt-prompt'
const formatVersion = '1'
/** A soft prompt is far smaller; more than this many numbers are not read. */
const maxNumbers = 2 ** 28

const size = z.int().min(1)

/** Soft tokens of the template: what each placeholder stands for. */
const softTokens = z.array(z.object({ text: z.string(), ids: z.array(z.int().min(-1)) })).max(0xfffd)

/** Values by the names of classes, whatever these are: `z.record` leaves out the name `__proto__`. */
const byName = <T>(value: z.ZodType<T>) =>
  z
    .custom<Record<string, T>>(given => typeof given === 'object' && given !== null && !Array.isArray(given), 'no values by name')
    .superRefine((given, context) => {
      for (const [name, one] of Object.entries(given)) {
        const { error } = value.safeParse(one)
        if (error) context.addIssue({ code: 'custom', path: [name], message: valueProblem(error.issues, one).expected })
      }
    })

const headerSchema = z.object({
  method: z.looseObject({ type: z.string().min(1), softTokens: softTokens.optional() }),
  model: z.object({ name: z.string(), hash: z.string() }),
  hiddenSize: size,
  // A method may act without virtual tokens.
  numVirtualTokens: z.int().min(0),
  position: z.enum(['before-bos', 'after-bos']),
  template: z.union([z.string(), z.array(z.object({ role: z.string(), content: z.string() }))]),
  answer: z.string(),
  answerEnd: z.object({ text: z.string(), ids: z.array(z.int().min(0)).min(1).max(1024) }).optional(),
  labels: byName<string>(z.string()).optional(),
  verbalizer: z.object({ aggregate: z.enum(aggregates), words: byName<string[]>(z.array(z.string()).min(1)) }).optional(),
  seed: z.int().min(0),
  privacy: z
    .object({
      epsilon: z.number(),
      delta: z.number(),
      steps: z.int(),
      rate: z.number(),
      noise: z.number(),
      clip: z.number(),
    })
    .optional(),
})

/** What was learned, with all that is needed to use it as it was trained. */
export interface PromptFile {
  /** The method's resolved options, `type` among them. */
  readonly method: { readonly type: string } & Readonly<Record<string, unknown>>
  /** The base model: a name (never a path), and the hash of its weights. */
  readonly model: { readonly name: string; readonly hash: string }
  readonly hiddenSize: number
  readonly numVirtualTokens: number
  /** Where the prompt stands when the tokenizer puts a BOS before a text. */
  readonly position: 'before-bos' | 'after-bos'
  readonly template: string | readonly { readonly role: string; readonly content: string }[]
  readonly answer: string
  /** What was learned behind every answer; undefined: nothing, as in prompts of versions that learned none. */
  readonly answerEnd?: AnswerEnd | undefined
  /** Value in the data -> word in the answer, in the order of the candidates. */
  readonly labels?: Readonly<Record<string, string>> | undefined
  /** Where classes have several words. Learned weights of these are the tensor `verbalizer`, one for each word, class after class. */
  readonly verbalizer?: Verbalizer | undefined
  readonly seed: number
  /** Differential privacy of the records that it was learned from: what they may show through it, and by what it was reached. */
  readonly privacy?: Readonly<Record<'epsilon' | 'delta' | 'steps' | 'rate' | 'noise' | 'clip', number>> | undefined
  /** The method's parameters; of a static prompt `prompt` is one, `[numVirtualTokens, hiddenSize]`. */
  readonly tensors: readonly NamedTensor[]
}

/**
 * Writes a prompt as one safetensors file, whole or not at all. The bytes depend on what is given alone: tensors are sorted by
 * name and the method's options by key, and there is neither a time nor a path among them.
 * @param more further texts of the metadata, for whoever reads the file; nothing here reads them
 * @throws RangeError when `prompt` has another shape than the header says or a number is not finite.
 */
export async function writePrompt(path: string, prompt: PromptFile, more: Readonly<Record<string, string>> = {}): Promise<void> {
  const problem = problemOf(prompt)
  if (problem !== undefined) throw new RangeError(problem)
  await writeSafetensors(path, prompt.tensors, {
    ...more,
    format,
    formatVersion,
    method: prompt.method.type,
    methodConfig: JSON.stringify(sortedByKey(prompt.method)),
    modelName: prompt.model.name,
    modelHash: prompt.model.hash,
    hiddenSize: String(prompt.hiddenSize),
    numVirtualTokens: String(prompt.numVirtualTokens),
    position: prompt.position,
    template: JSON.stringify(prompt.template),
    answer: prompt.answer,
    ...(prompt.answerEnd && { answerEnd: JSON.stringify(sortedByKey(prompt.answerEnd)) }),
    // Not sorted: their order is that of the candidates.
    ...(prompt.labels && { labels: JSON.stringify(prompt.labels) }),
    ...(prompt.verbalizer && { verbalizer: JSON.stringify(sortedByKey(prompt.verbalizer)) }),
    seed: String(prompt.seed),
    ...(prompt.privacy && { privacy: JSON.stringify(sortedByKey(prompt.privacy)) }),
  })
}

/** Whether a safetensors file says that it is a prompt of this project's. @throws GradpromptError those of `openSafetensors` */
export async function isPromptFile(path: string): Promise<boolean> {
  const file = await openSafetensors(path)
  await file.close()
  return file.metadata.get('format') === format
}

/**
 * Reads what `writePrompt` wrote.
 * @throws GradpromptError `not-a-prompt`, `prompt-version` (written by a later version), or those of `openSafetensors`
 */
export async function readPrompt(path: string): Promise<PromptFile> {
  const file = await openSafetensors(path)
  try {
    const metadata = file.metadata
    if (metadata.get('format') !== format) {
      throw notAPrompt(
        path,
        metadata.has('format') ? `a file of format "${metadata.get('format')}"` : 'no format in its metadata',
      )
    }
    if (metadata.get('formatVersion') !== formatVersion) {
      throw new GradpromptError('prompt-version', `${path} was written by another version of gradprompt`, {
        found: `format version ${metadata.get('formatVersion')}`,
        expected: formatVersion,
        hint: 'install the version that wrote it',
      })
    }
    const header = parseHeader(path, metadata)
    let numbers = 0
    for (const { shape } of file.tensors.values()) numbers += elementCount(shape)
    if (numbers > maxNumbers) throw notAPrompt(path, `${numbers} numbers, more than ${maxNumbers}`)
    const tensors: NamedTensor[] = []
    for (const [name, { shape }] of file.tensors) tensors.push({ name, shape, data: await file.read(name) })
    const prompt = { ...header, tensors }
    const problem = problemOf(prompt)
    if (problem !== undefined) throw notAPrompt(path, problem)
    return prompt
  } finally {
    await file.close()
  }
}

/**
 * The prompt of a run folder, or the file itself.
 *
 * @param option what names it, for the message
 * @throws GradpromptError `file-not-found`
 */
export async function promptPath(path: string, option: string): Promise<string> {
  const found = await stat(path).catch(() => undefined)
  const file = found?.isDirectory() ? join(path, 'prompt.safetensors') : path
  if (found?.isFile() || (found && (await stat(file).catch(() => undefined)))) return file
  throw new GradpromptError('file-not-found', `${option}: there is no prompt at ${path}`, {
    found: found ? 'a folder without prompt.safetensors' : 'nothing',
    expected: 'the folder of a finished run, or its prompt.safetensors',
    ...(found && { hint: `${ownCommand`resume ${path}`}, if it is a run that was stopped` }),
  })
}

/** The rows that stand before the text, of a method whose prompt is the same for every text. */
export function staticPrompt(prompt: PromptFile): { data: Float32Array; shape: [number, number] } | undefined {
  const tensor = prompt.tensors.find(({ name, shape }) => name === 'prompt' && shape.length === 2)
  return tensor && { data: tensor.data, shape: [prompt.numVirtualTokens, prompt.hiddenSize] }
}

function parseHeader(path: string, metadata: ReadonlyMap<string, string>): Omit<PromptFile, 'tensors'> {
  const text = (key: string) => metadata.get(key)
  const json = (key: string): unknown => {
    const value = metadata.get(key)
    if (value === undefined) return undefined
    try {
      return JSON.parse(value)
    } catch {
      throw notAPrompt(path, `${key} is not JSON`)
    }
  }
  const header = {
    method: json('methodConfig'),
    model: { name: text('modelName'), hash: text('modelHash') },
    hiddenSize: json('hiddenSize'),
    numVirtualTokens: json('numVirtualTokens'),
    position: text('position'),
    template: json('template'),
    answer: text('answer'),
    ...(metadata.has('answerEnd') && { answerEnd: json('answerEnd') }),
    ...(metadata.has('labels') && { labels: json('labels') }),
    ...(metadata.has('verbalizer') && { verbalizer: json('verbalizer') }),
    seed: json('seed'),
    ...(metadata.has('privacy') && { privacy: json('privacy') }),
  }
  const parsed = headerSchema.safeParse(header)
  if (!parsed.success) {
    throw notAPrompt(path, valueProblem(parsed.error.issues, header).message)
  }
  return parsed.data
}

function problemOf({ tensors, numVirtualTokens, hiddenSize }: PromptFile): string | undefined {
  for (const { name, shape, data } of tensors) {
    if (name === 'prompt' && shape.length === 2 && shape.join() !== `${numVirtualTokens},${hiddenSize}`) {
      return `prompt has shape [${shape.join(', ')}], not [${numVirtualTokens}, ${hiddenSize}]`
    }
    if (!data.every(Number.isFinite)) return `${name} holds a number that is not finite`
  }
  return tensors.length === 0 ? 'no tensors' : undefined
}

/** The same value with the keys of its objects in one order. */
function sortedByKey(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedByKey)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, inner]) => [key, sortedByKey(inner)]))
}

const notAPrompt = (path: string, found: string): GradpromptError =>
  new GradpromptError('not-a-prompt', `${path} is not a prompt`, {
    found,
    expected: 'the prompt.safetensors of a run',
    hint: 'name the run folder, or the file that `gradprompt tune` wrote in it',
  })
