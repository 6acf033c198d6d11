import { sweepConfigSchema } from '../../../api/sweep/plan.js'
import { unknownName } from '../../../errors.js'
import { searchConfigJsonSchema } from '../../../search/config.js'
import { configJsonSchema } from '../../../train/config.js'
import { completedCommands, completionScripts } from '../../show/completion.js'
import type { CommandFunction } from '../../terminal/command.js'

/** `gradprompt completion SHELL` */
export const run: CommandFunction = async ({ argument, commands = [] }) => {
  const script = Object.hasOwn(completionScripts, argument!) ? completionScripts[argument!] : undefined
  if (script === undefined)
    throw unknownName('unknown-shell', 'there is no completion for this shell', argument!, Object.keys(completionScripts))
  const rootOf = (command: string) =>
    command === 'search' ? searchConfigJsonSchema() : command === 'sweep' ? sweepConfigSchema('tune') : configJsonSchema()
  process.stdout.write(script(completedCommands(commands, rootOf)))
  return 0
}
