import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { PromptedGguf } from '../../src/export/gguf.js'
import { modelfileTemplate } from '../../src/export/ollama.js'
import { chatPieces, chatText, goTemplate } from '../../src/export/vocabulary/go-template.js'
import type { VocabularyRows } from '../../src/export/vocabulary/rows.js'
import { promptedChatTemplate, tokenizerParts, writeTokenizer } from '../../src/export/vocabulary/tokenizer-files.js'
import { chatTemplateRenderer } from '../../src/formats/chat-template.js'
import { openGguf } from '../../src/formats/gguf.js'
import { loadTokenizer, type Tokenizer, type TokenizerSource } from '../../src/formats/tokenizer.js'
import { problem } from '../support/problem.js'

let folder: string
let source: TokenizerSource
let tokenizer: Tokenizer
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-chat-'))
  const file = await openGguf('models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf')
  source = { ggufMetadata: file.metadata }
  await file.close()
  tokenizer = await loadTokenizer(source)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const rows = {
  tokens: ['<|soft_0|>', '<|soft_1|>'],
  firstId: 49152,
  promptTokens: ['<|soft_0|>', '<|soft_1|>'],
  promptIds: [49152, 49153],
  written: (text: string) => text,
} as unknown as VocabularyRows

const user = { role: 'user', content: 'Hi {{ there }}' }

describe("the bundled model's tokenizer as files", () => {
  test('reads texts as the GGUF file does, behind the prompt', async () => {
    const parts = await tokenizerParts(source)
    await writeTokenizer(folder, parts, rows, { insertion: 'post-processor', chatTemplate: parts.chatTemplate }, 'before-bos')
    const written = await loadTokenizer({ folder })
    expect(written.vocabSize).toBe(49154)
    for (const text of ['Review: a stirring film\nSentiment:', '  12 345\n\n\té漢🙂', '<|im_start|>user\nx<|im_end|>']) {
      const ids = tokenizer.encode(text)
      expect(written.encode(text)).toEqual([49152, 49153, ...ids])
      expect(written.encode(text, { addSpecialTokens: false })).toEqual(ids)
      expect(written.decode(ids)).toBe(tokenizer.decode(ids))
    }
    expect(written.encode('<|soft_1|>', { addSpecialTokens: false })).toEqual([49153])
    expect(written.applyChatTemplate([user])).toBe(tokenizer.applyChatTemplate([user]))
    const { added_tokens: added } = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8')) as {
      added_tokens: { content: string; special: boolean; normalized: boolean }[]
    }
    expect(added.at(-1)).toMatchObject({ content: '<|soft_1|>', special: true, normalized: false })
  })
})

describe('a chat template with the prompt', () => {
  const plain = () => tokenizer.applyChatTemplate([user], { addGenerationPrompt: true })
  const rendered = (first: string | undefined) => {
    const template = promptedChatTemplate(tokenizer.chatTemplate!, '<|soft_0|>', first)
    return chatTemplateRenderer(template, {})([user], { addGenerationPrompt: true })
  }

  test('writes it before everything', () => {
    expect(rendered(undefined)).toBe(`<|soft_0|>${plain()}`)
  })

  test('or behind the first token', () => {
    const first = '<|im_start|>'
    expect(plain().startsWith(first)).toBe(true)
    expect(rendered(first)).toBe(`${first}<|soft_0|>${plain().slice(first.length)}`)
  })
})

describe("Ollama's template", () => {
  test('makes the same conversations as the model’s own', () => {
    const pieces = chatPieces(tokenizer)
    const turns = [user, { role: 'assistant', content: 'Yes.' }, { role: 'user', content: 'And?' }] as const
    for (const messages of [[user], turns, [{ role: 'system', content: 'Be brief.' }, ...turns]])
      expect(chatText(pieces, messages as Parameters<typeof chatText>[1])).toBe(
        tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }),
      )
    expect(goTemplate(pieces)).toMatch(/\{\{ range \.Messages \}\}.*\{\{ end \}\}\{\{ end \}\}<\|im_start\|>assistant\n$/s)
  })

  test('is refused where the model’s own does more', () => {
    const counting = "{% for m in messages %}{{ loop.index }}{{ m['content'] }}{% endfor %}"
    const error = problem(() => chatPieces({ applyChatTemplate: chatTemplateRenderer(counting, {}) }))
    expect(error).toMatchObject({ code: 'not-exportable', hint: expect.stringContaining('gguf') })
  })

  test('has the text of a template with one column', () => {
    const made = { fileName: 'x.gguf', rows, beginning: '<|soft_0|><|soft_1|>' } satisfies PromptedGguf
    const of = (template: string) => modelfileTemplate({ template, position: 'before-bos' }, tokenizer, made)
    expect(of('Review: {text}\n{{x}}:')).toBe('<|soft_0|><|soft_1|>Review: {{ .Prompt }}\n{x}:')
    expect(of('{a} and {b}')).toBe('<|soft_0|><|soft_1|>{{ .Prompt }}')
  })
})
