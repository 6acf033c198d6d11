import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compileTemplate } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import type { PromptFile } from '../store/prompt-file.js'
import { endingOf } from './ending.js'
import { type PromptedGguf, writePromptedGguf } from './gguf.js'
import { vocabularyReason } from './hf.js'
import { readme } from './readme.js'
import type { ExportContext, ExportTarget } from './target.js'
import { chatPieces, goTemplate, literal } from './vocabulary/go-template.js'
import { hasVocabularyRows } from './vocabulary/rows.js'

/** The GGUF file with a Modelfile, whose template writes the prompt's tokens. */
export const ollama: ExportTarget = {
  name: 'ollama',
  description: 'a GGUF file and a Modelfile whose template writes the prompt',
  holds: hasVocabularyRows,
  form: method => (method.offset ? 'rows of the vocabulary, the offset folded into the table' : 'rows of the vocabulary'),
  reason: vocabularyReason,
  softTokens: true,
  async write(context) {
    const { folder, model } = context
    const made = await writePromptedGguf(context)
    const template = modelfileTemplate(context.prompt, model.tokenizer, made)
    if (template.includes('"""')) throw unquotable(template)
    const { tokenizer } = model
    const stops = tokenizer.endTokenIds.map(id => `PARAMETER stop ${JSON.stringify(tokenizer.token(id))}`)
    const ending = endingOf(context.prompt, tokenizer)
    if (ending?.isToken === false) stops.push(`PARAMETER stop ${JSON.stringify(ending.end.text)}`)
    const lines = [`FROM ./${made.fileName}`, `TEMPLATE """${template}"""`, 'PARAMETER temperature 0', ...stops]
    await writeFile(join(folder, 'Modelfile'), `${lines.join('\n')}\n`)
    await writeFile(join(folder, 'README.md'), readmeOf(context, made))
  },
}

/** What the Modelfile's TEMPLATE is. @throws GradpromptError `not-exportable` */
export function modelfileTemplate(
  { template, position }: Pick<PromptFile, 'template' | 'position'>,
  tokenizer: Pick<Tokenizer, 'applyChatTemplate'>,
  { rows, beginning }: PromptedGguf,
): string {
  if (typeof template !== 'string') {
    const pieces = chatPieces(tokenizer)
    const promptText = rows.promptTokens.join('')
    if (position === 'before-bos') return literal(promptText) + goTemplate(pieces)
    throw new GradpromptError('not-exportable', 'The prompt stands behind the first token of a chat template', {
      found: 'position: after-bos',
      expected: 'position: before-bos',
      hint: 'export to gguf: its own template puts the prompt there',
    })
  }
  const column = onlyColumn(template)
  if (column === undefined) return `${literal(beginning)}{{ .Prompt }}`
  const [before, after] = rows
    .written(template)
    .split(`{${column}}`)
    .map(text => literal(text.replaceAll('{{', '{').replaceAll('}}', '}')))
  return `${literal(beginning)}${before}{{ .Prompt }}${after}`
}

/** The column of a template that has one, in one place. */
function onlyColumn(template: string): string | undefined {
  const { columns } = compileTemplate(template)
  const [column] = columns
  return columns.length === 1 && template.split(`{${column}}`).length === 2 ? column : undefined
}

function readmeOf(context: ExportContext, { rows }: PromptedGguf): string {
  const { prompt, model } = context
  const name = model.name.toLowerCase().replace(/[^a-z0-9-]+/g, '-')
  const isText = typeof prompt.template === 'string'
  const column = isText ? onlyColumn(String(prompt.template)) : undefined
  const given = isText ? (column === undefined ? 'THE FILLED TEMPLATE' : `THE ROW'S ${column}`) : 'YOUR MESSAGE'
  return readme(context, {
    title: 'A tuned prompt for Ollama',
    usage: `\`\`\`sh
ollama create ${name}-prompted -f Modelfile
ollama run ${name}-prompted "${given}"
\`\`\``,
    notes: [
      `The Modelfile's template writes the prompt's ${rows.promptTokens.length} tokens${isText && column === undefined ? ' in front of a text in which the columns are filled in' : ''}.`,
      '`node self-test.mjs` computes what `self-test.json` expects of the GGUF file, with node-llama-cpp.',
    ],
  })
}

const unquotable = (template: string) =>
  new GradpromptError('not-exportable', 'A Modelfile cannot quote the template', {
    found: template.slice(0, 200),
    expected: 'a template without """',
    hint: 'export to gguf',
  })
