import { type DataRecord, setOrigin } from '../data/readers/records.js'
import { isOfNone, taskIndex } from '../data/rows/types.js'
import type { LabelSet } from '../data/texts/labels.js'
import { classWords, wordParameter } from '../data/texts/verbalizer.js'
import { GradpromptError, unknownName } from '../errors.js'
import { isRecord } from '../json.js'
import { type ActivePrompt, requireRows, type SoftPrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import type { PromptMethod } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { numSoftTokens } from '../prompts/soft-rows.js'
import { isStatic, staticRows } from '../prompts/static.js'
import type { PromptFile } from '../store/prompt-file.js'

/**
 * A prompt file's content, ready to act on a model. `force`: on another model of the same width, too.
 * @throws GradpromptError `model-mismatch` when it was learned on another model, `unknown-method`, `not-a-prompt`
 */
export function activePrompt(
  prompt: PromptFile,
  model: Pick<LanguageModel, 'config' | 'hash' | 'name'>,
  { force = false }: { force?: boolean | undefined } = {},
): ActivePrompt {
  if ((prompt.model.hash !== model.hash && !force) || prompt.hiddenSize !== model.config.hiddenSize) {
    const describe = (name: string, hiddenSize: number, hash: string) =>
      `${name} (hidden size ${hiddenSize}, ${hash.slice(0, 12)})`
    throw new GradpromptError('model-mismatch', 'the prompt was learned on another model', {
      found: describe(model.name, model.config.hiddenSize, model.hash),
      expected: describe(prompt.model.name, prompt.hiddenSize, prompt.model.hash),
      hint: 'a soft prompt means something to its own model alone: name that one, tune a prompt for this one, or --force it',
    })
  }
  const method = promptMethod(prompt)
  const parameters = new Map(prompt.tensors.map(({ name, data }) => [name, data]))
  const shapes = new Map(prompt.tensors.map(({ name, shape }) => [name, shape]))
  const placement = method.placement(prompt.method, model.config)
  const fits =
    placement.numVirtualTokens === prompt.numVirtualTokens &&
    placement.position === prompt.position &&
    method.parameters(prompt.method, model.config).every(({ name, shape }) => shapes.get(name)?.join() === shape.join())
  if (!fits) {
    throw new GradpromptError('not-a-prompt', `the prompt does not hold what ${method.type} learns`, {
      found: prompt.tensors.map(({ name, shape }) => `${name} [${shape.join(', ')}]`).join(', '),
      expected: method
        .parameters(prompt.method, model.config)
        .map(({ name, shape }) => `${name} [${shape.join(', ')}]`)
        .join(', '),
    })
  }
  return { method, config: prompt.method, parameters }
}

/**
 * Index of a task among those of a prompt's options.
 * @param option what names the task, for the message
 * @throws GradpromptError `unknown-task`: the prompt has no such task, or is none of several
 */
export function promptTask(config: { readonly type: string }, task: string, option: string): number {
  const names = promptMethods.find(config.type)?.tasks?.(config)?.names ?? []
  const index = names.indexOf(task)
  if (index >= 0) return index
  throw unknownName('unknown-task', `${option} names a task that the prompt does not have`, task, names, {
    ...(names.length === 0 && { expected: `nothing: this prompt of ${config.type} has one task` }),
  })
}

/** A prompt under a name and, where it has several tasks, as each of them has it under `NAME/TASK`. */
export function promptsByTask(name: string, prompt: ActivePrompt): Record<string, ActivePrompt> {
  const { method, config, parameters } = prompt
  const names = method.tasks?.(config)?.names ?? []
  const each = names.map(
    (task, i) => [`${name}/${task}`, { ...prompt, parameters: method.forTask!(config, parameters, i) }] as const,
  )
  return Object.fromEntries([[name, prompt], ...each])
}

/**
 * The name under which `promptsByTask` has the prompt of a row: that of the task which the row's column names, or the prompt's own.
 * @throws GradpromptError `unknown-task`, `missing-column`
 */
export function promptNameOf(name: string, prompt: ActivePrompt | undefined, record: DataRecord, index: number): string {
  const tasks = prompt?.method.tasks?.(prompt.config)
  if (tasks?.column === undefined || isOfNone(record, index, tasks)) return name
  return `${name}/${tasks.names[taskIndex(record, index, tasks)]}`
}

/** The same of what somebody asks: a text, or a row that does not say its task, is answered under the prompt's own. */
export function promptNameAsked(name: string, prompt: ActivePrompt, asked: unknown, origin: string): string {
  const column = prompt.method.tasks?.(prompt.config)?.column
  if (column === undefined || !isRecord(asked) || (asked[column] ?? '') === '') return name
  const record = { [column]: String(asked[column]) }
  setOrigin(record, origin)
  return promptNameOf(name, prompt, record, 0)
}

/**
 * The method that a prompt was learned by; one of people's own is loaded.
 * @throws GradpromptError `unknown-method`, `file-not-found` where its file is not where it was
 */
export async function loadPromptMethod({ method }: Pick<PromptFile, 'method'>): Promise<PromptMethod> {
  await promptMethods.load(method.type, { name: 'the prompt' })
  return promptMethod({ method })
}

/** The same as `activePrompt`, of a method that may be people's own: it is loaded. */
export async function loadPrompt(
  prompt: PromptFile,
  model: Pick<LanguageModel, 'config' | 'hash' | 'name'>,
  options?: { force?: boolean | undefined },
): Promise<ActivePrompt> {
  await loadPromptMethod(prompt)
  return activePrompt(prompt, model, options)
}

function promptMethod({ method }: Pick<PromptFile, 'method'>): PromptMethod {
  const found = promptMethods.find(method.type)
  if (found !== undefined) return found
  throw unknownName(
    'unknown-method',
    'the prompt was learned by a method that is not known here',
    method.type,
    promptMethods.keys(),
    {
      hint: 'a method that was given as an object has to be given again: await extend({ methods: [it] })',
    },
  )
}

/**
 * The rows that a prompt comes to, where they are the same for every text: `[numVirtualTokens, hiddenSize]`.
 * @throws GradpromptError `not-static`, `unknown-method`
 */
export async function softPromptOf(prompt: PromptFile): Promise<Required<SoftPrompt>> {
  if (!isStatic(await loadPromptMethod(prompt), prompt.method)) {
    throw new GradpromptError('not-static', `a prompt of ${prompt.method.type} is not a fixed list of rows`, {
      found: `method.type: ${prompt.method.type}${numSoftTokens(prompt.method) > 0 ? ', with soft tokens in its template' : ''}`,
      expected: 'a method whose prompt is the same for every text, such as prompt-tuning',
    })
  }
  return (await inputRowsOf(prompt))!
}

/** The rows that a prompt puts at the input, beside whatever else it does; undefined where it has none. */
export async function inputRowsOf(prompt: PromptFile): Promise<Required<SoftPrompt> | undefined> {
  const method = await loadPromptMethod(prompt)
  if (!method.inputRows) return undefined
  const data = await staticRows(method, prompt.method, prompt.tensors)
  return { data, shape: [prompt.numVirtualTokens, prompt.hiddenSize], position: prompt.position }
}

/**
 * Plain rows as a prompt that acts on a model.
 * @throws GradpromptError `model-mismatch` when the rows have another width than the model's
 */
export function activeRows(given: SoftPrompt, model: Pick<LanguageModel, 'config' | 'name'>): ActivePrompt {
  const { data, shape, position = 'before-bos' } = requireRows(given)
  const [numVirtualTokens, width] = shape
  if (width !== model.config.hiddenSize || numVirtualTokens < 1 || data.length !== numVirtualTokens * width) {
    throw new GradpromptError('model-mismatch', `the soft prompt does not fit ${model.name}`, {
      found: `${data.length} numbers of shape [${shape.join(', ')}]`,
      expected: `[m, ${model.config.hiddenSize}]`,
    })
  }
  if (!data.every(Number.isFinite))
    throw new GradpromptError('not-finite', 'the soft prompt holds numbers that are not finite', {
      expected: 'numbers: no NaN, no infinity',
    })
  const type = 'prompt-tuning'
  const config = { type, numVirtualTokens, position }
  return { method: promptMethods.get(type), config, parameters: new Map([['prompt', data]]) }
}

/** A prompt's learned weights of label words, where these are the words that it was learned with. */
export function promptWordWeights({ tensors, verbalizer }: PromptFile, labels: LabelSet): Float32Array | undefined {
  const weights = tensors.find(({ name }) => name === wordParameter)?.data
  const known = labels.candidates.map(name => verbalizer?.words[name] ?? [name])
  const words = classWords(labels)
  const alike = known.length === words.length && words.every((own, i) => own.join('\n') === known[i]!.join('\n'))
  return alike && weights?.length === words.flat().length ? weights : undefined
}
