import { promptMethods } from '../prompts/methods/index.js'
import { Registry } from '../registry.js'
import { peft } from './peft.js'
import type { ExportTarget } from './target.js'
import { text } from './text.js'

/** Every target that is built in. A new one is a file beside `peft.ts`, and a word here. */
const builtIn: readonly ExportTarget[] = [peft, text]

/** Every target by its name; people's own join in. */
export const exportTargets = new Registry<ExportTarget>(
  {
    word: 'target',
    exports: ['target'],
    name: 'name',
    requires: { description: 'a text', holds: 'a function', write: 'a function' },
  },
  builtIn.map((target): [string, ExportTarget] => [target.name, target]),
)

/** What prompts of a method can be exported to. */
export async function targetsOf(type: string): Promise<string[]> {
  const method = promptMethods.get(await promptMethods.load(type))
  return [...exportTargets].filter(([, target]) => target.holds(method)).map(([name]) => name)
}
