import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sweepConfigSchema } from '../src/api/sweep/plan.js'
import { packageRoot } from '../src/package-root.js'
import { searchConfigJsonSchema } from '../src/search/config.js'
import { configJsonSchema } from '../src/train/config.js'

/** A module of people's own, by its path, has options that only it knows. */
const ownType = {
  type: 'object',
  properties: {
    type: { type: 'string', pattern: '^(\\.{1,2}/|/|file:)|\\.[cm]?[jt]s$', description: 'the path of a module of your own' },
  },
  required: ['type'],
}

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
    'tune.json': text('gradprompt tune', withOwnTypes(configJsonSchema(), [['method'], ['train', 'loss']])),
    'search.json': text('gradprompt search', withOwnTypes(searchConfigJsonSchema(), [['search']])),
    'sweep.json': text('gradprompt sweep', {
      anyOf: [
        withOwnTypes(sweepConfigSchema('tune'), [['method'], ['train', 'loss']]),
        withOwnTypes(sweepConfigSchema('search'), [['search']]),
      ],
    }),
  }
}

/** A schema whose unions by type take people's own as well. */
function withOwnTypes(schema: object, places: readonly (readonly string[])[]): object {
  const open = structuredClone(schema) as Level
  for (const place of places) {
    let level = open
    for (const name of place) level = level.properties![name]!
    const union = level.oneOf ?? level.anyOf
    union!.push(ownType)
  }
  return open
}

interface Level {
  readonly properties?: Readonly<Record<string, Level>>
  readonly oneOf?: object[]
  readonly anyOf?: object[]
}
