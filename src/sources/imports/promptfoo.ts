import { realpath } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { isRecord } from '../../json.js'
import type { ImportedText, PromptReader } from './imported.js'
import { notAPrompt } from './rows.js'
import { fromMustache, messages, textOf, wholeObject, wholeText } from './texts.js'

/** A promptfoo config: its prompt, with `{{ name }}` for values. Its providers and tests are left to promptfoo. */
export const promptfoo: PromptReader = {
  name: 'promptfoo',
  description: 'the prompt of a promptfoo config, .yaml or .json',
  reads: (path, head) =>
    /\.(?:ya?ml|json)$/.test(path) && /(?:^|\n)prompts:|^\s*\{[\s\S]*"prompts"\s*:/.test(head.toString('utf8')),
  async read(path) {
    const { prompts } = await wholeObject(path)
    const given = Array.isArray(prompts) ? (prompts as unknown[]) : [prompts]
    if (given.length !== 1) throw notAPrompt(path, `${given.length} prompts`, 'one', 'write the others to configs of their own')
    const [first] = given
    const raw = isRecord(first) ? (first.raw ?? first.id) : first
    if (typeof raw !== 'string' || raw === '')
      throw notAPrompt(path, JSON.stringify(first)?.slice(0, 200) ?? 'nothing', 'a text, or file:// and the name of one')
    const text = raw.startsWith('file://') ? await besideIt(path, raw.slice('file://'.length)) : raw
    return prompt(path, text)
  },
}

function prompt(path: string, text: string): ImportedText {
  const leftOut = "only the prompt of the promptfoo config is used; its providers and tests are promptfoo's own"
  const chat = chatOf(text)
  if (chat === undefined) return textOf(path, fromMustache(path, text), leftOut)
  return textOf(
    path,
    messages(path, chat, content => fromMustache(path, content)),
    leftOut,
  )
}

/** promptfoo writes chat messages as JSON within the text. */
function chatOf(text: string): readonly unknown[] | undefined {
  if (!text.trimStart().startsWith('[')) return undefined
  try {
    const parsed: unknown = JSON.parse(text)
    return Array.isArray(parsed) ? parsed : undefined
  } catch {
    return undefined
  }
}

/** The text of a file in the folder of the config. @throws GradpromptError `not-a-prompt` where it lies outside */
async function besideIt(path: string, name: string): Promise<string> {
  if (!/\.(?:txt|json)$/.test(name))
    throw notAPrompt(path, `file://${name}`, 'a .txt or .json file', 'programs that write prompts are not run here')
  const folder = await realpath(dirname(path))
  const found = await realpath(join(folder, name)).catch(() => undefined)
  if (found === undefined) throw notAPrompt(path, `file://${name}, which is not there`, 'a file in the folder of the config')
  if (!found.startsWith(folder + sep))
    throw notAPrompt(path, `file://${name}, outside of its folder`, 'a file in the folder of the config')
  return wholeText(found)
}
