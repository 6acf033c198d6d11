import { GradpromptError } from '../../errors.js'
import { escapeTemplate, type Template } from './template.js'

/** The place of the prompt in a template. */
export const PROMPT_COLUMN = 'prompt'

/** A template with a text where the prompt stands. */
export function fillPrompt(template: Template, prompt: string): Template {
  const escaped = escapeTemplate(prompt)
  const fill = (text: string) => text.replaceAll(/\{\{|\}\}|\{prompt\}/g, found => (found === '{prompt}' ? escaped : found))
  return typeof template === 'string' ? fill(template) : template.map(message => ({ ...message, content: fill(message.content) }))
}

/** What stands behind the prompt in the text, or the message, that holds it. */
export function behindPrompt(template: Template): string {
  const texts = typeof template === 'string' ? [template] : template.map(({ content }) => content)
  for (const text of texts)
    for (const { 0: found, index } of text.matchAll(/\{\{|\}\}|\{prompt\}/g))
      if (found === '{prompt}') return text.slice(index + found.length)
  return ''
}

/** @throws GradpromptError `no-prompt-place` unless `{prompt}` stands in the template exactly once */
export function requirePlace(template: Template): void {
  const texts = typeof template === 'string' ? [template] : template.map(({ content }) => content)
  const places = texts.flatMap(text =>
    [...text.matchAll(/\{\{|\}\}|\{prompt\}/g)].filter(([found]) => found === '{prompt}'),
  ).length
  if (places === 1) return
  throw new GradpromptError('no-prompt-place', 'the template has to say where the searched prompt stands', {
    found: places === 0 ? 'no {prompt} in it' : `{prompt} ${places} times`,
    expected: '{prompt} once, such as "{text}\\nSentiment{prompt}:"',
  })
}
