import type { CommandFunction } from '../commands.js'
import { compute } from '../computation.js'
import { learningReport } from '../learning.js'
import { createOutput } from '../output.js'

/** `gradprompt resume RUN` */
export const run: CommandFunction = async ({ argument, options }) => {
  const folder = argument!
  const report = learningReport(createOutput(options), folder)
  return report.of(compute('resume', { folder, steps: options.steps as number | undefined }, report))
}
