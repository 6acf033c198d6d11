import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Template } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import { ownCommand } from '../own-command.js'
import type { ExportTarget, FoundContext } from './target.js'
import { textFormats } from './text-formats/index.js'

/** Words that a search has found, as files for people and other tools: the words alone, and a page of Markdown with the text around them. */
export const text: ExportTarget = {
  name: 'text',
  description: 'the words that a search has found, as text, Markdown, JSON, and files of LangChain, DSPy, promptfoo and OpenAI',
  holds: () => false,
  reason: () => 'vectors are no text: it takes what a search has found',
  async write({ prompt }) {
    throw new GradpromptError('not-exportable', 'vectors are no text', {
      found: `a soft prompt of ${prompt.method.type}`,
      expected: 'a run of gradprompt search',
      hint: `${ownCommand`inspect RUN`} shows the nearest words of each vector, which do not do what the vectors do`,
    })
  },
  async writeFound(context) {
    const { found, folder } = context
    // The words to the last byte: a line break at the end would be a token more.
    await writeFile(join(folder, 'prompt.txt'), found.prompt)
    const usages: string[] = []
    for (const { file, usage, content } of textFormats) {
      const text = content(context)
      if (text === undefined) continue
      await writeFile(join(folder, file), text)
      usages.push(`- \`${file}\`: ${usage}`)
    }
    await writeFile(join(folder, 'README.md'), page(context, usages))
  },
}

function page({ found, template, answer, labels }: FoundContext, usages: readonly string[]): string {
  const { prompt, config, verdict } = found
  const { type, extractor } = config.search ?? { type: 'a search', extractor: undefined }
  const parts = [
    `# A prompt found by ${type}`,
    `For ${config.model}. \`prompt.txt\` holds these words exactly, spaces at their ends included:`,
    fenced(prompt),
    `## The text that it stands in`,
    `\`{column}\` stands for a value of a row; \`{{\` and \`}}\` are braces.`,
    ...turns(template),
    `The answer: ${inline(answer)}`,
    ...(labels === undefined ? [] : [`The labels: ${labels.map(inline).join(', ')}`]),
    ...(extractor === undefined
      ? []
      : ['The model reasons behind this text; then these words ask for the answer:', fenced(extractor)]),
    '## The other files',
    usages.join('\n'),
    ...(verdict === undefined ? [] : ['## What it is worth', `${verdict}.`]),
  ]
  return `${parts.join('\n\n')}\n`
}

const turns = (template: Template): string[] =>
  typeof template === 'string' ? [fenced(template)] : template.flatMap(({ role, content }) => [`**${role}**`, fenced(content)])

/** The longest run of backticks in a text, and one more. */
const fence = (content: string, least: number) =>
  '`'.repeat(Math.max(least, ...[...content.matchAll(/`+/g)].map(([found]) => found.length + 1)))

const fenced = (content: string) => `${fence(content, 3)}text\n${content}\n${fence(content, 3)}`

function inline(content: string): string {
  const marks = fence(content, 1)
  // A space at either side is taken off by readers of Markdown.
  return `${marks} ${content.replaceAll('\n', '\\n')} ${marks}`
}
