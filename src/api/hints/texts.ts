import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { shorten } from '../../data/readers/records.js'
import type { Template } from '../../data/texts/template.js'
import { exists } from '../../files.js'
import { notWritten } from '../../hints/file.js'
import { askColumn } from '../../hints/form.js'
import { jsonOrUndefined } from '../../json.js'
import type { LanguageModel } from '../../model/language-model.js'
import { replaceText } from '../../store/atomic.js'
import { generate } from '../generation/generate.js'

/** Texts that a policy writes, each into a file of the folder: a call that was stopped goes on with it. */

export interface WriteOptions {
  readonly model: LanguageModel
  readonly out: string
  readonly template: Template
  /** The run whose prompt writes; undefined: the model as it is. */
  readonly policy: string | undefined
  readonly maxNewTokens: number
  /** 0: the likeliest text. */
  readonly temperature: number
  readonly seed: number
  readonly signal: AbortSignal | undefined
  readonly onProgress: (what: string, done: number, total: number) => void
}

export interface WrittenText {
  readonly text: string
  readonly tokens: number
}

/** @throws GradpromptError `run-corrupt`, and as `generate.toFile` does */
export async function write(name: string, asks: readonly string[], options: WriteOptions): Promise<WrittenText[]> {
  const { out, policy, onProgress, ...settings } = options
  const [input, output] = [join(out, `${name}-asked.jsonl`), join(out, `${name}.jsonl`)]
  if (!(await exists(output))) {
    await replaceText(input, asks.map(ask => `${JSON.stringify({ [askColumn]: ask })}\n`).join(''))
    const told = (done: number, total: number) => onProgress(name, done, total)
    await generate.toFile({ ...settings, input, output, prompt: policy, onProgress: told })
  }
  const lines = (await readFile(output, 'utf8')).trimEnd().split('\n')
  if (lines.length !== asks.length) throw notWritten(output, `${lines.length} lines of ${asks.length}`)
  return lines.map((line, i) => {
    const written = schema.safeParse(jsonOrUndefined(line))
    if (!written.success) throw notWritten(output, `line ${i + 1}: ${shorten(line)}`)
    return { text: written.data.text, tokens: written.data.ids.length }
  })
}

const schema = z.object({ text: z.string(), ids: z.array(z.int()) })
