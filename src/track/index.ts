import { z } from 'zod'
import { isModulePath } from '../own-modules.js'
import { Registry } from '../registry.js'
import { csv } from './csv.js'
import { mlflow } from './mlflow.js'
import { tensorboard } from './tensorboard.js'
import type { Tracker } from './tracker.js'

/** Every tracker that `track` may name. A new one is a file beside `csv.ts`, and a word here. People's own join in. */
const builtIn = [csv, tensorboard, mlflow]

export const trackers = new Registry<Tracker>(
  { word: 'tracker', exports: ['tracker'], name: 'name', requires: { description: 'a text', open: 'a function' } },
  builtIn.map((tracker): [string, Tracker] => [tracker.name, tracker]),
)

/** The option of a config. */
export const trackOption = z
  .array(
    z.union([
      z.enum(builtIn.map(({ name }) => name)),
      z
        .string()
        .refine(name => trackers.has(name) || isModulePath(name), { abort: true, error: 'the path of a module of your own' }),
    ]),
  )
  .min(1)
  .refine(names => new Set(names).size === names.length, 'names that differ')
  .optional()
  .describe(
    `where figures are followed as well: ${builtIn.map(({ name, description }) => `${name} (${description})`).join(', ')}, or the path of a module`,
  )
