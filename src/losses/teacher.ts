import { GradpromptError } from '../errors.js'
import type { ProgramInput } from '../program/program.js'
import type { LossPart } from './loss.js'

/**
 * What a teacher says of rows' labels, as losses hold the model to it: numbers beside the rows that they are about. The teacher enters a
 * program as an input, so that the program is the same whoever it is, and a weight or a teacher that changes compiles nothing anew.
 */

/** Numbers of each row's labels in turn, [labels * width] each, and how much they count. */
export interface Lesson {
  readonly rows: readonly Float32Array[]
  /** Beside the cross entropy's 1. */
  readonly weight: number
}

/**
 * A lesson as a program takes it. Where sequences share a row they share its teacher.
 * @returns `teacher` [Q, width] and `weight` [Q]: of each row, so that a weighted sum over rows is the mean over labels; 0 where there is no label
 * @throws GradpromptError `shape-mismatch` where there are not as many numbers as labels
 */
export function lessonInputs(
  { rows, weight }: Lesson,
  width: number,
  { sequences, targets, readCount, batch }: LossPart,
): Record<'teacher' | 'weight', ProgramInput> {
  const counts = sequences.map(() => 0)
  for (const { sequence } of targets) counts[sequence]!++
  for (const [i, row] of sequences.entries()) requireLesson(rows[row], row, counts[i]!, width)
  const data = new Float32Array(readCount * width)
  const weights = new Float32Array(readCount)
  for (const { sequence, label, read } of targets) {
    const said = rows[sequences[sequence]!]!
    if (weights[read] === 0) data.set(said.subarray(label * width, (label + 1) * width), read * width)
    weights[read]! += weight / batch.labels
  }
  return { teacher: { data, shape: [readCount, width] }, weight: { data: weights, shape: [readCount] } }
}

function requireLesson(numbers: Float32Array | undefined, row: number, labels: number, width: number): void {
  if (labels === 0 || numbers?.length === labels * width) return
  throw new GradpromptError('shape-mismatch', `The teacher of row ${row} does not fit its labels`, {
    found: `${numbers?.length ?? 0} numbers`,
    expected: `${labels * width}: ${labels} labels of ${width}`,
  })
}
