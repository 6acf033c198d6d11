import { isFile } from '../../files.js'
import type { ImportedRows, ImportedText } from '../../sources/imports/imported.js'
import { importedPrompt } from '../../sources/imports/index.js'
import { isPromptFile } from '../../store/prompt-file.js'
import { type Output, plural, quoted, table } from '../terminal/output.js'

/** `gradprompt inspect PROMPT`, of a prompt that another tool wrote. */

/** @returns undefined where the file is none, as far as its name and its beginning tell */
export async function importedOf(path: string): Promise<ImportedRows | ImportedText | undefined> {
  // What ends in .txt is as often a table that Excel wrote, and words are shown by any tool.
  const isNative =
    /\.(?:gguf|txt)$/.test(path) || (path.endsWith('.safetensors') && (await isFile(path)) && (await isPromptFile(path)))
  return isNative || !(await isFile(path)) ? undefined : importedPrompt(path)
}

export function inspectImported(path: string, imported: ImportedRows | ImportedText, output: Output): void {
  if (imported.kind === 'text') {
    const { text, template, leftOut } = imported
    output.object({ event: 'inspect', kind: 'imported', path, text, template: template ?? null })
    if (leftOut !== undefined) output.note(leftOut)
    const shown = template === undefined || typeof template === 'string' ? text : JSON.stringify(template)
    output.text(
      table([
        ['prompt', path],
        [template === undefined ? 'words' : 'template', quoted(shown, 2000)],
      ]),
    )
    return
  }
  const { data, width, position } = imported
  const norms = width === undefined ? [] : normsOf(data, width)
  output.object({ event: 'inspect', kind: 'imported', path, numbers: data.length, width: width ?? null, norms })
  output.text(
    table([
      ['prompt', path],
      [
        'rows',
        width === undefined
          ? `${data.length} numbers, in rows as wide as the model`
          : `${plural(norms.length, 'row')} of ${width}`,
      ],
      ['stand', position === 'after-bos' ? 'behind the first token' : 'before everything'],
      ...(norms.length > 0 ? [['norms', `${Math.min(...norms).toFixed(3)} to ${Math.max(...norms).toFixed(3)}`]] : []),
    ]),
  )
}

const normsOf = (data: Float32Array, width: number) =>
  Array.from({ length: data.length / width }, (_, i) =>
    Math.sqrt(data.subarray(i * width, (i + 1) * width).reduce((sum, x) => sum + x * x, 0)),
  )
