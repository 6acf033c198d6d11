import { createRequire } from 'node:module'
import type { Parser } from 'web-tree-sitter'
import { GradpromptError } from '../../../errors.js'
import type { CodeLanguage } from './languages.js'

const parsers = new Map<string, Promise<Parser>>()

/**
 * A parser of a language, of packages that are not installed with gradprompt.
 * @throws GradpromptError `missing-package` with the command that installs them
 */
export function parserOf({ name, grammar }: CodeLanguage): Promise<Parser> {
  const known = parsers.get(name) ?? load(grammar)
  parsers.set(name, known)
  // What was missing may be installed by the next call.
  known.catch(() => parsers.delete(name))
  return known
}

async function load(grammar: CodeLanguage['grammar']): Promise<Parser> {
  const require = createRequire(import.meta.url)
  try {
    const { Language, Parser } = await import('web-tree-sitter')
    await Parser.init()
    const parser = new Parser()
    parser.setLanguage(await Language.load(require.resolve(`${grammar.package}/${grammar.file}`)))
    return parser
  } catch (cause) {
    throw new GradpromptError('missing-package', `CodeBLEU reads trees of code by web-tree-sitter and ${grammar.package}`, {
      found: cause instanceof Error ? cause.message.split('\n')[0]! : String(cause),
      expected: `web-tree-sitter and ${grammar.package} beside gradprompt`,
      hint: `npm install --ignore-scripts web-tree-sitter ${grammar.package}`,
      cause,
    })
  }
}
