import { compute } from '../../computing/computation.js'
import { searchReport } from '../../show/searching.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput } from '../../terminal/output.js'

/** `gradprompt search` */
export const run: CommandFunction = async ({ options, flags, flagNames }) => {
  const output = createOutput(options)
  const configFile = options.config as string | undefined
  if (options['print-config'] === true) {
    const { resolveSearchConfig } = await import('../../computing/config-input.js')
    const { stringify } = await import('yaml')
    const config = await resolveSearchConfig({ configFile, flags, flagNames })
    if (output.json) output.object(config)
    else output.text(stringify(config).trimEnd())
    return 0
  }
  if (options['dry-run'] === true) {
    const { dryRunSearch } = await import('../../show/dry-run-search.js')
    await dryRunSearch({ configFile, flags, flagNames }, output)
    return 0
  }
  const report = searchReport(output)
  return report.of(compute('search', { configFile, flags, flagNames }, report))
}
