import type { ModelConfig } from '../../models/blocks/family.js'
import { declareCode } from '../code-identity.js'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords } from '../own-calls.js'
import type { ProgramInput } from '../program/program.js'
import type { PromptMethod, PromptPlacement } from '../prompts/method.js'

/** What acts in front of the text: a method with its configuration and the values of its parameters. */
export interface ActivePrompt {
  readonly method: PromptMethod
  readonly config: { readonly type: string }
  readonly parameters: ReadonlyMap<string, Float32Array>
  /** Prompts that stand in its place where classes are scored: their shares are averaged. Each is one list of rows for all texts. */
  readonly members?: readonly ActivePrompt[]
}

/** A soft prompt as plain rows, `[m, hiddenSize]`. */
export interface SoftPrompt {
  readonly data: Float32Array
  readonly shape: readonly [number, number]
  /** Where the rows stand; by default before everything, as in PEFT. */
  readonly position?: 'before-bos' | 'after-bos'
}

const NO_PROMPT: PromptPlacement = { numVirtualTokens: 0, position: 'before-bos' }

export const placementOf = (prompt: Pick<ActivePrompt, 'method' | 'config'> | undefined, model: ModelConfig): PromptPlacement =>
  prompt?.method.placement(prompt.config, model) ?? NO_PROMPT

/** A prompt as its steps compute it; the parameters are the same ones. */
export const whileLearning = (prompt: ActivePrompt): ActivePrompt => {
  const { method, config } = prompt
  return method.whileLearning ? { ...prompt, config: method.whileLearning(config) } : prompt
}

/** The rows of each task with the prompt as that task has it; all of them as it stands, where rows name no task. */
export function tasksOf(
  prompt: ActivePrompt,
  rows: readonly { readonly task?: number | undefined }[],
): { active: ActivePrompt; members: number[] }[] {
  const { method, config, parameters } = prompt
  return [...new Set(rows.map(({ task }) => task))].map(task => ({
    active: task === undefined || !method.forTask ? prompt : { ...prompt, parameters: method.forTask(config, parameters, task) },
    members: [...rows.keys()].filter(i => rows[i]!.task === task),
  }))
}

/** Virtual tokens that every sequence has for itself. */
export function ownTokens(prompt: ActivePrompt | undefined, model: ModelConfig): number {
  const { perSequence, numVirtualTokens } = placementOf(prompt, model)
  return perSequence ? numVirtualTokens : 0
}

/** Virtual tokens that all sequences share. */
export const sharedTokens = (prompt: ActivePrompt, model: ModelConfig): number =>
  placementOf(prompt, model).numVirtualTokens - ownTokens(prompt, model)

/** A prompt's parameters as a program takes them. */
export const parameterInputs = (prompt: ActivePrompt | undefined): Record<string, ProgramInput> =>
  Object.fromEntries([...(prompt?.parameters ?? [])].map(([name, data]) => [`parameter:${name}`, data]))

/**
 * Rows that somebody hands over.
 * @throws GradpromptError `shape-mismatch` where they are none
 */
export function requireRows(given: SoftPrompt): SoftPrompt {
  const { data, shape } = isRecord(given) ? given : {}
  if (data instanceof Float32Array && Array.isArray(shape) && shape.length === 2) return given
  throw new GradpromptError('shape-mismatch', 'The soft prompt is not as rows are given', {
    found: isRecord(given) && !ArrayBuffer.isView(given) ? `data: ${inWords(data)}, shape: ${inWords(shape)}` : inWords(given),
    expected: '{ data: a Float32Array, shape: [rows, hidden size] }',
  })
}

/** A soft prompt given as rows acts as prompt tuning's does. */
export function plainPrompt(given: SoftPrompt, model: ModelConfig): ActivePrompt {
  const { data, shape, position = 'before-bos' } = requireRows(given)
  const [count, width] = shape
  if (width !== model.hiddenSize || data.length !== count * width || count < 1) {
    throw new GradpromptError('shape-mismatch', 'The soft prompt does not fit the model', {
      found: `${data.length} numbers of shape [${shape}]`,
      expected: `[m, ${model.hiddenSize}]`,
    })
  }
  return {
    method: plainRows,
    config: { type: 'rows', numVirtualTokens: count, position } as { type: string },
    parameters: new Map([['prompt', data]]),
  }
}

type RowsConfig = { type: string; numVirtualTokens: number; position: 'before-bos' | 'after-bos' }

/** Rows in front of the text, whatever they come from. */
const plainRows: PromptMethod = declareCode(import.meta.url, {
  type: 'rows',
  paper: '',
  learningRate: 0.01,
  placement: config => config as RowsConfig,
  parameters: (config, { hiddenSize }) => [{ name: 'prompt', shape: [(config as RowsConfig).numVirtualTokens, hiddenSize] }],
  initialise: () => Promise.resolve(new Map()),
  inputRows: (_, { prompt }) => prompt!,
})
