import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { normalNumbers } from '../initialisation.js'
import type { PromptMethod } from '../method.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * Multitask prompt tuning (Wang et al. 2023, arXiv 2303.02861), with the parameters of PEFT: one matrix for all tasks, and for each a
 * factor of low rank, P_t = P ∘ (U_t V_t), U_t [m, r], V_t [r, d].
 *
 * The rows of several tasks stand in one file, told apart by a column; each row is learned and scored under its own task's prompt. For a
 * further task, `init` takes the matrix from that run. What a task does not choose, as an export to rows, has the average of all factors.
 */
export const mptSchema = z.strictObject({
  type: z.literal('mpt').describe('rows before the input embeddings that several tasks share, times a factor of each task'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows of the shared matrix'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('what the shared matrix starts from'),
  tasks: z
    .array(z.string().min(1))
    .min(1)
    .max(1000)
    .refine(names => new Set(names).size === names.length, 'a list of names that differ')
    .optional()
    .describe('the tasks, as the column method.taskColumn names them; by default there is one task'),
  taskColumn: z.string().min(1).default('task').describe("the column that names a row's task"),
  taskLabels: z
    .record(z.string(), z.array(z.string().min(1)).min(1))
    .optional()
    .describe(
      "task -> the label words that its rows are scored among (the first of a class's words); by default all of data.labels",
    ),
  numRanks: z.int().min(1).max(1000).default(1).describe("rank of a task's factor"),
  sourceFactors: z
    .enum(['average', 'none'])
    .default('average')
    .describe('with init.type: runs and a run of mpt: begin with the average of its factors, or with its shared matrix alone'),
})

export type MptConfig = z.output<typeof mptSchema>

const numTasks = ({ tasks }: MptConfig) => tasks?.length ?? 1

export const mpt: PromptMethod<MptConfig> = declareCode(import.meta.url, {
  type: 'mpt',
  paper: 'Wang et al. 2023, Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning (arXiv 2303.02861)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens }) => ({ numVirtualTokens, position: 'before-bos' }),

  check({ numRanks, numVirtualTokens, tasks = [], taskLabels = {} }, { hiddenSize }) {
    const unknown = Object.keys(taskLabels).find(name => !tasks.includes(name))
    if (unknown !== undefined)
      return `method.taskLabels names ${JSON.stringify(unknown)}, and method.tasks has ${tasks.join(', ') || 'none'}`
    const most = Math.min(numVirtualTokens, hiddenSize)
    return numRanks > most
      ? `method.numRanks (${numRanks}) is beyond method.numVirtualTokens (${numVirtualTokens}) or the model's width (${hiddenSize}): take 1 to ${most}`
      : undefined
  },

  parameters(config, { hiddenSize }) {
    const { numVirtualTokens, numRanks } = config
    return [
      { name: 'prompt', shape: [numVirtualTokens, hiddenSize] },
      { name: 'taskColumns', shape: [numTasks(config), numVirtualTokens, numRanks] },
      { name: 'taskRows', shape: [numTasks(config), numRanks, hiddenSize] },
      { name: 'task', shape: [numTasks(config)], frozen: true },
    ]
  },

  /** Every factor starts at ones, so that every task starts at the shared matrix; what is beyond the first rank starts at nothing. */
  async initialise(config, context) {
    const { numVirtualTokens: m, numRanks: r, init } = config
    const { hiddenSize: d } = context.model
    const count = numTasks(config)
    const source = init.type === 'runs' ? await sharedMatrix(config, init.from, context) : undefined
    const prompt = source?.prompt ?? (await startingRows(init, m, context))
    const noise = normalNumbers(m * r, 0.02, context.seed, 1)
    const columns = source?.columns ?? noise.map((x, i) => (i % r === 0 ? 1 : x))
    const rows = source?.rows ?? Float32Array.from({ length: r * d }, (_, i) => (i < d ? 1 : 0))
    const repeated = (one: Float32Array) => Float32Array.from({ length: count * one.length }, (_, i) => one[i % one.length]!)
    return new Map([
      ['prompt', prompt],
      ['taskColumns', repeated(columns)],
      ['taskRows', repeated(rows)],
      ['task', new Float32Array(count).fill(1 / count)],
    ])
  },

  inputRows({ numVirtualTokens: m, numRanks: r }, { prompt, taskColumns, taskRows, task }) {
    const [count, d] = [task!.shape[0]!, prompt!.shape[1]!]
    /** The task's part of [T, a, b]: [a, b] */
    const ofTask = (x: tf.Tensor, a: number, b: number) =>
      tf.reshape(tf.matMul(tf.reshape(task!, [1, count]), tf.reshape(x, [count, a * b])), [a, b]) as tf.Tensor2D
    return tf.mul(prompt!, tf.matMul(ofTask(taskColumns!, m, r), ofTask(taskRows!, r, d))) // [m, d]
  },

  tasks: ({ tasks, taskColumn, taskLabels }) => tasks && { column: taskColumn, names: tasks, labels: taskLabels },
  forTask(config, parameters, task) {
    const chosen = new Float32Array(numTasks(config))
    if (!(task < chosen.length)) throw new RangeError(`there is no task ${task} among ${chosen.length}`)
    chosen[task] = 1
    return new Map([...parameters, ['task', chosen]])
  },
})

/** The shared matrix of a run of several tasks, with the average of their factors. */
async function sharedMatrix(
  { numVirtualTokens, numRanks, sourceFactors }: MptConfig,
  from: readonly string[],
  context: Parameters<typeof startingRows>[2],
) {
  const [source, ...others] = await context.learnedPrompts(from, numVirtualTokens)
  if (source!.method.type !== 'mpt' || others.length > 0) return undefined
  const tensors = new Map(source!.tensors.map(tensor => [tensor.name, tensor]))
  const prompt = tensors.get('prompt')!.data.slice()
  const factors = ['taskColumns', 'taskRows'].map(name => {
    const { data, shape } = tensors.get(name)!
    const size = data.length / shape[0]!
    const mean = new Float32Array(size)
    for (const [i, x] of data.entries()) mean[i % size]! += x / shape[0]!
    return mean
  })
  const [columns, rows] = factors as [Float32Array, Float32Array]
  const sameRank = tensors.get('taskColumns')!.shape[2] === numRanks
  return { prompt, ...(sourceFactors === 'average' && sameRank ? { columns, rows } : {}) }
}
