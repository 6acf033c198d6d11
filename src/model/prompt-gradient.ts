import type { ModelConfig } from '../../models/blocks/family.js'
import { GradpromptError } from '../errors.js'
import { meanCrossEntropy } from '../losses/index.js'
import { type LossPart, type LossTerm, logitRows, lossFeeds, lossFigures } from '../losses/loss.js'
import { elementCount } from '../numbers.js'
import type { OpenPrograms } from '../program/open-programs.js'
import { inOrder } from '../program/runtime/in-order.js'
import { type ActivePrompt, ownTokens, parameterInputs, placementOf, sharedTokens, tasksOf } from './active-prompt.js'
import { Forest, type Target } from './forest/forest.js'
import { isInTurn } from './forest/groups.js'
import { frozenLayers } from './forward.js'
import type { LossScale } from './loss-scale.js'
import type { MemoryPlan } from './memory.js'
import { gradientRequest, layersRequest, type ProgramModel, scaleFeed } from './model-programs.js'
import { fedIds, type LabelledRow, labelPositions, requireContext, requireIds } from './row.js'

/** Losses of batches and their gradients with respect to a prompt. What the losses are, and what becomes of gradients, is unknown here. */

export interface GradientOptions {
  /** What is minimised: the sum of these. By default the mean cross entropy of the label tokens. */
  readonly losses?: readonly LossTerm[]
  /** How many rows in turn belong together, where losses compare rows: the batch is never cut between them. */
  readonly groups?: readonly number[] | undefined
  /** For each row what `frozenRows` says of it: the layers below are then not computed again. */
  readonly frozen?: readonly Float32Array[] | undefined
  /** The backward pass computes each layer again in place of keeping what it has made: less memory, the same numbers, a third slower. */
  readonly recompute?: boolean
}

export interface PromptGradient {
  /** The sum of all losses. */
  readonly loss: number
  /** What losses report beside it. */
  readonly figures: Readonly<Record<string, number>>
  /** By the names of the parameters that are learned. */
  readonly gradients: Map<string, Float32Array>
  /** Token rows that were computed. */
  readonly rows: number
}

/** What a gradient takes of a model. */
export interface GradientModel extends ProgramModel {
  readonly config: ModelConfig
  readonly memory: MemoryPlan
  readonly programs: OpenPrograms
  /** Where gradients are computed in `fp16`. */
  readonly lossScale?: LossScale | undefined
}

/** A batch as it is cut into parts. */
interface Batch {
  readonly rows: readonly LabelledRow[]
  /** Positions of each row's labels. */
  readonly labelled: readonly (readonly number[])[]
  /** Tokens of each row that are fed. */
  readonly fed: readonly (readonly number[])[]
  /** The group of each row, where there are groups. */
  readonly groupOf: readonly number[] | undefined
  readonly counts: LossPart['batch']
}

/**
 * Loss of a batch and its gradient with respect to a prompt's parameters. A batch that does not fit into the memory budget is
 * computed in parts, of whole groups where rows are in groups; the sum of their gradients is the batch's.
 * @throws GradpromptError `no-labels`, `unpredictable-label`, `invalid-token-id`, `invalid-groups`, those of the losses, and as a program's
 *   run does; `memory-exhausted` where a device has no room for one group
 */
export async function promptGradient(
  model: GradientModel,
  prompt: ActivePrompt,
  rows: readonly LabelledRow[],
  { losses = [meanCrossEntropy], groups, frozen, recompute = false }: GradientOptions = {},
): Promise<PromptGradient> {
  const { config, memory, programs, lossScale } = model
  const batch = batchOf(rows, groups)
  const { labelled, fed } = batch
  requireIds(
    rows.map((row, i) => [...row.ids, ...labelled[i]!.map(position => row.labels[position]!)]),
    config,
    prompt,
  )
  requireContext(
    fed.map(ids => ids.length),
    config,
    prompt,
  )
  const headRows = logitRows(losses, config)
  // The prompt's own targets count in every row that has a label.
  const own = prompt.method.ownTargets?.(prompt.config) ?? []
  const counted = batch.counts.labels + own.length * batch.counts.sequences
  /** What has failed. */
  let failed = { rows: 0, groups: 0 }
  const compute = async (scale?: number) => {
    const gradients = new Map(
      prompt.method
        .parameters(prompt.config, config)
        .filter(({ frozen }) => !frozen)
        .map(({ name, shape }) => [name, new Float32Array(elementCount(shape))]),
    )
    const figures: Record<string, number> = {}
    let loss = 0
    let computed = 0
    const runPart = async (active: ActivePrompt, part: readonly number[]) => {
      const forest = new Forest(
        part.map(i => ({ ids: fed[i]!, instructionLength: labelled[i]![0] ?? fed[i]!.length })),
        placementOf(prompt, config),
        { inTurn: isInTurn },
      )
      const targets = targetsOf(forest, part, batch, 1 / counted)
      if (targets.length === 0) return undefined
      const copies = part.filter(i => labelled[i]!.length > 0).length
      const ownTargets = own.map(({ row, id, weight }) => ({
        row: forest.virtualRow(0, row),
        id,
        weight: (weight * copies) / counted,
      }))
      const all = [...targets, ...ownTargets]
      const { inputs, readRows } = forest.inputs(all)
      const below = frozen && {
        frozen: forest.textRows(
          part.map(i => frozenRow(frozen, i, fed[i]!.length * config.hiddenSize)),
          config.hiddenSize,
        ),
      }
      const options = { frozen: frozen !== undefined, recompute, layout: forest.layout }
      const program = await programs.open(gradientRequest(model, losses, prompt, options))
      const outputs = await program
        .run({
          ...inputs,
          ...lossFeeds(losses, partOf(part, batch, { targets, targetCount: all.length, readRows }, config)),
          ...below,
          ...parameterInputs(active),
          ...scaleFeed(scale),
        })
        .catch((error: unknown) => {
          failed = { rows: forest.rows, groups: together(part, batch)?.length ?? part.length }
          throw error
        })
      return { rows: forest.rows, outputs: outputs as Record<string, Float32Array> }
    }
    function* parts() {
      for (const { active, members } of tasksOf(prompt, rows)) {
        const cuts = memory.split(
          members.map(i => fed[i]!.length + ownTokens(active, config)),
          {
            headRows: members.map(i => labelled[i]!.length * headRows),
            training: true,
            recompute,
            shared: sharedTokens(active, config),
            together: together(members, batch),
          },
        )
        for (const [start, end] of cuts) yield () => runPart(active, members.slice(start, end))
      }
    }
    await inOrder(parts(), programs.atOnce, part => {
      if (part === undefined) return
      computed += part.rows
      for (const [name, values] of Object.entries(part.outputs)) {
        const sum = name.startsWith(GRADIENT) ? gradients.get(name.slice(GRADIENT.length)) : undefined
        if (sum) for (let i = 0; i < sum.length; i++) sum[i]! += values[i]!
        else if (name === 'loss') loss += values[0]!
        else figures[name] = (figures[name] ?? 0) + values[0]!
      }
    })
    return { loss, figures: lossFigures(losses, figures), gradients, rows: computed, scaled: [...gradients.values()] }
  }
  for (;;) {
    try {
      const { scaled: _, ...result } = await (lossScale === undefined ? compute() : lossScale.gradients(compute))
      return result
    } catch (error) {
      if (!(error instanceof GradpromptError) || error.code !== 'memory-exhausted' || failed.groups < 2) throw error
      const most = memory.halveRows(failed.rows)
      process.emitWarning(
        `the memory was too small for ${failed.rows} tokens at once: batches are computed in parts of ${most} from now on`,
        { type: 'GradpromptWarning', code: 'smaller-parts' },
      )
    }
  }
}

const GRADIENT = 'gradient:'

function batchOf(rows: readonly LabelledRow[], groups: readonly number[] | undefined): Batch {
  const labelled = rows.map(row => labelPositions(row))
  const withLabels = [...rows.keys()].filter(i => labelled[i]!.length > 0)
  const labels = labelled.reduce((sum, positions) => sum + positions.length, 0)
  if (labels === 0)
    throw new GradpromptError('no-labels', 'No row of the batch has a label token', {
      expected: 'labels[i] = ids[i] where there is a loss, -100 elsewhere',
    })
  const groupOf = groups?.flatMap((size, group) => Array.from({ length: size }, () => group))
  if (groupOf !== undefined && groupOf.length !== rows.length)
    throw new GradpromptError('invalid-groups', 'The groups of a batch are not of its rows', {
      found: `groups of ${groupOf.length} rows in all, and ${rows.length} rows`,
      expected: 'how many rows in turn belong together, for all rows',
    })
  return {
    rows,
    labelled,
    fed: rows.map(fedIds),
    groupOf,
    counts: { labels, sequences: withLabels.length, groups: groups?.length ?? 0 },
  }
}

/** The label tokens of a part, sequence after sequence. */
function targetsOf(forest: Forest, part: readonly number[], { rows, labelled }: Batch, weight: number): Target[] {
  return part.flatMap((index, i) =>
    labelled[index]!.map((position): Target => {
      const row = forest.rowOf(i, position - 1)
      if (row === undefined)
        throw new GradpromptError('unpredictable-label', 'A label stands where nothing precedes it', {
          found: `row ${index}, position ${position}`,
        })
      return { row, id: rows[index]!.labels[position]!, weight }
    }),
  )
}

/** A part as losses see it: rows without a label are none of its sequences. */
function partOf(
  part: readonly number[],
  { labelled, groupOf, counts }: Batch,
  read: { readonly targets: readonly Target[]; readonly targetCount: number; readonly readRows: readonly number[] },
  model: ModelConfig,
): LossPart {
  const sequences = part.filter(i => labelled[i]!.length > 0)
  const place = new Map(read.readRows.map((row, i) => [row, i]))
  const labels = sequences.flatMap((index, sequence) => labelled[index]!.map((_, label) => ({ sequence, label })))
  const groups = new Map<number, number[]>()
  for (const [i, index] of sequences.entries()) {
    const group = groupOf?.[index]
    if (group !== undefined) groups.set(group, [...(groups.get(group) ?? []), i])
  }
  return {
    model,
    sequences,
    groups: [...groups.values()],
    targets: labels.map((label, i) => ({ ...label, read: place.get(read.targets[i]!.row)! })),
    targetCount: read.targetCount,
    readCount: read.readRows.length,
    batch: counts,
  }
}

/**
 * How many of a task's rows in turn are of one group.
 * @throws GradpromptError `invalid-groups` where a group's rows are of several tasks
 */
function together(members: readonly number[], { groupOf, rows }: Batch): number[] | undefined {
  if (groupOf === undefined) return undefined
  const { task } = rows[members[0]!]!
  const own = new Set(members.map(i => groupOf[i]!))
  const parted = rows.findIndex((row, i) => row.task !== task && own.has(groupOf[i]!))
  if (parted >= 0)
    throw new GradpromptError('invalid-groups', 'The rows of a group are of several tasks', {
      found: `row ${parted} is of the task ${rows[parted]!.task}, another of its group of ${task}`,
      expected: 'groups whose rows are all of one task',
    })
  return [...own].map(group => members.filter(i => groupOf[i] === group).length)
}

/**
 * What the layers that nothing learned reaches make of rows: their hidden states as the first layer beyond takes them. These never
 * change while a prompt is learned. Which rows are computed together shows in the last bits alone.
 *
 * @returns for each row [tokens * hiddenSize], of the tokens that `promptGradient` feeds
 */
export async function frozenRows(
  model: GradientModel,
  prompt: ActivePrompt,
  rows: readonly LabelledRow[],
): Promise<Float32Array[]> {
  const fed = rows.map(fedIds)
  requireIds(
    rows.map(row => row.ids),
    model.config,
    prompt,
  )
  return layerRows(model, fed, { prompt, to: frozenLayers(prompt, model.config) })
}

/**
 * What the layers below one make of texts.
 * @param fed token ids
 * @param options.prompt what the texts stand under, none of whose hooks acts below
 * @param options.to the layer whose rows are wanted, as it takes them
 * @returns for each text [tokens * hiddenSize]
 */
export async function layerRows(
  { config, memory, programs, ...model }: GradientModel,
  fed: readonly (readonly number[])[],
  { prompt, to }: { readonly prompt?: ActivePrompt; readonly to: number },
): Promise<Float32Array[]> {
  const { hiddenSize } = config
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
      { inTurn: isInTurn },
    )
    const { inputs } = forest.inputs([{ row: forest.rows - 1, id: 0, weight: 0 }])
    const program = await programs.open(layersRequest(model, prompt, to, forest.layout))
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
