import type { PromptReader } from './imported.js'
import { wholeText } from './texts.js'

/** Words as they stand, to the last byte: an instruction. */
export const plainText: PromptReader = {
  name: 'txt',
  description: 'words, .txt: an instruction in front of the template',
  reads: path => path.endsWith('.txt'),
  read: async path => ({ kind: 'text', text: await wholeText(path) }),
}
