import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compileMessages } from '../data/texts/rendering.js'
import type { Template } from '../data/texts/template.js'
import { readme } from './readme.js'
import { clientModule } from './scripts/js.js'
import type { ExportTarget } from './target.js'
import { hasVocabularyRows, tokenNames } from './vocabulary/rows.js'

/** A TypeScript module that fills the template and asks an OpenAI-compatible endpoint, which has the prompt. */
export const js: ExportTarget = {
  name: 'js',
  description: 'a TypeScript module that fills the template and asks an OpenAI-compatible endpoint',
  holds: () => true,
  needsGradprompt: true,
  form: () => 'the template; the endpoint has the prompt',
  severalTasks: true,
  async write(context) {
    const { prompt, active, model, folder } = context
    const { template, answer, labels, numVirtualTokens, position } = prompt
    const isText = typeof template === 'string'
    const tokens =
      isText && position === 'before-bos' && hasVocabularyRows(active.method)
        ? tokenNames(model, numVirtualTokens).join('') + firstToken(model.tokenizer)
        : ''
    const words = labels && [...new Set(Object.values(labels))]
    await writeFile(join(folder, 'prompt.ts'), clientModule({ template, answer, labels: words, promptTokens: tokens }))
    const { columns, conversations } = compileMessages(template as Template)
    const value = (column: string) => (conversations.includes(column) ? '[{ role: "user", content: "…" }]' : '"…"')
    const values = `{ ${columns.map(column => `${JSON.stringify(column)}: ${value(column)}`).join(', ')} }`
    const imported = words ? 'ask, classify' : 'ask'
    await writeFile(
      join(folder, 'README.md'),
      readme(context, {
        title: 'A tuned prompt, asked over HTTP',
        usage: `\`\`\`ts
import { ${imported} } from "./prompt.ts"

const endpoint = { baseUrl: 'http://localhost:8080/v1', model: 'NAME' }   // of gradprompt serve the name of the run's folder

console.log(await ask(${values}, endpoint))
${words ? `console.log(await classify(${values}, endpoint))\n` : ''}\`\`\`

The endpoint has the prompt: \`npx gradprompt serve RUN\` (\`apiKey\` is the token that it prints, unless it runs with \`--no-token\`), vLLM with what \`export --to hf\` wrote, or llama-server with what \`--to gguf\` wrote
(with \`promptTokens: true\`, for a text has to name the prompt's tokens there).`,
        notes: ['The module needs nothing but `fetch`: Node 20, a browser, Deno, Bun.'],
      }),
    )
  },
}

/** BOS, where the tokenizer puts it before a text. */
function firstToken({
  encode,
  bosTokenId,
  token,
}: {
  encode(text: string): number[]
  bosTokenId: number | undefined
  token(id: number): string
}): string {
  return bosTokenId !== undefined && encode('x')[0] === bosTokenId ? token(bosTokenId) : ''
}
