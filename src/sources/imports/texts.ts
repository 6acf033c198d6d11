import { parseYaml } from '../../config/yaml.js'
import { compileTemplate, type Template } from '../../data/texts/template.js'
import { isRecord } from '../../json.js'
import type { ImportedText } from './imported.js'
import { notAPrompt, wholeFile } from './rows.js'

/** What readers of words share: text in UTF-8, JSON or YAML in bounded memory, and other tools' places for values. */

const mostText = 4 * 2 ** 20

/** @throws GradpromptError `not-a-prompt` */
export async function wholeText(path: string): Promise<string> {
  const bytes = await wholeFile(path)
  if (bytes.length === 0 || bytes.length > mostText)
    throw notAPrompt(path, `${bytes.length} bytes`, `words, at most ${mostText} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw notAPrompt(path, 'bytes that are no UTF-8', 'words in UTF-8')
  }
}

/** A JSON or YAML file that holds an object. @throws GradpromptError `not-a-prompt` */
export async function wholeObject(path: string): Promise<Readonly<Record<string, unknown>>> {
  const parsed = parseYaml(await wholeText(path))
  if ('problem' in parsed) throw notAPrompt(path, parsed.problem.message, 'JSON or YAML that can be read')
  if (isRecord(parsed.value)) return parsed.value
  throw notAPrompt(path, 'no object at the top', 'promptfoo, DSPy or LangChain files')
}

const braces = (text: string) => text.replaceAll('{', '{{').replaceAll('}', '}}')

/**
 * Text with `{{ name }}` of Jinja or Nunjucks as this project writes it: `{name}`, and other braces twice.
 * @throws GradpromptError `not-a-prompt` for statements and filters, which a template here has not
 */
export function fromMustache(path: string, text: string): string {
  const parts = text.split(/(\{\{[^{}]*\}\}|\{%[\s\S]*?%\})/)
  return parts
    .map((part, i) => {
      if (i % 2 === 0) return braces(part)
      const name = /^\{\{-?\s*([\p{L}_][\p{L}\p{N}_.-]*)\s*-?\}\}$/u.exec(part)?.[1]
      if (name !== undefined) return `{${name}}`
      throw notAPrompt(
        path,
        part.slice(0, 100),
        'plain places such as {{ name }}',
        'write the text without statements and filters',
      )
    })
    .join('')
}

/** An instruction, where the words have no place for a value; otherwise the text that values go into. */
export function textOf(path: string, template: Template, leftOut?: string): ImportedText {
  const said = leftOut === undefined ? {} : { leftOut }
  if (typeof template !== 'string') {
    for (const { content } of template) columnsOf(path, content)
    return { kind: 'text', text: template.map(({ content }) => content).join('\n'), template, ...said }
  }
  const columns = columnsOf(path, template)
  if (columns > 0) return { kind: 'text', text: template, template, ...said }
  return { kind: 'text', text: compileTemplate(template).render({}), ...said }
}

function columnsOf(path: string, template: string): number {
  try {
    return compileTemplate(template).columns.length
  } catch (cause) {
    throw notAPrompt(path, cause instanceof Error ? cause.message : String(cause), 'places for values such as {name}')
  }
}

const roles: Readonly<Record<string, 'system' | 'user' | 'assistant'>> = {
  system: 'system',
  user: 'user',
  human: 'user',
  assistant: 'assistant',
  ai: 'assistant',
}

/** Chat messages of another tool. @throws GradpromptError `not-a-prompt` */
export function messages(path: string, given: readonly unknown[], read: (text: string) => string): Template {
  return given.map(message => {
    const { role, content } = isRecord(message) ? message : {}
    const known = typeof role === 'string' ? roles[role] : undefined
    if (known === undefined || typeof content !== 'string')
      throw notAPrompt(
        path,
        JSON.stringify(message).slice(0, 200),
        'messages with a role (system, user, assistant) and a text as content',
      )
    return { role: known, content: read(content) }
  })
}
