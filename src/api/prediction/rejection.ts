import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { valueProblem } from '../../config/problems.js'
import { GradpromptError } from '../../errors.js'
import { groupedScore } from '../../evaluate/foreign/scores.js'
import { isFile } from '../../files.js'
import { jsonOrUndefined } from '../../json.js'
import { ownCommand } from '../../own-command.js'
import { replaceText } from '../../store/atomic.js'

/**
 * What a run knows of rows that belong to none of its classes: which of its labels are classes, and below which score a row is none. It is
 * kept in the run's folder, beside the prompt.
 */
const rejectionSchema = z.object({
  /** Label words of the classes; the others are foreign. */
  known: z.array(z.string()).min(1),
  /** Groups of foreign labels, and the seed that deals them: the threshold is of these alone. */
  groups: z.int().min(1),
  seed: z.int().min(0),
  threshold: z.number().min(0).max(1),
  /** The share of known rows that reach it, and of how many it was taken. */
  share: z.number().min(0).max(1),
  rows: z.int().min(1),
})

export type Rejection = z.output<typeof rejectionSchema>

const fileName = 'rejection.json'

/** What a row that belongs to no class is called. */
export const noneOfThese = 'none of these'

export const writeRejection = (folder: string, rejection: Rejection): Promise<void> =>
  replaceText(join(folder, fileName), `${JSON.stringify(rejection, null, 2)}\n`)

/**
 * @returns undefined where the run was not taught to reject
 * @throws GradpromptError `run-corrupt`
 */
export async function readRejection(folder: string | undefined): Promise<Rejection | undefined> {
  if (folder === undefined) return undefined
  const path = join(folder, fileName)
  if (!(await isFile(path))) return undefined
  const written = jsonOrUndefined(await readFile(path, 'utf8'))
  const found = rejectionSchema.safeParse(written)
  if (found.success) return found.data
  throw new GradpromptError('run-corrupt', `${path} is not what gradprompt reject wrote`, {
    found: valueProblem(found.error.issues, written).message,
    hint: `${ownCommand`reject RUN`} makes a run that has it`,
  })
}

/** The scores of the classes, in their order, and how sure it is that the row belongs to one of them, from 0 to 1. */
export interface KnownScores {
  readonly classes: readonly string[]
  readonly scores: readonly number[]
  readonly known: number
}

/** @param labels all labels of the run, and the score of each, in nats */
export function knownScores(
  labels: readonly string[],
  scores: readonly number[],
  { known, groups, seed }: Rejection,
): KnownScores {
  const isKnown = (place: number) => known.includes(labels[place]!)
  const own = scores.filter((_, i) => isKnown(i))
  const foreign = scores.filter((_, i) => !isKnown(i))
  return {
    classes: labels.filter((_, i) => isKnown(i)),
    scores: own,
    known: groupedScore(own, foreign, { groups, seed }),
  }
}

/** @throws GradpromptError `cannot-reject` */
export function requireRejection(rejection: Rejection | undefined): Rejection {
  if (rejection !== undefined) return rejection
  throw new GradpromptError('cannot-reject', 'this prompt does not know what belongs to none of its classes', {
    found: 'a prompt that was learned from rows of its classes alone',
    expected: 'a run that was taught to reject',
    hint: `${ownCommand`reject RUN`} makes one`,
  })
}
