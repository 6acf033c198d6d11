import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { packageRoot } from '../src/package-root.js'
import { searchConfigJsonSchema } from '../src/search/config.js'
import { configJsonSchema } from '../src/train/config.js'

/** Writes the JSON Schemas of the configs, for editors, to `schemas/`: every build does, so that they never differ from the code. */
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const folder = join(packageRoot(), 'schemas')
  await mkdir(folder, { recursive: true })
  for (const [name, text] of Object.entries(schemaFiles())) await writeFile(join(folder, name), text)
}

/** The text of each file by its name. */
export function schemaFiles(): Record<string, string> {
  const text = (title: string, schema: object) => `${JSON.stringify({ title, ...schema }, null, 2)}\n`
  return {
    'tune.json': text('gradprompt tune', configJsonSchema()),
    'search.json': text('gradprompt search', searchConfigJsonSchema()),
  }
}
