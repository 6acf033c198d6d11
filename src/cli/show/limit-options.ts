import { readText, sizeOf } from '../../data/read.js'
import { GradpromptError } from '../../errors.js'
import { exists } from '../../files.js'
import { grammarAsked, type LimitsAsked } from '../../generate/limits/asked.js'
import type { OptionValues } from '../terminal/command.js'
import { namesOf, textsIn } from './column-options.js'

/** What answers are limited to, as flags say it. */

export const limitNames = ['choices', 'regex', 'json-schema', 'rejected-mass']

/** @throws GradpromptError `invalid-option`, `invalid-regex`, `invalid-schema`, `unsupported-schema`, `file-not-found` */
export async function readLimits(options: OptionValues): Promise<LimitsAsked> {
  const limits = {
    choices: readChoices(options.choices as string | undefined),
    regex: options.regex as string | undefined,
    jsonSchema: await readSchema(options['json-schema'] as string | undefined),
    rejectedMass: options['rejected-mass'] === true || undefined,
  }
  grammarAsked(limits)
  return limits
}

/** `positive,negative`, or a JSON list of texts. @throws GradpromptError `invalid-option` */
function readChoices(text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined
  const choices = text.trimStart().startsWith('[') ? textsIn(text) : namesOf(text, 'choices')
  if (choices?.every(choice => choice !== '')) return choices
  throw new GradpromptError('invalid-option', '--choices is not valid', {
    found: text,
    expected: 'texts divided by commas, or a JSON list of texts: --choices positive,negative',
  })
}

/** A file, or the schema itself. @throws GradpromptError `invalid-schema` */
async function readSchema(given: string | undefined): Promise<unknown> {
  if (given === undefined) return undefined
  const isFile = !given.trimStart().startsWith('{') && given.trim() !== 'true'
  const text = isFile && (await exists(given)) ? await readText(given, await sizeOf(given)) : given
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new GradpromptError('invalid-schema', '--json-schema is not valid', {
      found: isFile && text === given ? `${given}, which is no file` : cause instanceof Error ? cause.message : String(cause),
      expected: 'a file with a JSON Schema, or the schema itself: --json-schema \'{"type": "object", …}\'',
      cause,
    })
  }
}
