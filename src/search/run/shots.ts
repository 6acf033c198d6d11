import { labelWord } from '../../data/labels.js'
import { behindPrompt } from '../../data/prompt-place.js'
import { setOrigin } from '../../data/records.js'
import { compileTemplate } from '../../data/template.js'
import { GradpromptError } from '../../errors.js'
import { needsOf, type SearchConfig } from '../config.js'
import type { SearchTask } from './task.js'

/**
 * A config whose prompt is its task's examples: what the template says behind `{prompt}`, the answer, and a separator, row after row.
 * @returns the config itself where no examples were asked for
 * @throws GradpromptError `no-example` where nothing of a row stands behind `{prompt}`
 */
export function withExamples(config: SearchConfig, { shots, labels }: SearchTask): SearchConfig {
  if (shots.length === 0) return config
  const { search, template, answer } = config
  const text = compileTemplate(behindPrompt(template))
  if (text.columns.length === 0)
    throw new GradpromptError(
      'no-example',
      'search.shots shows rows as the template does behind {prompt}, and no column stands there',
      {
        found: JSON.stringify(behindPrompt(template)),
        expected: 'a template such as "{prompt}Review: {text}\\nSentiment:"',
        hint: 'put {prompt} before the text of the row, or write the examples into search.prompt',
      },
    )
  const separator = needsOf(config).shots?.separator ?? '\n'
  const examples = shots.map((record, i) => {
    const word = labels && labelWord(labels, record, i)
    const filled = word === undefined ? record : { ...record, [labels!.column]: word }
    setOrigin(filled, `example ${i + 1}`)
    return text.render(record, i) + compileTemplate(answer).render(filled, i) + separator
  })
  return { ...config, search: { ...search, prompt: examples.join('') } }
}
