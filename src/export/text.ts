import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Template } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import { ownCommand } from '../own-command.js'
import { isStatic } from '../prompts/static.js'
import { type NearestWords, nearestWords } from './nearest-words.js'
import { notPrivate, privacyWords } from './readme.js'
import type { ExportTarget } from './target.js'
import type { Words } from './text-formats/format.js'
import { textFormats } from './text-formats/index.js'

/**
 * Words as files for people and other tools, with a page of Markdown that has the text around them: those that a search has found, or those
 * nearest to the vectors of a soft prompt, which do not do what the vectors do; what that costs is measured and said.
 */
export const text: ExportTarget = {
  name: 'text',
  description:
    'words that a search has found, or the nearest of a soft prompt, as text, Markdown, JSON, and files of LangChain, DSPy, promptfoo and OpenAI',
  holds: method => isStatic(method),
  form: () => 'the words nearest to its rows, which is not the same: what it costs is measured',
  inexact: true,
  reason: () => 'it does other than to put fixed rows in front of the text, and words would do that alone',
  async write(context) {
    const { prompt, baseModel, folder } = context
    if (typeof prompt.template !== 'string') throw standsBeforeChat()
    const nearest = await nearestWords(context)
    const labels = prompt.labels && [...new Set(Object.values(prompt.labels))]
    const template = nearest.words.replace(/[{}]/g, '$&$&') + prompt.template
    const found = { prompt: nearest.words, privacy: prompt.privacy, config: { model: baseModel } }
    const words = { found, template, answer: prompt.answer, labels, rows: await context.answeredRows() }
    await writeWords(words, folder, {
      title: 'The words nearest to a soft prompt',
      what: `For ${baseModel}. These words are not the prompt: they are the tokens nearest to the ${prompt.numVirtualTokens} vectors of a prompt of ${prompt.method.type} (mean cosine ${nearest.cosine.toFixed(3)}). \`prompt.txt\` holds them exactly:`,
      worth: costOf(nearest),
    })
  },
  async writeFound({ found, folder, ...around }) {
    const { type, extractor } = found.config.search ?? { type: 'a search', extractor: undefined }
    await writeWords({ found, ...around }, folder, {
      title: `A prompt found by ${type}`,
      what: `For ${found.config.model}. \`prompt.txt\` holds these words exactly, spaces at their ends included:`,
      extractor,
      worth: found.privacy === undefined && found.verdict ? `${found.verdict}.` : undefined,
    })
  },
}

/** What a page says besides the words and the text around them. */
interface Page {
  readonly title: string
  readonly what: string
  /** Words that ask for the answer behind the model's own reasoning. */
  readonly extractor?: string | undefined
  readonly worth?: string | undefined
}

async function writeWords(words: Words, folder: string, about: Page): Promise<void> {
  // The words to the last byte: a line break at the end would be a token more.
  await writeFile(join(folder, 'prompt.txt'), words.found.prompt)
  const usages: string[] = []
  for (const { file, usage, content } of textFormats) {
    const text = content(words)
    if (text === undefined) continue
    await writeFile(join(folder, file), text)
    usages.push(`- \`${file}\`: ${usage}`)
  }
  await writeFile(join(folder, 'README.md'), page(words, usages, about))
}

function page({ found, template, answer, labels }: Words, usages: readonly string[], about: Page): string {
  const parts = [
    `# ${about.title}`,
    about.what,
    fenced(found.prompt),
    `## The text that it stands in`,
    `\`{column}\` stands for a value of a row; \`{{\` and \`}}\` are braces.`,
    ...turns(template),
    `The answer: ${inline(answer)}`,
    ...(labels === undefined ? [] : [`The labels: ${labels.map(inline).join(', ')}`]),
    ...(about.extractor === undefined
      ? []
      : ['The model reasons behind this text; then these words ask for the answer:', fenced(about.extractor)]),
    '## The other files',
    usages.join('\n'),
    ...(found.privacy === undefined
      ? []
      : [
          '## What it may show of the rows that it was written from',
          found.privacy === null ? notPrivate : privacyWords(found.privacy, 'these words'),
        ]),
    ...(about.worth === undefined ? [] : ['## What it is worth', about.worth]),
  ]
  return `${parts.join('\n\n')}\n`
}

/** What it costs to have words in place of vectors. */
function costOf({ likelihood: { vectors, words, nothing }, tokens }: NearestWords): string {
  const nats = (value: number) => `${value.toFixed(3)} nats per token`
  return `The tokens that the vectors themselves go on with, behind a few rows, have a mean log-probability of ${nats(vectors)} under the vectors, ${nats(words)} under these words (read as ${tokens} tokens), and ${nats(nothing)} under nothing. The words cost ${nats(vectors - words)}. Export to another target for the prompt itself.`
}

const standsBeforeChat = () =>
  new GradpromptError('not-exportable', 'The vectors stand in front of a chat, where no message has words', {
    found: 'a prompt whose template is chat messages',
    expected: 'a template of plain text, or a run of gradprompt search',
    hint: `${ownCommand`inspect RUN`} shows the nearest words of each vector`,
  })

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
