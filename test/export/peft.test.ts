import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { endingOf } from '../../src/export/ending.js'
import { writeFolder } from '../../src/export/folder.js'
import { type PeftExport, writePeft } from '../../src/export/peft.js'
import { pretrained } from '../../src/export/peft-card.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { fakeEncoder } from '../data/encoder.js'

const adapter = ({ data, shape }: { data: Float32Array; shape: readonly [number, number] }) => ({
  config: {
    token_dim: shape[1],
    prompt_tuning_init: 'RANDOM',
    num_virtual_tokens: shape[0],
    num_transformer_submodules: 1,
    num_layers: 30,
    num_attention_heads: 9,
    peft_type: 'PROMPT_TUNING',
  },
  tensors: [{ name: 'prompt_embeddings', shape, data }],
})

type Options = Omit<PeftExport, 'folder'> & { readonly out: string }

const exportPeft = ({ out, ...options }: Options) => writeFolder(out, folder => writePeft({ ...options, folder }))

let folder: string
let options: Options
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-peft-'))
  options = {
    adapter: adapter({ data: Float32Array.of(1, 2, 3, 4, 5, 1e-20), shape: [2, 3] }),
    position: 'before-bos',
    baseModel: 'HuggingFaceTB/SmolLM2-135M-Instruct',
    out: join(folder, 'deep', 'adapter'),
  }
})
afterEach(() => rm(folder, { recursive: true }))

describe('a PEFT adapter', () => {
  test('writes the folder that PEFT reads', async () => {
    await exportPeft(options)
    expect((await readdir(options.out)).sort()).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors'])
    expect(await readFile(join(options.out, 'adapter_config.json'), 'utf8')).toBe(`{
  "num_attention_heads": 9,
  "num_layers": 30,
  "num_transformer_submodules": 1,
  "num_virtual_tokens": 2,
  "peft_type": "PROMPT_TUNING",
  "prompt_tuning_init": "RANDOM",
  "token_dim": 3,
  "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
  "inference_mode": true,
  "task_type": "CAUSAL_LM"
}
`)
    const file = await openSafetensors(join(options.out, 'adapter_model.safetensors'))
    expect([...file.metadata]).toEqual([['format', 'pt']])
    expect([...file.tensors.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual([
      { name: 'prompt_embeddings', dtype: 'F32', shape: [2, 3] },
    ])
    expect(await file.read('prompt_embeddings')).toEqual(options.adapter.tensors[0]!.data)
    await file.close()
    const card = await readFile(join(options.out, 'README.md'), 'utf8')
    expect(card).toContain('base_model: "HuggingFaceTB/SmolLM2-135M-Instruct"')
    expect(card).toContain('self-test.json')
    expect(await readdir(join(folder, 'deep'))).toEqual(['adapter'])
  })

  test('says in its README how answers end: labels that begin one another are compared with their ends', async () => {
    const words = { template: '{text} =>', answer: ' {label}', answerEnd: { text: '<eos>', ids: [1] } }
    const tokenizer = fakeEncoder()
    const card = async (prompt: typeof words & { labels?: Record<string, string>; method: { type: string } }, name: string) => {
      const out = join(folder, name)
      await exportPeft({ ...options, out, prompt, ending: endingOf(prompt, tokenizer) })
      return readFile(join(out, 'README.md'), 'utf8')
    }
    const method = { type: 'prompt-tuning' }
    const alike = await card({ ...words, method, labels: { 1: 'abc', 2: 'abcd' } }, 'alike')
    expect(alike).toContain('answers = [" abc<eos>"," abcd<eos>"]')
    const others = await card({ ...words, method, labels: { a: 'yes', b: 'no' } }, 'others')
    expect(others).toContain('answers = [" yes"," no"]')
    const free = await card({ ...words, method }, 'free')
    expect(free).toContain('do_sample=False, eos_token_id=1)')
    expect(free).toContain('it was learned with "<eos>" behind it')
    const marked = await card({ ...words, answerEnd: { text: '##', ids: [9, 9] }, method }, 'marked')
    expect(marked).toContain('stop_strings=["##"], tokenizer=tokenizer)')
    const turns = await card({ ...words, template: [{ role: 'conversation', content: '{m}' }] as never, method }, 'turns')
    expect(turns).toContain('row = {"m": [{"role": "user", "content": "…"}]}')
    expect(turns).toContain('messages += row[m["content"].strip("{}")]')
  })

  test('names the file of a GGUF model, which transformers wants apart from its folder', () => {
    expect(pretrained('m', '/models/a/b.gguf')).toEqual({ base: '/models/a', file: ', gguf_file="b.gguf"' })
    expect(pretrained('owner/name', '/cache/x')).toEqual({ base: 'owner/name', file: '' })
  })

  test('fills an empty folder, and leaves any other alone', async () => {
    await mkdir(options.out, { recursive: true })
    await exportPeft(options)
    const before = await readFile(join(options.out, 'adapter_model.safetensors'))
    const other = { ...options, adapter: adapter({ data: Float32Array.of(9, 9, 9), shape: [1, 3] }) }
    await expect(exportPeft(other)).rejects.toThrow(expect.objectContaining({ code: 'folder-not-empty' }))
    expect(await readFile(join(options.out, 'adapter_model.safetensors'))).toEqual(before)

    const out = join(folder, 'file')
    await writeFile(out, 'x')
    await expect(exportPeft({ ...options, out })).rejects.toThrow(expect.objectContaining({ code: 'cannot-write' }))
    await expect(exportPeft({ ...options, out: join(out, 'adapter') })).rejects.toThrow(
      expect.objectContaining({ code: 'cannot-write' }),
    )
    expect(await readFile(out, 'utf8')).toBe('x')
  })

  test('leaves nothing when it fails', async () => {
    const wrong = { ...options, adapter: adapter({ data: new Float32Array(5), shape: [2, 3] }) }
    await expect(exportPeft(wrong)).rejects.toThrow(expect.objectContaining({ code: 'shape-mismatch' }))
    expect(await readdir(join(folder, 'deep'))).toEqual([])
  })

  test('refuses a prompt that stands after BOS', async () => {
    await expect(exportPeft({ ...options, position: 'after-bos' })).rejects.toThrow(
      expect.objectContaining({ code: 'position-not-exportable', found: 'position: after-bos' }),
    )
    expect(await readdir(join(folder, 'deep'))).toEqual([])
  })
})
