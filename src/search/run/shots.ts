import { type DataRecord, setOrigin } from '../../data/readers/records.js'
import { labelWord } from '../../data/texts/labels.js'
import { behindPrompt } from '../../data/texts/prompt-place.js'
import { compileTemplate } from '../../data/texts/template.js'
import { GradpromptError } from '../../errors.js'
import { needsOf, type SearchConfig } from '../config.js'
import type { SearchContext } from '../moves/method.js'
import { exampleOf } from '../writing/critic.js'
import type { SearchJob } from './job.js'
import type { SearchTask } from './task.js'

/**
 * A config whose prompt is its task's examples: what the template says behind `{prompt}`, the answer, and a separator, row after row.
 * @returns the config itself where no examples were asked for
 * @throws GradpromptError `no-example` where nothing of a row stands behind `{prompt}`
 */
export function withExamples(config: SearchConfig, { shots, labels }: SearchTask): SearchConfig {
  if (shots.length === 0) return config
  const { search, template } = config
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
  const examples = shots.map((record, i) => shown(record, i, config, labels) + separator)
  return { ...config, search: { ...search, prompt: examples.join('') } }
}

/** A record as the template shows it behind the prompt, with its answer; what stands between them is by default nothing. */
function shown(
  record: DataRecord,
  index: number,
  { template, answer }: Pick<SearchConfig, 'template' | 'answer'>,
  labels: SearchTask['labels'],
  between = '',
): string {
  const word = labels && labelWord(labels, record, index)
  const filled = word === undefined ? record : { ...record, [labels!.column]: word }
  setOrigin(filled, `example ${index + 1}`)
  return compileTemplate(behindPrompt(template)).render(record, index) + between + compileTemplate(answer).render(filled, index)
}

/**
 * How a question is shown with its answer. Where nothing of a row stands behind the prompt, it is shown as an input and an output. What the
 * model wrote before it answered stands between the question and the text that asks for the answer.
 */
export function demonstrations({ config, model: { tokenizer } }: SearchJob, task: SearchTask): SearchContext['demoOf'] {
  const { extractor } = config.search
  const isBehind = compileTemplate(behindPrompt(config.template)).columns.length > 0
  return ({ index }, reasoning) => {
    const record = task.questions[index]!
    const thoughts = reasoning && extractor !== undefined ? tokenizer.decode(reasoning).trimEnd() : undefined
    const asked = thoughts === undefined ? '' : `${thoughts}${compileTemplate(extractor!).render(record, index)}`
    if (isBehind) return shown(record, index, config, task.labels, asked)
    const { input, output } = exampleOf(record, index, config, task.labels)
    return `Input: ${input}\nOutput:${thoughts === undefined ? '' : ` ${thoughts.trimStart()}`} ${output}`
  }
}
