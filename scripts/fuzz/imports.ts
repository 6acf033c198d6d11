import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { importedPrompt } from '../../src/sources/imports/index.js'
import { mutateBytes } from './mutate.js'
import type { FuzzTarget } from './run.js'

const words: Readonly<Record<string, string>> = {
  'a.yaml': 'prompts:\n  - "On {{ text }}: {x}"\nproviders: [echo]\n',
  'b.yaml': 'prompts: ["file://../../secret.txt"]\n',
  'c.json': '{"predict": {"demos": [], "signature": {"instructions": "Say it.", "fields": []}}, "metadata": {}}',
  'd.json': '{"lc": 1, "id": ["PromptTemplate"], "kwargs": {"template": "{text} -", "template_format": "f-string"}}',
}

/** Archives, arrays and texts of other tools, changed as bytes. */
export const imports: FuzzTarget = {
  name: 'imports',
  async prepare(folder) {
    const fixtures = 'test/fixtures/imports'
    const names = await readdir(fixtures)
    const files = await Promise.all(names.map(async name => ({ name, bytes: await readFile(join(fixtures, name)) })))
    for (const [name, text] of Object.entries(words)) files.push({ name, bytes: Buffer.from(text) })
    const all = files.map(({ bytes }) => bytes)
    return async chance => {
      const { name, bytes } = chance.pick(files)
      const path = join(folder, name)
      await writeFile(path, mutateBytes(chance, bytes, all))
      await importedPrompt(path)
    }
  },
}
