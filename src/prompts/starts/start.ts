import type { z } from 'zod'
import type { InitialisationContext } from '../method.js'

/** What rows at the input start from: `method.init`. One is one file beside this one, and a line in `index.ts`. */
export interface Start<Schema extends z.ZodType = z.ZodType> {
  /** Its options, `type` among them. */
  readonly schema: Schema
  /** What else a config has to say for it. */
  readonly needs?: 'label words'
  /** The domain is estimated for it (`domain`), whether the config speaks of it or not. */
  readonly ofDomain?: boolean
  /**
   * @param count rows that are wanted
   * @returns [count, hiddenSize]
   */
  rows(options: z.output<Schema>, count: number, context: InitialisationContext): Promise<Float32Array>
}

/** A start, its types checked together. */
export const start = <Schema extends z.ZodType>(given: Start<Schema>): Start<Schema> => given
