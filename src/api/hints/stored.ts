import { join } from 'node:path'
import { z } from 'zod'
import { valueProblem } from '../../config/problems.js'
import { notWritten, readHints } from '../../hints/file.js'
import { hintsName } from '../../store/other-folders.js'
import type { LearnedHints } from './hints.js'

/** The figures of a finished folder, as they were measured. */

const figure = z.object({ value: z.number(), low: z.number(), high: z.number() })
const count = z.int().min(0)

const difference = z.object({ score: figure, accuracy: figure.optional() })
const condition = difference.extend({ raised: figure.optional(), calls: count, tokens: z.number(), leaked: count })
const round = z.object({
  ...{ texts: count, tokens: count, empty: count, leaked: count, helping: count },
  ...{ gain: z.number(), kept: count, keptGain: z.number() },
})
const schema = z
  .object({
    ...{ folder: z.string(), model: z.string(), instruction: z.string(), say: z.string() },
    trainingRows: count,
    classes: z.array(z.string()).optional(),
    of: z.enum(['test', 'dev']),
    rounds: z.array(round),
    policy: z.string().nullable(),
    fixed: z.object({ hint: z.string(), gain: z.number() }),
    rows: count,
    conditions: z.object({ none: condition, fixed: condition, untrained: condition, policy: condition }),
    differences: z.object({ none: difference, fixed: difference, untrained: difference }),
  })
  .refine(({ conditions, differences }) => {
    const ofClasses = [...Object.values(conditions), ...Object.values(differences)].map(({ accuracy }) => accuracy !== undefined)
    return new Set(ofClasses).size === 1
  }, 'an accuracy everywhere, or nowhere')

/** @throws GradpromptError `run-corrupt`, `not-hints` */
export async function readResult(folder: string): Promise<LearnedHints> {
  const { result } = await readHints(folder)
  const parsed = schema.safeParse(result)
  if (parsed.success) return parsed.data as LearnedHints
  throw notWritten(join(folder, hintsName), `result: ${valueProblem(parsed.error.issues, result).message}`)
}
