import { answering } from './tables/answering.js'
import { labelling } from './tables/labelling.js'
import { learning } from './tables/learning.js'
import { others } from './tables/others.js'
import { sweeps } from './tables/sweeps.js'
import type { Command } from './terminal/command.js'

/** What the command line takes: these tables drive parsing, `--help` and docs/cli.md. */
export const commands: readonly Command[] = [...learning, ...sweeps, ...answering, ...labelling, ...others]
