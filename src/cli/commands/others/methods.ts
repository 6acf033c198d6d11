import { z } from 'zod'
import type { OptionSchema } from '../../../config/options.js'
import { typedOptions } from '../../../config/typed-options.js'
import { targetsOf } from '../../../export/index.js'
import { openCheckpoint, shortName } from '../../../model/weights/checkpoint.js'
import { promptMethods } from '../../../prompts/methods/index.js'
import { searchMethods } from '../../../search/methods/index.js'
import { learnedNumbers } from '../../../train/check-method.js'
import { configSchema } from '../../../train/config.js'
import { configOptions, describeOption } from '../../show/config-help.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput, plural, table } from '../../terminal/output.js'

/** `gradprompt methods` */
export const run: CommandFunction = async ({ options }) => {
  const output = createOutput(options)
  const checkpoint = typeof options.model === 'string' ? await openCheckpoint(options.model) : undefined
  await checkpoint?.file.close()
  for (const [type, method] of promptMethods) {
    const own = optionsOf(method, 'method')
    const config = configSchema.shape.method.parse({ type })
    // What the training rows decide has no size yet.
    const parameters = checkpoint && (learnedNumbers(method.parameters(config, checkpoint.config)) || undefined)
    const exports = await targetsOf(type)
    output.object({
      event: 'method',
      type,
      paper: method.paper,
      exports,
      options: own.map(({ path, description, choices, default: fallback }) => ({
        path,
        description,
        choices,
        default: fallback,
      })),
      ...(checkpoint && { model: shortName(checkpoint), parameters }),
    })
    const facts = [
      ['exports', exports.join(', ') || 'none'],
      ['paper', method.paper],
      ...(checkpoint === undefined || parameters === undefined
        ? []
        : [['size', `${plural(parameters, 'number')} for ${shortName(checkpoint)}, with the defaults`]]),
    ]
    const rows = own.map(option => [`  ${option.path}`, describeOption(option)])
    output.text(`${type}\n${table(facts.map(([key, value]) => [`  ${key}`, value!]))}\n\n${table(rows)}`)
  }
  for (const [type, method] of searchMethods) {
    const { paper, steps } = method
    const own = optionsOf(method, 'search')
    const options = own.map(({ path, description, choices, default: fallback }) => ({
      path,
      description,
      choices,
      default: fallback,
    }))
    output.object({ event: 'search', type, paper, steps, options })
    const rows = own.map(option => [`  ${option.path}`, describeOption(option)])
    output.text(`${type} (gradprompt search)\n${table([['  paper', paper]])}\n\n${table(rows)}`)
  }
  return 0
}

/** The options of an entry beside its type. */
function optionsOf({ type, paper, options }: Entry, part: 'method' | 'search') {
  const schema = z.toJSONSchema(typedOptions(type, options, paper), { io: 'input', unrepresentable: 'any' }) as OptionSchema
  return configOptions(schema, `${part}.`).filter(({ path }) => path !== `${part}.type`)
}

interface Entry {
  readonly type: string
  readonly paper: string
  readonly options?: unknown
}
