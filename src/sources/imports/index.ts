import { open } from 'node:fs/promises'
import { dspy } from './dspy.js'
import type { ImportedRows, ImportedText, PromptReader } from './imported.js'
import { koboldai } from './koboldai.js'
import { langchain } from './langchain.js'
import { numpy } from './numpy.js'
import { pickle } from './pickle.js'
import { plainText } from './plain-text.js'
import { promptfoo } from './promptfoo.js'
import { raw } from './raw.js'
import { safetensors } from './safetensors.js'

/** Every format of other tools in which a prompt is read; the first that knows a file reads it. A new one is a file here, and a word. */
export const promptReaders: readonly PromptReader[] = [
  pickle,
  koboldai,
  numpy,
  safetensors,
  raw,
  plainText,
  promptfoo,
  langchain,
  dspy,
]

/** How much of a file tells what it is. */
const headBytes = 64 * 1024

/**
 * Reads a prompt that another tool wrote.
 * @returns undefined where no reader knows the file
 * @throws GradpromptError `not-a-prompt`, `invalid-zip`, `invalid-npy`, and those of `openSafetensors`
 */
export async function importedPrompt(path: string): Promise<ImportedRows | ImportedText | undefined> {
  const file = await open(path)
  const head = Buffer.alloc(headBytes)
  const { bytesRead } = await file.read(head, 0, headBytes, 0).finally(() => file.close())
  const reader = promptReaders.find(({ reads }) => reads(path.toLowerCase(), head.subarray(0, Math.max(4, bytesRead))))
  return reader?.read(path)
}
