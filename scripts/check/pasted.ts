import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * The Python of the README in an exported folder, as somebody pastes it: block by block, run where the files are. The base model is named
 * by the place that it has on this machine, as the README asks for.
 *
 * @param base a folder with the base model in the files of transformers
 * @throws RangeError where a README has no Python
 */
export function pasted(folder: string, base: string): string[] {
  const page = readFileSync(join(folder, 'README.md'), 'utf8')
  const blocks = [...page.matchAll(/```python\n([\s\S]*?)```/g)].map(([, code]) => code!)
  if (blocks.length === 0) throw new RangeError(`no Python in ${folder}/README.md`)
  // A GGUF file is loaded by two arguments; the same weights are in the folder.
  return blocks.map(code =>
    code.replace(/^base = .*$/m, `base = ${JSON.stringify(base)}`).replace(/, gguf_file=("[^"]*"|'[^']*')/g, ''),
  )
}
