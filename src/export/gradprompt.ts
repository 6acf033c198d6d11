import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compileMessages } from '../data/texts/rendering.js'
import type { Template } from '../data/texts/template.js'
import { shellWord } from '../errors.js'
import { openCheckpoint } from '../model/weights/checkpoint.js'
import { writePrompt } from '../store/prompt-file.js'
import { readme } from './readme.js'
import type { ExportContext, ExportTarget } from './target.js'
import { tableSources } from './vocabulary/checkpoint-tensors.js'

/** The native container: one safetensors file with all that is needed to use, convert or go on learning a prompt. */
export const gradprompt: ExportTarget = {
  name: 'gradprompt',
  description: 'one file that gradprompt takes wherever a prompt is taken',
  holds: () => true,
  needsGradprompt: true,
  form: () => 'its tensors, options, template and labels',
  softTokens: true,
  severalTasks: true,
  async write(context) {
    const { prompt, folder, baseModel } = context
    const { columns, conversations } = compileMessages(prompt.template as Template)
    const data = conversations.length > 0 ? 'rows.jsonl' : 'rows.csv'
    const one = columns.length === 1 || conversations.length > 0
    const asked = one ? shellWord('…') : columns.map(column => `--columns ${shellWord(`${column}=…`)}`).join(' ')
    const base = `--model ${shellWord(baseModel)}`
    await writePrompt(join(folder, 'prompt.safetensors'), prompt, await origin(context))
    await writeFile(
      join(folder, 'README.md'),
      readme(context, {
        title: 'A tuned prompt',
        usage: `\`\`\`sh
npx gradprompt predict prompt.safetensors ${data} ${base}
npx gradprompt evaluate --prompt prompt.safetensors --data ${data} ${base}
npx gradprompt generate --prompt prompt.safetensors ${base} ${asked}
\`\`\`

The rows have the columns ${columns.map(column => `\`${column}\``).join(', ')} (to be evaluated also those of the answer); \`--model\` says where the base model is. In the library whatever
takes a prompt takes the file: \`predict({ prompt: 'prompt.safetensors', … })\`. Any safetensors reader
opens the file: \`safetensors.numpy.load_file("prompt.safetensors")\`.`,
        notes: [
          `Model: ${prompt.model.name}, hash ${prompt.model.hash.slice(0, 12)}; another one is refused.`,
          '`self-test.json` holds a few inputs with the greedy tokens and largest logits that they must give.',
        ],
      }),
    )
  },
}

/** What tells the base model apart in other tools: the bytes of its embedding table, and its chat template. */
async function origin({ model }: ExportContext): Promise<Record<string, string>> {
  const { file, ...checkpoint } = await openCheckpoint(model.checkpoint.path)
  try {
    const hash = createHash('sha256')
    for await (const piece of file.bytePieces(tableSources({ ...checkpoint, file }).embedding)) hash.update(piece)
    const { chatTemplate } = model.tokenizer
    return {
      embeddingHash: hash.digest('hex'),
      tokenizerHash: model.tokenizer.hash,
      ...(chatTemplate !== undefined && { chatTemplateHash: createHash('sha256').update(chatTemplate).digest('hex') }),
    }
  } finally {
    await file.close()
  }
}
