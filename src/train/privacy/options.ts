import { z } from 'zod'
import { epsilonOf, noiseFor } from './accountant.js'

/** Of whatever is private in its training rows. */
export const deltaOption = z
  .number()
  .positive()
  .lt(1)
  .optional()
  .describe('the chance that epsilon does not hold; by default 1 / the training rows')

/** What `train.privacy` may say, and what it comes to. */
export const privacySchema = z
  .strictObject({
    epsilon: z
      .number()
      .positive()
      .optional()
      .describe(
        'how much a training record may show through the prompt: the noise is chosen for it; excludes train.privacy.noise',
      ),
    noise: z
      .number()
      .positive()
      .optional()
      .describe('standard deviation of the noise, in units of train.privacy.clip: epsilon is what it comes to'),
    delta: deltaOption,
    clip: z.number().positive().default(0.1).describe("norm that each record's gradient is scaled down to"),
  })
  .refine(({ epsilon, noise }) => (epsilon === undefined) !== (noise === undefined), 'one of epsilon and noise')

export type PrivacyOptions = z.output<typeof privacySchema>

/** The mechanism of a run, and what its steps come to. */
export interface Privacy {
  readonly clip: number
  readonly noise: number
  /** The chance of each record to be in a step. */
  readonly rate: number
  readonly delta: number
}

/** @throws GradpromptError `privacy-unreachable` */
export function privacyOf(
  { epsilon, noise, delta, clip }: PrivacyOptions,
  { records, batchSize, steps }: { readonly records: number; readonly batchSize: number; readonly steps: number },
): Privacy {
  const rate = Math.min(1, batchSize / records)
  const chance = delta ?? 1 / records
  return { clip, rate, delta: chance, noise: noise ?? noiseFor({ epsilon: epsilon!, rate, steps, delta: chance }) }
}

/** What is kept with a prompt: the guarantee of its training records, after so many steps. */
export interface PrivacySpent extends Privacy {
  readonly epsilon: number
  readonly steps: number
}

export const spentBy = (privacy: Privacy, steps: number): PrivacySpent => ({
  epsilon: epsilonOf({ ...privacy, steps }),
  steps,
  ...privacy,
})
