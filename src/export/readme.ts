import type { PromptFile } from '../store/prompt-file.js'
import { type Ending, endingOf } from './ending.js'
import type { ExportContext } from './target.js'

/** The README beside exported files: what whoever uses them has to know of the prompt. How a tool loads them, its exporter says. */

/** Where a README's parts come from, and what its target says of itself. */
export interface ReadmeParts {
  readonly title: string
  /** How to use the files: Markdown that works when it is pasted. */
  readonly usage: string
  /** The template as the consumer must write it; by default that of the prompt. */
  readonly template?: string | undefined
  /** Further sentences. */
  readonly notes?: readonly string[]
}

const quoted = (text: string) => `\`${JSON.stringify(text)}\``

/** @returns Markdown */
export function readme(
  { prompt, model, baseModel }: Pick<ExportContext, 'prompt' | 'model' | 'baseModel'>,
  { title, usage, template, notes = [] }: ReadmeParts,
): string {
  const own = typeof prompt.template === 'string' ? quoted(prompt.template) : quoted(JSON.stringify(prompt.template))
  const labels = prompt.labels && Object.entries(prompt.labels).map(([value, word]) => `${quoted(value)} is ${quoted(word)}`)
  const lines = [
    `# ${title}`,
    `A soft prompt (${prompt.method.type}, ${prompt.numVirtualTokens} virtual tokens) for ${baseModel}, tuned with gradprompt.`,
    usage,
    `- Template: ${template === undefined ? own : quoted(template)}, whose \`{column}\` stand for the values of a row.`,
    `- Answer: ${quoted(prompt.answer)}${labels ? `; labels: ${labels.join(', ')}` : ''}.`,
    `- End of an answer: ${endOf(
      model.tokenizer.endTokenIds.map(id => model.tokenizer.token(id)),
      prompt.labels !== undefined,
      endingOf(prompt, model.tokenizer),
    )}`,
    ...(prompt.privacy ? [`- Training rows: ${privacyWords(prompt.privacy, 'this prompt')}`] : []),
    ...notes.map(note => `- ${note}`),
  ]
  const [head, intro, use, ...list] = lines
  return `${head}\n\n${intro}\n\n${use}\n\n${list.join('\n')}\n`
}

function endOf(ends: readonly string[], hasLabels: boolean, ending: Ending | undefined): string {
  const stop = ends.length > 0 ? `the model stops at ${ends.map(quoted).join(' or ')}` : 'the model has no token that ends a text'
  if (ending !== undefined) {
    const { end, isToken, isScored } = ending
    const learned = `${quoted(end.text)}, which was learned behind every answer: ${isToken ? 'generation ends at this token' : 'have generation stop at this text, which is no part of the answer'}`
    if (!hasLabels) return `${learned}.`
    return `${learned}. Labels are told apart by the likelihood of their ${isScored ? 'tokens with this end, since those of one begin those of another' : 'own tokens'}.`
  }
  return hasLabels
    ? `the answer is the label's own tokens: read no further than the longest label (${stop}, and was not taught to).`
    : `${stop}; otherwise at the end of the line, or after as many tokens as the longest answer has.`
}

/** A text as the prompt was learned with, as Python and JavaScript write it: its template, where that is a text. */
export const exampleText = ({ template }: Pick<PromptFile, 'template'>): string =>
  JSON.stringify(typeof template === 'string' ? template : 'YOUR TEXT, by the chat template')

/**
 * What a prompt may show of the rows that it came of, where these were private.
 * @param privacy epsilon, delta, and what they are made of
 * @param what `these words`, `this prompt`
 */
export function privacyWords({ epsilon, delta, ...figures }: Readonly<Record<string, number>>, what: string): string {
  const by = Object.entries(figures).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
  return `Whether a row was among them changes the chance of ${what} by a factor of e^${epsilon?.toPrecision(3)} at most, but for a chance of ${delta?.toPrecision(3)} (differential privacy; ${by.join(', ')}).`
}

/** Of a private search whose prompt has no account. */
export const notPrivate =
  'Anything: these words are not private. They were found by a private search without its noise, or before it had ended, and nothing is promised of them.'
