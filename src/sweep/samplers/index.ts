import { grid } from './grid.js'
import { random } from './random.js'
import type { Sampler } from './sampler.js'
import { tpe } from './tpe.js'

/** The ways of choosing values, by their names. */
export const samplers: Readonly<Record<string, Sampler>> = { grid, random, tpe }
