import { GradpromptError } from '../errors.js'
import { logSumExp } from '../numbers.js'
import { type ActivePrompt, ownTokens, parameterInputs, placementOf, tasksOf } from './active-prompt.js'
import { Forest, type Sequence, type Target } from './forest/forest.js'
import { isInTurn } from './forest/groups.js'
import { readingRequest } from './model-programs.js'
import type { GradientModel } from './prompt-gradient.js'
import { logitsReading, statesAndLogits, targetLogProbabilities } from './readings.js'
import { type CandidateRow, type LabelledRow, labelPositions, requireContext, requireIds, requireLists } from './row.js'

/** What a model says of rows under a prompt, by forward passes alone. What it is asked for is unknown here. */

/**
 * Logits at every position of each row, or at its last ones.
 * @param last how many positions at the end of each row are read; by default all
 * @returns for each row [positions * vocabSize]
 */
export async function rowLogits(
  model: GradientModel,
  rows: readonly (readonly number[])[],
  prompt: ActivePrompt | undefined,
  last = Number.POSITIVE_INFINITY,
): Promise<Float32Array[]> {
  const { config, memory, programs } = model
  const { vocabSize } = config
  const results: Float32Array[] = []
  requireLists(rows)
  const lengths = rows.map(ids => ids.length)
  const firstRead = ({ length }: readonly number[]) => Math.max(0, length - last)
  requireContext(lengths, config, prompt)
  for (const [start, end] of memory.split(lengths, { headRows: rows.map(ids => ids.length - firstRead(ids)) })) {
    const part = rows.slice(start, end)
    requireIds(part, config, prompt)
    const forest = new Forest(
      part.map(ids => ({ ids })),
      placementOf(prompt, config),
      { inTurn: isInTurn },
    )
    const targets = part.flatMap((ids, i) =>
      ids.slice(firstRead(ids)).map((_, j): Target => ({ row: forest.rowOf(i, firstRead(ids) + j)!, id: 0, weight: 0 })),
    )
    if (targets.length === 0) {
      results.push(...part.map(() => new Float32Array(0)))
      continue
    }
    const { inputs, readRows } = forest.inputs(targets)
    const program = await programs.open(readingRequest(model, logitsReading, prompt, { layout: forest.layout }))
    const { logits } = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as { logits: Float32Array }
    const place = new Map(readRows.map((row, i) => [row, i]))
    let target = 0
    for (const ids of part) {
      const count = ids.length - firstRead(ids)
      const own = new Float32Array(count * vocabSize)
      for (let j = 0; j < count; j++) {
        const at = place.get(targets[target++]!.row)! * vocabSize
        own.set(logits.subarray(at, at + vocabSize), j * vocabSize)
      }
      results.push(own)
    }
  }
  return results
}

/** What the model says where each label of a row is predicted. */
export interface LabelOutputs {
  /** Log-probabilities of the whole vocabulary, [labels * vocabSize]. */
  readonly logProbabilities: Float32Array
  /** The normalised hidden states that they are made of, [labels * hiddenSize]; empty where they were not asked for. */
  readonly hidden: Float32Array
}

/**
 * The row is computed alone, so that its numbers do not depend on which rows were computed beside it.
 * @throws GradpromptError `unpredictable-label` when nothing precedes a label; `context-exceeded`
 */
export async function labelOutputs(
  model: GradientModel,
  prompt: ActivePrompt | undefined,
  row: LabelledRow,
  { withHidden }: { readonly withHidden: boolean },
): Promise<LabelOutputs> {
  const { config, programs } = model
  const positions = labelPositions(row)
  const { vocabSize, hiddenSize } = config
  const logProbabilities = new Float32Array(positions.length * vocabSize)
  const hidden = new Float32Array(withHidden ? positions.length * hiddenSize : 0)
  if (positions.length === 0) return { logProbabilities, hidden }
  requireIds([row.ids], config, prompt)
  requireContext([positions.at(-1)!], config, prompt)
  const active = prompt && tasksOf(prompt, [row])[0]!.active
  const ids = row.ids.slice(0, positions.at(-1))
  const forest = new Forest([{ ids, instructionLength: positions[0]! }], placementOf(active, config), {
    inTurn: isInTurn,
  })
  const targets = positions.map((position): Target => {
    const at = forest.rowOf(0, position - 1)
    if (at === undefined)
      throw new GradpromptError('unpredictable-label', 'A label stands where nothing precedes it', {
        found: `position ${position}, without a soft prompt`,
        hint: 'give the template some text before the answer',
      })
    return { row: at, id: 0, weight: 0 }
  })
  const { inputs, readRows } = forest.inputs(targets)
  const program = await programs.open(
    readingRequest(model, withHidden ? statesAndLogits : logitsReading, active, { layout: forest.layout }),
  )
  const outputs = (await program.run({ ...inputs, ...parameterInputs(active) })) as Record<string, Float32Array>
  const rowOf = (name: string, place: number, width: number) => outputs[name]!.subarray(place * width, (place + 1) * width)
  for (const [i, { row: at }] of targets.entries()) {
    const place = readRows.indexOf(at)
    logProbabilities.set(logSoftmax(rowOf('logits', place, vocabSize)), i * vocabSize)
    if (withHidden) hidden.set(rowOf('hidden', place, hiddenSize), i * hiddenSize)
  }
  return { logProbabilities, hidden }
}

/**
 * Log-probabilities of the tokens of candidate answers behind their contexts. The candidates of one row share its context, and all rows
 * what they begin with alike.
 * @returns for each row, candidate and token of it, in nats
 */
export async function tokenLogProbabilities(
  model: GradientModel,
  prompt: ActivePrompt | undefined,
  rows: readonly CandidateRow[],
): Promise<number[][][]> {
  const { config, memory, programs } = model
  const results: number[][][] = []
  if (prompt && rows.some(({ candidates }) => candidates.some(({ task }) => task !== undefined))) {
    const apart = candidatesApart(rows)
    const scores = await tokenLogProbabilities(model, prompt, apart.rows)
    return apart.places.map(places => places.map(([row, candidate]) => scores[row]![candidate]!))
  }
  if (prompt && rows.some(({ task }) => task !== undefined)) {
    for (const { active, members } of tasksOf(prompt, rows)) {
      const scores = await tokenLogProbabilities(
        model,
        active,
        members.map(i => ({ ...rows[i]!, task: undefined })),
      )
      for (const [i, member] of members.entries()) results[member] = scores[i]!
    }
    return results
  }
  requireContext(
    rows.map(row => row.context.length + Math.max(0, ...row.candidates.map(({ ids }) => ids.length - 1))),
    config,
    prompt,
  )
  const lengths = rows.map(
    row =>
      row.context.length +
      ownTokens(prompt, config) +
      row.candidates.reduce((sum, { ids }) => sum + Math.max(0, ids.length - 1), 0),
  )
  for (const [start, end] of memory.split(lengths, {
    headRows: rows.map(row => 1 + row.candidates.reduce((sum, { ids }) => sum + ids.length - 1, 0)),
  })) {
    const part = rows.slice(start, end)
    requireIds(
      part.flatMap(row => [row.context, ...row.candidates.map(({ ids }) => ids)]),
      config,
      prompt,
    )
    // The last token of an answer is never fed: nothing is predicted from it.
    const sequences = part.map(
      (row): Sequence => ({ ids: row.context, children: row.candidates.map(({ ids }) => ids.slice(0, -1)) }),
    )
    const forest = new Forest(sequences, placementOf(prompt, config), { inTurn: isInTurn })
    const targets = part.flatMap((row, i) =>
      row.candidates.flatMap(({ ids }, j) =>
        ids.map((id, k): Target => {
          const at = k === 0 ? forest.rowOf(i, row.context.length - 1) : forest.childRow(i, j, k - 1)
          if (at === undefined)
            throw new GradpromptError('empty-context', 'Nothing precedes the answer of a row', { found: `row ${start + i}` })
          return { row: at, id, weight: 0 }
        }),
      ),
    )
    const { inputs } = forest.inputs(targets)
    const program = await programs.open(readingRequest(model, targetLogProbabilities, prompt, { layout: forest.layout }))
    const { logProbabilities } = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as {
      logProbabilities: Float32Array
    }
    let next = 0
    for (const row of part) results.push(row.candidates.map(({ ids }) => ids.map(() => logProbabilities[next++]!)))
  }
  return results
}

function logSoftmax(logits: Float32Array): Float32Array {
  const level = logSumExp(logits)
  return logits.map(x => x - level)
}

/** Rows whose candidates are all of one task, and where each candidate of each given row has gone: the row, and its place there. */
function candidatesApart(rows: readonly CandidateRow[]) {
  const apart: {
    readonly context: readonly number[]
    readonly candidates: { ids: readonly number[] }[]
    task?: number | undefined
  }[] = []
  const places = rows.map(({ context, candidates, task }) => {
    const own = new Map<number | undefined, number>()
    return candidates.map((candidate): [row: number, place: number] => {
      const of = candidate.task ?? task
      const row = own.get(of) ?? apart.push({ context, candidates: [], task: of }) - 1
      own.set(of, row)
      return [row, apart[row]!.candidates.push({ ids: candidate.ids }) - 1]
    })
  })
  return { rows: apart, places }
}
