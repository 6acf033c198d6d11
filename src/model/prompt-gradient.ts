import type { ModelConfig } from '../../models/family.js'
import { GradpromptError } from '../errors.js'
import type { ProgramInput } from '../program/program.js'
import { type ActivePrompt, ownTokens, parameterInputs, placementOf, tasksOf } from './active-prompt.js'
import { Forest, type Target } from './forest.js'
import type { MemoryPlan } from './memory.js'
import type { ModelPrograms } from './model-programs.js'
import { fedIds, type LabelledRow, labelPositions, requireContext, requireIds } from './row.js'
import type { Teaching } from './teacher.js'

export interface GradientOptions {
  readonly labelSmoothing?: number
  /** Adds `weight temperature²` times the mean divergence from a teacher over the label tokens. */
  readonly teaching?: Teaching | undefined
  /** For each row what `frozenRows` says of it: the layers below are then not computed again. */
  readonly frozen?: readonly Float32Array[] | undefined
}

export interface PromptGradient {
  /** With what a teacher adds. */
  readonly loss: number
  /** Mean divergence from the teacher alone, in nats. */
  readonly divergence?: number
  /** By the names of the parameters that are learned. */
  readonly gradients: Map<string, Float32Array>
  /** Token rows that were computed. */
  readonly rows: number
}

/** What a gradient takes of a model. */
export interface GradientModel {
  readonly config: ModelConfig
  readonly memory: MemoryPlan
  readonly programs: ModelPrograms
}

/**
 * Loss of a batch and its gradient with respect to a prompt's parameters. A batch that does not fit into the memory budget is
 * computed in parts; the sum of their gradients is the batch's.
 *
 * @returns the loss, with what a teacher adds; `divergence` is the mean divergence from it alone, in nats
 */
export async function promptGradient(
  { config, memory, programs }: GradientModel,
  prompt: ActivePrompt,
  rows: readonly LabelledRow[],
  { labelSmoothing = 0, teaching, frozen }: GradientOptions = {},
): Promise<PromptGradient> {
  const labelled = rows.map(row => labelPositions(row))
  const count = labelled.reduce((sum, positions) => sum + positions.length, 0)
  if (count === 0)
    throw new GradpromptError('no-labels', 'No row of the batch has a label token', {
      expected: 'labels[i] = ids[i] where there is a loss, -100 elsewhere',
    })
  requireIds(
    rows.map(row => row.ids),
    config,
    prompt,
  )
  const fed = rows.map(fedIds)
  requireContext(
    fed.map(ids => ids.length),
    config,
    prompt,
  )
  const gradients = new Map(
    prompt.method
      .parameters(prompt.config, config)
      .filter(({ frozen }) => !frozen)
      .map(({ name, shape }) => [name, new Float32Array(product(shape))]),
  )
  const kind = frozen ? 'gradientFromFrozen' : 'gradient'
  const hiddenTerm = teaching?.hidden !== undefined
  const program = await programs.open(kind, prompt, { labelSmoothing, temperature: teaching?.temperature, hiddenTerm })
  const taught = teaching && teaching.weight * teaching.temperature ** 2
  // The prompt's own targets count in every row that has a label.
  const own = prompt.method.ownTargets?.(prompt.config) ?? []
  const counted = count + own.length * labelled.filter(({ length }) => length > 0).length
  let loss = 0
  let divergence = 0
  let computed = 0
  for (const { active, members } of tasksOf(prompt, rows)) {
    const parts = memory.split(
      members.map(i => fed[i]!.length + ownTokens(active, config)),
      // A teacher's row of probabilities lies beside each row of logits.
      { headRows: members.map(i => labelled[i]!.length * (teaching ? 2 : 1)), training: true },
    )
    for (const [start, end] of parts) {
      const part = members.slice(start, end)
      const forest = new Forest(
        part.map(i => ({ ids: fed[i]!, instructionLength: labelled[i]![0] ?? fed[i]!.length })),
        placementOf(prompt, config),
      )
      const targets = part.flatMap((index, i) =>
        labelled[index]!.map((position): Target => {
          const row = forest.rowOf(i, position - 1)
          if (row === undefined)
            throw new GradpromptError('unpredictable-label', 'A label stands where nothing precedes it', {
              found: `row ${index}, position ${position}`,
            })
          return { row, id: rows[index]!.labels[position]!, weight: 1 / counted }
        }),
      )
      if (targets.length === 0) continue
      const copies = part.filter(i => labelled[i]!.length > 0).length
      const ownTargets = own.map(({ row, id, weight }) => ({
        row: forest.virtualRow(0, row),
        id,
        weight: (weight * copies) / counted,
      }))
      const { inputs, readRows } = forest.inputs([...targets, ...ownTargets])
      const lessons =
        teaching &&
        lessonsOf(teaching, { count, config, targets, readRows, labels: part.map(i => [i, labelled[i]!.length] as const) })
      const below = frozen && {
        frozen: forest.textRows(
          part.map(i => frozenRow(frozen, i, fed[i]!.length * config.hiddenSize)),
          config.hiddenSize,
        ),
      }
      const outputs = (await program.run({
        ...inputs,
        ...lessons,
        ...below,
        ...parameterInputs(active),
      })) as Record<string, Float32Array>
      loss += outputs.loss![0]!
      if (teaching) divergence += outputs.divergence![0]! / taught!
      computed += forest.rows
      for (const [name, sum] of gradients) {
        const part = outputs[`gradient:${name}`]!
        for (let i = 0; i < sum.length; i++) sum[i]! += part[i]!
      }
    }
  }
  return { loss, ...(teaching && { divergence }), gradients, rows: computed }
}

/**
 * What the layers that nothing learned reaches make of rows: their hidden states as the first layer beyond takes them. These never
 * change while a prompt is learned. Which rows are computed together shows in the last bits alone.
 *
 * @returns for each row [tokens * hiddenSize], of the tokens that `promptGradient` feeds
 */
export async function frozenRows(
  { config, memory, programs }: GradientModel,
  prompt: ActivePrompt,
  rows: readonly LabelledRow[],
): Promise<Float32Array[]> {
  const { hiddenSize } = config
  requireIds(
    rows.map(row => row.ids),
    config,
    prompt,
  )
  const fed = rows.map(fedIds)
  const results: Float32Array[] = []
  const parts = memory.split(
    fed.map(ids => ids.length + ownTokens(prompt, config)),
    { headRows: fed.map(() => 0) },
  )
  for (const [start, end] of parts) {
    const part = fed.slice(start, end)
    const forest = new Forest(
      part.map(ids => ({ ids })),
      placementOf(prompt, config),
    )
    const { inputs } = forest.inputs([{ row: forest.rows - 1, id: 0, weight: 0 }])
    const program = await programs.openFrozen(prompt)
    const { hidden } = (await program.run(inputs)) as { hidden: Float32Array }
    for (const [i, ids] of part.entries()) {
      const own = new Float32Array(ids.length * hiddenSize)
      for (const j of ids.keys()) {
        const at = forest.textRowOf(i, j) * hiddenSize
        own.set(hidden.subarray(at, at + hiddenSize), j * hiddenSize)
      }
      results.push(own)
    }
  }
  return results
}

function frozenRow(frozen: readonly Float32Array[], row: number, count: number): Float32Array {
  const numbers = frozen[row]
  if (numbers?.length === count) return numbers
  throw new GradpromptError('shape-mismatch', `What frozen layers make of row ${row} does not fit its tokens`, {
    found: `${numbers?.length ?? 0} numbers`,
    expected: String(count),
  })
}

interface Lessons {
  /** Labels of the whole batch. */
  readonly count: number
  readonly config: ModelConfig
  readonly targets: readonly Target[]
  readonly readRows: readonly number[]
  /** Rows of the batch, each with the number of its labels, in the order of the targets. */
  readonly labels: readonly (readonly [row: number, count: number])[]
}

/** What a teacher says at every label, as the program takes it: `teacher` and `teacherWeight`, and the same of hidden states. */
function lessonsOf({ logProbabilities, weight, temperature, hidden }: Teaching, lessons: Lessons): Record<string, ProgramInput> {
  const { vocabSize, hiddenSize } = lessons.config
  return {
    ...lessonOf('teacher', logProbabilities, vocabSize, weight * temperature ** 2, lessons),
    ...(hidden && lessonOf('teacherHidden', hidden.rows, hiddenSize, hidden.weight, lessons)),
  }
}

/** Numbers of a teacher beside the rows that they are about. Where sequences share a row they share its teacher. */
function lessonOf(
  name: string,
  given: readonly Float32Array[],
  width: number,
  weight: number,
  { count, targets, readRows, labels }: Lessons,
): Record<string, ProgramInput> {
  const teacher = labels.flatMap(([row, own]) =>
    Array.from({ length: own }, (_, k) => teacherRow(given[row], row, k, own, width)),
  )
  const place = new Map(readRows.map((row, i) => [row, i]))
  const data = new Float32Array(readRows.length * width)
  const weights = new Float32Array(readRows.length)
  for (const [i, { row }] of targets.entries()) {
    const at = place.get(row)!
    if (weights[at] === 0) data.set(teacher[i]!, at * width)
    weights[at]! += weight / count
  }
  return {
    [name]: { data, shape: [readRows.length, width] },
    [`${name}Weight`]: { data: weights, shape: [readRows.length] },
  }
}

/** What a teacher says of a row's label. */
function teacherRow(numbers: Float32Array | undefined, row: number, label: number, labels: number, width: number): Float32Array {
  if (numbers?.length !== labels * width)
    throw new GradpromptError('shape-mismatch', `The teacher of row ${row} does not fit its labels`, {
      found: `${numbers?.length ?? 0} numbers`,
      expected: `${labels * width}: ${labels} labels of ${width}`,
    })
  return numbers.subarray(label * width, (label + 1) * width)
}

const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)
