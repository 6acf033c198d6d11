import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
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
    const values = '{ column: "value" }'
    await writeFile(
      join(folder, 'README.md'),
      readme(context, {
        title: 'A tuned prompt, asked over HTTP',
        usage: `\`\`\`ts
import { ask, classify } from "./prompt.ts"

console.log(await ask(${values}, { baseUrl: 'http://localhost:8080/v1' }))
${words ? `console.log(await classify(${values}, { baseUrl: 'http://localhost:8080/v1' }))\n` : ''}\`\`\`

The endpoint has the prompt: \`gradprompt serve RUN\`, vLLM with what \`export --to hf\` wrote, or llama-server with what \`--to gguf\` wrote
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
