import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { command } from '../cli/command.js'
import { failure } from '../formats/failure.js'

const fixture = (name: string) => `test/fixtures/models/${name}`
let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'gradprompt-models-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

let made = 0

/** A copy of a tiny model whose config has other keys (undefined: taken out). */
function changed(name: string, keys: Record<string, unknown>): string {
  const folder = join(scratch, String(made++))
  mkdirSync(folder)
  for (const file of ['model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
    copyFileSync(join(fixture(name), file), join(folder, file))
  const config = JSON.parse(readFileSync(join(fixture(name), 'config.json'), 'utf8')) as object
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...keys }))
  return folder
}

const open = async (path: string) => {
  const checkpoint = await openCheckpoint(path)
  await checkpoint.file.close()
  return checkpoint
}

describe('configurations', () => {
  test('what says nothing about the computation is let pass', async () => {
    await open(
      changed('qwen2', {
        _name_or_path: 'x',
        torch_dtype: 'bfloat16',
        unsloth_version: '2025.1',
        eos_token_id: [1, 2],
        hidden_dropout: 0.1,
        unknown_switch: false,
        unknown_list: [],
        unknown_nothing: null,
      }),
    )
  })

  test.each([
    ['qwen2', { attention_sink: 4 }, 'attention_sink'],
    ['qwen2', { rope_parameters: { rope_type: 'default', rope_theta: 1e4, temperature_scale: 2 } }, 'temperature_scale'],
    ['gemma', { query_pre_attn_scalar: 8 }, 'query_pre_attn_scalar'],
    ['llama-yarn', { residual_multiplier: 0.5 }, 'residual_multiplier'],
  ])('%s with an unknown key: %j', async (name, keys, key) => {
    const { code, found } = await failure(() => open(changed(name, keys)))
    expect(code).toBe('unknown-config-key')
    expect(found).toContain(key)
  })

  test.each([
    ['qwen2', { rms_norm_eps: -1 }],
    ['qwen2', { rms_norm_eps: 0 }],
    ['qwen2', { rms_norm_eps: '1e-6' }],
    ['qwen2', { rope_parameters: { rope_theta: 0 } }],
    ['qwen2', { rope_parameters: { rope_theta: 1e4, rope_type: 'spiral' } }],
    ['qwen2', { rope_parameters: [1] }],
    ['qwen2', { rope_parameters: { rope_type: 'yarn', rope_theta: 1e4, factor: -2 } }],
    [
      'qwen2',
      { rope_parameters: { rope_type: 'longrope', rope_theta: 1e4, short_factor: [1], original_max_position_embeddings: 8 } },
    ],
    ['qwen2', { num_attention_heads: 3 }],
    ['qwen2', { num_attention_heads: 6 }],
    ['qwen2', { num_key_value_heads: 3 }],
    ['qwen2', { num_key_value_heads: '2' }],
    ['qwen2', { hidden_size: 16.5 }],
    ['qwen2', { vocab_size: -96 }],
    ['qwen2', { vocab_size: undefined }],
    ['qwen2', { num_hidden_layers: 1e9 }],
    ['qwen2', { num_hidden_layers: 0 }],
    ['qwen2', { hidden_act: 'silo' }],
    ['qwen2', { tie_word_embeddings: 'yes' }],
    ['qwen2', { layer_types: ['full_attention'] }],
    ['qwen2', { layer_types: ['full_attention', 'full_attention', 'linear_attention'] }],
    ['qwen2', { layer_types: ['full_attention', 'full_attention', 'sliding_attention'] }],
    ['qwen2', { max_position_embeddings: Number.MAX_VALUE }],
    ['gemma', { head_dim: 7 }],
    ['gemma2', { query_pre_attn_scalar: 0 }],
    ['gemma2', { attn_logit_softcapping: -1 }],
    ['gemma2', { use_bidirectional_attention: true }],
    ['smollm3', { no_rope_layers: [1, 2, 0] }],
    ['stablelm', { rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.3 } }],
    ['granite', { embedding_multiplier: 0 }],
    ['falcon-7b', { alibi: true }],
    ['opt', { do_layer_norm_before: false }],
    ['gpt2-erf', { scale_attn_by_inverse_layer_idx: true }],
  ])('%s with %j is refused', async (name, keys) => {
    const { code } = await failure(() => open(changed(name, keys)))
    expect(code).toBe('invalid-model-config')
  })

  test('a layer that is not there is named', async () => {
    const { code, found } = await failure(() => open(changed('qwen2', { num_hidden_layers: 4, layer_types: null })))
    expect(code).toBe('missing-weight')
    expect(found).toContain('layers.3.')
  })

  test('whatever a value is made to be, the model opens or is refused', async () => {
    const folder = changed('gemma3', {})
    const path = join(folder, 'config.json')
    const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    const hostile = fc.oneof(fc.constantFrom(-1, 0, 0.5, 3, 7, 2 ** 31, 1e9, 1e300, '', '16', true, null, [], {}), fc.jsonValue())
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(config)), hostile, async (key, value) => {
        writeFileSync(path, JSON.stringify({ ...config, [key]: value }))
        const error: unknown = await open(folder).then(
          () => undefined,
          (error: unknown) => error,
        )
        if (error !== undefined) expect(error).toBeInstanceOf(GradpromptError)
      }),
      { seed: 3, numRuns: 500 },
    )
  })
})

test('a weight of a name that is not known, or that is missing, comes with the nearest', async () => {
  const renamed = async (from: string, to: string, isKept: boolean) => {
    const folder = changed('qwen2', {})
    const file = await openSafetensors(fixture('qwen2'))
    const tensors = await Promise.all(
      [...file.tensors.values()].map(async ({ name, shape }) => ({ name, shape: [...shape], data: await file.read(name) })),
    )
    await file.close()
    const other = { ...tensors.find(({ name }) => name === from)!, name: to }
    await writeSafetensors(
      join(folder, 'model.safetensors'),
      [...tensors.filter(({ name }) => isKept || name !== from), other],
      {},
    )
    return failure(() => open(folder))
  }
  const known = 'model.layers.1.self_attn.q_proj.weight'
  const more = await renamed(known, known.replace('q_proj', 'qq_proj'), true)
  expect(more.code).toBe('unknown-weight')
  expect(more.message).toContain('model.safetensors: ')
  expect(more.found).toContain('layers.1.self_attn.qq_proj.weight [')
  expect(more.hint).toContain('layers.1.self_attn.q_proj.weight')
  const less = await renamed(known, known.replace('q_proj', 'qq_proj'), false)
  expect(less.code).toBe('missing-weight')
  expect(less.found).toContain('layers.1.self_attn.q_proj.weight')
  expect(less.hint).toContain('model.layers.1.self_attn.qq_proj.weight')
})

test('a token without an embedding is told by inspect, and refused where a text holds it', async () => {
  const folder = changed('qwen2', {})
  const path = join(folder, 'tokenizer.json')
  const tokenizer = JSON.parse(readFileSync(path, 'utf8'))
  const size = Math.max(...Object.values<number>(tokenizer.model.vocab)) + 1
  const { vocab_size: embeddings } = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  for (let id = size; id <= embeddings; id++)
    tokenizer.added_tokens.push({ ...tokenizer.added_tokens[0], id, content: `<more-${id}>` })
  writeFileSync(path, JSON.stringify(tokenizer))
  expect((await command(['inspect', folder])).stdout).toContain('the last 1 of them without an embedding')
  const { code, stderr } = await command(['generate', '--model', folder, `a <more-${embeddings}>`, '--max-new-tokens', '1'])
  expect(code).toBe(2)
  expect(stderr).toMatch(/error\[invalid-token-id\].*hint: a tokenizer of more tokens/s)
})

describe('heads', () => {
  const logitsOf = async (folder: string) => {
    const model = await LanguageModel.load(folder, { threads: 1 })
    const [logits] = await model.logits([[5, 9, 30]])
    await model.dispose()
    return logits!
  }

  /** A tied model with a head beside its embeddings. */
  async function withHead(change: (x: number) => number, keys: Record<string, unknown> = {}): Promise<string> {
    const folder = changed('qwen2', keys)
    const file = await openSafetensors(fixture('qwen2'))
    const tensors = await Promise.all(
      [...file.tensors.values()].map(async ({ name, shape }) => ({ name, shape: [...shape], data: await file.read(name) })),
    )
    await file.close()
    const { shape, data } = tensors.find(({ name }) => name === 'model.embed_tokens.weight')!
    await writeSafetensors(
      join(folder, 'model.safetensors'),
      [...tensors, { name: 'lm_head.weight', shape, data: data.map(change) }],
      {},
    )
    return folder
  }

  test('one that is stored beside tied embeddings is them, or is used', async () => {
    const tied = await logitsOf(fixture('qwen2'))
    expect(await logitsOf(await withHead(x => x))).toEqual(tied)
    const own = await logitsOf(await withHead(x => 2 * x))
    expect(own).toEqual(tied.map(x => 2 * x))
    expect(own).toEqual(await logitsOf(await withHead(x => 2 * x, { tie_word_embeddings: false })))
  })
})

test.each([Number.NaN, Number.POSITIVE_INFINITY])('a weight that is %d is refused with its tensor’s name', async value => {
  const folder = changed('qwen2', {})
  const file = await openSafetensors(fixture('qwen2'))
  const name = 'model.layers.1.self_attn.v_proj.weight'
  const tensors = await Promise.all(
    [...file.tensors.values()].map(async tensor => ({ ...tensor, data: await file.read(tensor.name) })),
  )
  await file.close()
  tensors.find(tensor => tensor.name === name)!.data[7] = value
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, {})
  const { code, message, found } = await failure(async () => (await LanguageModel.load(folder)).dispose())
  expect(code).toBe('not-finite')
  expect(message).toContain(`"${name}"`)
  expect(found).toMatch(new RegExp(`^1 of \\d+: ${value}$`))
})

describe('forms that are not read', () => {
  test.each(['bitsandbytes', 'hqq', 'quanto', 'torchao', 'aqlm', 'mxfp4'])('weights stored by %s', async method => {
    const { code, found, hint } = await failure(() => open(changed('qwen2', { quantization_config: { quant_method: method } })))
    expect([code, found]).toEqual(['unsupported-quantization', `quantization by ${method}`])
    expect(hint).toContain('GGUF')
  })

  test('a pickle is not opened; the command that converts it is named', async () => {
    const folder = changed('qwen2', {})
    rmSync(join(folder, 'model.safetensors'))
    writeFileSync(join(folder, 'pytorch_model.bin'), 'x')
    const { code, found, hint } = await failure(() => open(folder))
    expect([code, found]).toEqual(['unsupported-format', 'pytorch_model.bin'])
    expect(hint).toContain('save_pretrained')
  })

  test.each([
    ['mixtral', 'mixture of experts'],
    ['qwen3_moe', 'mixture of experts'],
    ['mamba2', 'state along the text'],
    ['qwen2_5_vl', 'more than text'],
    ['gemma3', 'more than text'],
    ['bloom', 'ALiBi'],
    ['mpt', 'ALiBi'],
    ['qwen4', 'qwen'],
  ])('the architecture %s', async (name, hint) => {
    const error = await failure(() => open(changed('qwen2', { model_type: name })))
    expect(error.code).toBe('unknown-architecture')
    expect(error.hint).toContain(hint)
  })
})

describe('GGUF metadata', () => {
  /** A copy of a file with some of its text written over by as much other text. */
  function patched(name: string, from: string, to: string): string {
    expect(to.length).toBe(from.length)
    const bytes = readFileSync(join(fixture(name), 'model.gguf'))
    const at = bytes.lastIndexOf(from)
    expect(at).toBeGreaterThan(0)
    bytes.write(to, at, 'latin1')
    const path = join(scratch, `${made++}.gguf`)
    writeFileSync(path, bytes)
    return path
  }

  test('an unknown key is refused', async () => {
    const { code, found } = await failure(() => open(patched('qwen2-gguf', 'qwen2.rope.freq_base', 'qwen2.rope.freq_sway')))
    expect(code).toBe('unknown-config-key')
    expect(found).toContain('qwen2.rope.freq_sway')
  })

  test('an unknown rotation is refused', async () => {
    expect((await failure(() => open(patched('llama-yarn-gguf', 'yarn', 'barn')))).code).toBe('invalid-model-config')
  })

  test('a rotation that is not scaled says so', async () => {
    const checkpoint = await open(fixture('cohere-gguf'))
    expect(checkpoint.config).toMatchObject({ rotaries: [{ scaling: { type: 'default' } }] })
  })
})
