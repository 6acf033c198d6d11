import { z } from 'zod'
import type { OptionSchema } from '../../config/options.js'
import { openCheckpoint, shortName } from '../../model/checkpoint.js'
import { methodSchemas, promptMethods } from '../../prompts/methods/index.js'
import { searchMethods, searchSchemas } from '../../search/methods/index.js'
import { learnedNumbers } from '../../train/check-method.js'
import { configSchema } from '../../train/config.js'
import { configOptions, describeOption } from '../show/config-help.js'
import { exportsOf } from '../show/learning.js'
import type { CommandFunction } from '../terminal/command.js'
import { createOutput, plural, table } from '../terminal/output.js'

/** `gradprompt methods` */
export const run: CommandFunction = async ({ options }) => {
  const output = createOutput(options)
  const checkpoint = typeof options.model === 'string' ? await openCheckpoint(options.model) : undefined
  await checkpoint?.file.close()
  for (const [type, method] of promptMethods) {
    const schema = methodSchemas.find(schema => schema.shape.type.value === type)!
    const own = configOptions(z.toJSONSchema(schema, { io: 'input' }) as OptionSchema, 'method.').filter(
      ({ path }) => path !== 'method.type',
    )
    const config = configSchema.shape.method.parse({ type })
    // What the training rows decide has no size yet.
    const parameters = checkpoint && (learnedNumbers(method.parameters(config, checkpoint.config)) || undefined)
    const exports = await exportsOf(type)
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
  for (const [type, { paper, steps }] of searchMethods) {
    const schema = searchSchemas.find(schema => schema.shape.type.value === type)!
    const own = configOptions(z.toJSONSchema(schema, { io: 'input' }) as OptionSchema, 'search.').filter(
      ({ path }) => path !== 'search.type',
    )
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
