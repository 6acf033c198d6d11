import { z } from 'zod'
import { covariances } from './mixture.js'

/** What a task's inputs are like, estimated from them: `domain`. A start, a prior and an ensemble may be made of it. */

export const domainSchema = z.strictObject({
  unlabelled: z
    .string()
    .min(1)
    .optional()
    .describe(
      'a file of further inputs, of which the texts alone are taken: what inputs are like is estimated from them as well, also from those that are to be answered; by default from the training rows alone',
    ),
  particles: z
    .int()
    .min(1)
    .max(1000)
    .default(64)
    .describe('training inputs that are moved, drawn by seed; fewer where there are fewer'),
  components: z
    .int()
    .min(1)
    .max(64)
    .optional()
    .describe(
      'Gaussians of the mixture; by default as many as there are label words, at least 2, and fewer where inputs are few',
    ),
  covariance: z.enum(covariances).default('full').describe('of each Gaussian'),
  dimensions: z
    .int()
    .min(1)
    .max(64)
    .default(16)
    .describe('directions of most variance in which inputs are looked at; along others particles stay where they are'),
  ridge: z
    .number()
    .positive()
    .default(0.1)
    .describe('what is added to every variance, where their mean along these directions is 1'),
  iterations: z.int().min(0).max(100_000).default(1000).describe('steps of the particles; 0: they stay the inputs'),
  stepSize: z.number().positive().default(0.01).describe('of these steps, in the unit of the ridge'),
})

export type DomainOptions = z.output<typeof domainSchema>
