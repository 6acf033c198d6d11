import type { z } from 'zod'
import { crossEntropy, crossEntropySchema } from './cross-entropy.js'
import type { ActiveLoss, Loss } from './loss.js'
import { mellowmax, mellowmaxSchema } from './mellowmax.js'
import { negatedLogits, negatedLogitsSchema } from './negated-logits.js'

/** Every loss that `train.loss` may name, with its options. A new one is a file beside `cross-entropy.ts`, and a line here. */
const builtIn = [
  [crossEntropy, crossEntropySchema],
  [negatedLogits, negatedLogitsSchema],
  [mellowmax, mellowmaxSchema],
] as const

type SchemasOf<Entries> = {
  readonly [Place in keyof Entries]: Entries[Place] extends readonly [unknown, infer Schema] ? Schema : never
}

/** Options of the losses. */
export const lossSchemas = builtIn.map(([, schema]) => schema) as unknown as SchemasOf<typeof builtIn>

export type LossOptions = z.output<(typeof lossSchemas)[number]>

/** Every loss by its `type`. */
export const losses: ReadonlyMap<string, Loss> = new Map(builtIn.map(([loss]) => [loss.type, loss as unknown as Loss]))

/** What is minimised where nothing else is said. */
export const meanCrossEntropy: ActiveLoss = {
  loss: crossEntropy as unknown as Loss,
  options: { type: 'cross-entropy', labelSmoothing: 0 } as { type: string },
}
