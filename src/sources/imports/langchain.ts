import type { Template } from '../../data/texts/template.js'
import { isRecord } from '../../json.js'
import type { PromptReader } from './imported.js'
import { notAPrompt } from './rows.js'
import { fromMustache, messages, textOf, wholeObject } from './texts.js'

/** A prompt template of LangChain: as `dumps` of `langchain_core.load` writes it, or as `prompt.save` does. */
export const langchain: PromptReader = {
  name: 'langchain',
  description: 'a prompt template of LangChain, .json or .yaml',
  reads: (path, head) =>
    /\.(?:ya?ml|json)$/.test(path) &&
    /(?:^|\n)(?:_type|input_variables):|^\s*\{[\s\S]*"(?:lc|_type|input_variables)"\s*:/.test(head.toString('utf8')),
  async read(path) {
    const whole = await wholeObject(path)
    const { messages: turns, ...rest } = fieldsOf(whole)
    if (!Array.isArray(turns)) return textOf(path, templateOf(path, rest))
    const given = (turns as unknown[]).map(turn => {
      const { prompt, content } = fieldsOf(turn)
      const role = /(System|Human|AI)Message/.exec(JSON.stringify(isRecord(turn) ? (turn.id ?? '') : ''))?.[1]?.toLowerCase()
      return {
        role,
        content:
          typeof content === 'string' ? content.replaceAll('{', '{{').replaceAll('}', '}}') : templateOf(path, fieldsOf(prompt)),
      }
    })
    return textOf(
      path,
      messages(path, given, text => text),
    )
  },
}

/** What `dumps` puts into `kwargs`, or the object itself. */
const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> =>
  !isRecord(value) ? {} : isRecord(value.kwargs) ? value.kwargs : value

function templateOf(
  path: string,
  { template, template_format: format = 'f-string' }: Readonly<Record<string, unknown>>,
): Extract<Template, string> {
  if (typeof template !== 'string') throw notAPrompt(path, 'no template', 'a prompt template of LangChain with its text in it')
  if (format === 'f-string') return template
  if (format === 'jinja2' || format === 'mustache') return fromMustache(path, template)
  throw notAPrompt(path, `template_format: ${JSON.stringify(format)}`, 'f-string, mustache or jinja2')
}
