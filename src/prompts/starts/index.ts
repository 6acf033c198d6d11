import { z } from 'zod'
import type { InitialisationContext } from '../method.js'
import { domain } from './domain.js'
import { labels } from './labels.js'
import { random } from './random.js'
import { runs } from './runs.js'
import type { Start } from './start.js'
import { text } from './text.js'
import { vocabulary } from './vocabulary.js'

/** What rows at the input may start from, every start by its `type`. A new one is a file beside `text.ts`, and a line here. */
const builtIn = [text, vocabulary, labels, random, runs, domain] as const

type SchemasOf<Entries> = { [Place in keyof Entries]: Entries[Place] extends Start<infer Schema> ? Schema : never }

export const initSchema = z.discriminatedUnion(
  'type',
  builtIn.map(({ schema }) => schema) as unknown as Writable<SchemasOf<typeof builtIn>>,
)

type Writable<List> = { -readonly [Place in keyof List]: List[Place] }

export type Init = z.output<typeof initSchema>

const starts = new Map(builtIn.map(one => [one.schema.shape.type.value as string, one as unknown as Start]))

/** Of a method's `init`, whose types may be more than these. */
export const startOf = (init: { readonly type: string } | undefined): Start | undefined => init && starts.get(init.type)

/** @returns [count, hiddenSize] */
export const startingRows = (init: Init, count: number, context: InitialisationContext): Promise<Float32Array> =>
  startOf(init)!.rows(init, count, context)
