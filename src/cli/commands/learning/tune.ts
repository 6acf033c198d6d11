import { compute } from '../../computing/computation.js'
import { learningReport } from '../../show/learning.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput } from '../../terminal/output.js'

/** `gradprompt tune` */
export const run: CommandFunction = async ({ options, flags, flagNames }) => {
  const output = createOutput(options)
  const configFile = options.config as string | undefined
  if (options['print-config'] === true) {
    const { resolveConfig } = await import('../../computing/config-input.js')
    const { stringify } = await import('yaml')
    const config = await resolveConfig({ configFile, flags, flagNames })
    if (output.json) output.object(config)
    else output.text(stringify(config).trimEnd())
    return 0
  }
  if (options['dry-run'] === true) {
    const { dryRun } = await import('../../show/dry-run.js')
    await dryRun({ configFile, flags, flagNames }, output)
    return 0
  }
  const report = learningReport(output)
  return report.of(compute('tune', { configFile, flags, flagNames }, report))
}
