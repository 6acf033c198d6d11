import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors.js'
import { type PromptFile, readPrompt, staticPrompt, writePrompt } from '../../src/store/prompt-file.js'

let folder: string
let path: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-prompt-'))
  path = join(folder, 'prompt.safetensors')
})
afterAll(() => rm(folder, { recursive: true }))

const prompt: PromptFile = {
  method: { type: 'prompt-tuning', numVirtualTokens: 2, init: { type: 'text', text: 'Classify “é”' } },
  model: { name: 'smollm2-135m-instruct', hash: 'sha256:ab12' },
  hiddenSize: 3,
  numVirtualTokens: 2,
  position: 'before-bos',
  template: 'Review: {text}\nSentiment:',
  answer: ' {label}',
  labels: { '0': 'negative', '1': 'positive' },
  seed: 13,
  tensors: [
    { name: 'prompt', shape: [2, 3], data: Float32Array.of(1, -2, 3e-20, 0.1, 5, 6) },
    { name: 'encoder', shape: [1], data: Float32Array.of(7) },
  ],
}
const sorted = (file: PromptFile) => ({ ...file, tensors: [...file.tensors].sort((a, b) => (a.name < b.name ? -1 : 1)) })

describe('the prompt file', () => {
  test('comes back as it was written', async () => {
    await writePrompt(path, prompt)
    const read = await readPrompt(path)
    expect(sorted(read)).toEqual(sorted(prompt))
    expect(staticPrompt(read)).toEqual({ data: prompt.tensors[0]!.data, shape: [2, 3] })
    const encoder = { ...prompt, tensors: prompt.tensors.slice(1) }
    expect(staticPrompt(encoder)).toBeUndefined()
  })

  test('holds any template, answer and labels', async () => {
    const text = fc.string({ unit: 'grapheme' })
    const message = fc.record({ role: text, content: text })
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(text, fc.array(message)),
        text,
        fc.option(fc.dictionary(fc.string(), text, { noNullPrototype: true }), { nil: undefined }),
        fc.option(fc.record({ text, ids: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }) }), { nil: undefined }),
        async (template, answer, labels, answerEnd) => {
          const { labels: _, ...rest } = prompt
          const file: PromptFile = { ...rest, template, answer, ...(labels && { labels }), ...(answerEnd && { answerEnd }) }
          await writePrompt(path, file)
          const read = await readPrompt(path)
          expect(sorted(read)).toEqual(sorted(file))
          expect(Object.keys(read.labels ?? {})).toEqual(Object.keys(labels ?? {}))
        },
      ),
      { numRuns: 40 },
    )
  })

  test('has bytes that depend on the content alone', async () => {
    await writePrompt(path, prompt)
    const bytes = await readFile(path)
    const other = join(folder, 'elsewhere.safetensors')
    const { init, ...method } = prompt.method as typeof prompt.method & { init: object }
    await writePrompt(other, { ...prompt, method: { init, ...method }, tensors: [...prompt.tensors].reverse() })
    expect(await readFile(other)).toEqual(bytes)
    await writePrompt(other, { ...prompt, seed: 14 })
    expect(await readFile(other)).not.toEqual(bytes)
  })

  test('is not written when it cannot be used', async () => {
    const nan = [{ name: 'prompt', shape: [2, 3], data: Float32Array.of(1, 2, Number.NaN, 4, 5, 6) }]
    await expect(writePrompt(path, { ...prompt, tensors: nan })).rejects.toThrow('prompt holds a number that is not finite')
    await expect(writePrompt(path, { ...prompt, numVirtualTokens: 3 })).rejects.toThrow('prompt has shape [2, 3], not [3, 3]')
    await expect(writePrompt(path, { ...prompt, tensors: [] })).rejects.toThrow('no tensors')
  })

  test.each<[string, Record<string, string | undefined>, string]>([
    ['another format', { format: 'pt' }, 'a file of format "pt"'],
    ['no format', { format: undefined }, 'no format in its metadata'],
    ['no answer', { answer: undefined }, 'answer is missing: expected a text'],
    [
      'a position that is unknown',
      { position: 'middle' },
      'position is not valid: found "middle", expected one of before-bos, after-bos',
    ],
    ['a size that is no number', { hiddenSize: '"3"' }, 'hiddenSize is not valid: found "3", expected a number'],
    ['a size that is not that of the prompt', { hiddenSize: '4' }, 'prompt has shape [2, 3], not [2, 4]'],
    ['options that are not JSON', { methodConfig: '{' }, 'methodConfig is not JSON'],
    ['options without a type', { methodConfig: '{}' }, 'method.type is missing: expected a text'],
    [
      'soft tokens that are no list',
      { methodConfig: '{"type":"soft-template","softTokens":3}' },
      'method.softTokens is not valid: found 3, expected a list',
    ],
    ['labels that are not words', { labels: '{"0":1}' }, 'labels.0 is not valid: found 1, expected a text'],
  ])('with %s is refused', async (_, change, found) => {
    await expect(readPrompt(await changed(change))).rejects.toThrow(
      expect.objectContaining({ code: 'not-a-prompt', found: expect.stringContaining(found) }),
    )
  })

  test('of a later version, of no safetensors, and absent', async () => {
    await expect(readPrompt(await changed({ formatVersion: '2' }))).rejects.toThrow(
      expect.objectContaining({ code: 'prompt-version', found: 'format version 2' }),
    )
    await writeFile(path, 'not a prompt at all')
    await expect(readPrompt(path)).rejects.toThrow(expect.objectContaining({ name: 'GradpromptError' }))
    await expect(readPrompt(join(folder, 'absent'))).rejects.toThrow(expect.objectContaining({ code: 'file-not-found' }))
  })
})

/** A valid file with some of its metadata replaced. */
async function changed(change: Record<string, string | undefined>): Promise<string> {
  await writePrompt(path, prompt)
  const bytes = await readFile(path)
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString())
  const metadata = Object.fromEntries(
    Object.entries<string | undefined>({ ...header.__metadata__, ...change }).filter(([, value]) => value !== undefined),
  ) as Record<string, string>
  await writeSafetensors(path, prompt.tensors, metadata)
  return path
}
