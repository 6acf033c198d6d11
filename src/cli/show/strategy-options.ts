import { GradpromptError } from '../../errors.js'
import { jsonOrUndefined } from '../../json.js'
import type { StrategyGiven } from '../../strategies/index.js'
import type { OptionValues } from '../terminal/command.js'

/**
 * How answers are found with several calls, as flags say it: `--strategy retries --strategy-option turns=4`. Which options a strategy has it
 * says itself, with the call.
 * @throws GradpromptError `invalid-option`
 */
export function readStrategy(options: OptionValues): StrategyGiven | undefined {
  const type = options.strategy as string | undefined
  const given = (options['strategy-option'] as readonly string[] | undefined) ?? []
  if (type === undefined) {
    if (given.length === 0) return undefined
    throw new GradpromptError('invalid-option', '--strategy-option needs --strategy', {
      found: given.join(' '),
      expected: 'the name of a strategy beside it: --strategy self-consistency',
    })
  }
  const pairs = given.map((text): [string, unknown] => {
    const at = text.indexOf('=')
    if (at > 0)
      return [
        text
          .slice(0, at)
          .trim()
          .replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase()),
        valueIn(text.slice(at + 1)),
      ]
    throw new GradpromptError('invalid-option', '--strategy-option is not valid', {
      found: text,
      expected: 'name=value: samples=8',
    })
  })
  const twice = pairs.find(([name], i) => pairs.findIndex(([other]) => other === name) < i)
  if (twice !== undefined)
    throw new GradpromptError('invalid-option', `--strategy-option ${twice[0]} is given twice`, {
      found: given.join(' '),
      expected: 'one of them',
    })
  if (pairs.some(([name]) => name === 'type'))
    throw new GradpromptError('invalid-option', '--strategy says which strategy it is', {
      found: `--strategy ${type}, and ${given.find(text => text.trim().startsWith('type'))!}`,
      expected: 'one of them',
    })
  return pairs.length === 0 ? type : { type, ...Object.fromEntries(pairs) }
}

/** Numbers and truth values are what they say, and so are lists and quoted texts of JSON: `controls=["", "Be kind."]`, `from="2024"`. */
function valueIn(text: string): unknown {
  if (/^\s*[["]/.test(text)) {
    const value = jsonOrUndefined(text)
    if (value !== undefined) return value
  }
  if (text === 'true' || text === 'false') return text === 'true'
  return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text
}
