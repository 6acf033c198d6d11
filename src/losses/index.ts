import type { z } from 'zod'
import { type TypedOptions, typedOptions } from '../config/typed-options.js'
import { Registry } from '../registry.js'
import { classCrossEntropy, classCrossEntropySchema } from './class-cross-entropy.js'
import { contextDistillation, contextDistillationSchema } from './context-distillation.js'
import { crossEntropy, crossEntropySchema } from './cross-entropy.js'
import { kto, ktoSchema } from './kto.js'
import type { ActiveLoss, Loss } from './loss.js'
import { lossCalls } from './loss-calls.js'
import { mellowmax, mellowmaxSchema } from './mellowmax.js'
import { negatedLogits, negatedLogitsSchema } from './negated-logits.js'
import { preferenceLosses } from './preferences.js'

/** Every loss that `train.loss` may name, with its options. A new one is a file beside `cross-entropy.ts`, and a line here. */
const builtIn = [
  [crossEntropy, crossEntropySchema],
  [classCrossEntropy, classCrossEntropySchema],
  [negatedLogits, negatedLogitsSchema],
  [mellowmax, mellowmaxSchema],
  [contextDistillation, contextDistillationSchema],
  ...preferenceLosses,
  [kto, ktoSchema],
] as const

type SchemasOf<Entries> = {
  readonly [Place in keyof Entries]: Entries[Place] extends readonly [unknown, infer Schema] ? Schema : never
}

/** Options of the losses. */
export const lossSchemas = builtIn.map(([, schema]) => schema) as unknown as SchemasOf<typeof builtIn>

export type LossOptions = z.output<(typeof lossSchemas)[number]>

/** Every loss by its `type`. People's own join in. */
export const losses = new Registry<Loss>(
  {
    word: 'loss',
    exports: ['loss'],
    name: 'type',
    requires: { paper: 'a text', compute: 'a function' },
    may: {
      options: 'an object or a function',
      dims: 'an object',
      inputs: 'a function',
      feed: 'a function',
      figures: 'a function',
      answers: 'a function',
      reference: 'a function',
      reward: 'a function',
      ofClasses: 'a function',
      data: 'a function',
    },
    calls: lossCalls,
  },
  builtIn.map(([loss]): [string, Loss] => [loss.type, loss as unknown as Loss]),
)

/** Options of every loss, those of people's own last. */
export const allLossSchemas = (): readonly TypedOptions[] => [
  ...(lossSchemas as unknown as readonly TypedOptions[]),
  ...losses.own.map(([type, { options, paper }]) => typedOptions(type, options, paper)),
]

/** What is minimised where nothing else is said. */
export const meanCrossEntropy: ActiveLoss = {
  loss: crossEntropy as unknown as Loss,
  options: { type: 'cross-entropy', labelSmoothing: 0 } as { type: string },
}
