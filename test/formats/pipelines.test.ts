import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadTokenizer } from '../../src/formats/tokenizer.js'

interface Case {
  readonly name?: string
  readonly tokenizer: { readonly model: { readonly of: string }; readonly [part: string]: unknown }
  readonly config: object
  readonly modelConfig: object
  readonly class: string
  readonly texts: readonly string[]
  readonly ids: readonly (readonly number[])[]
  /** Without special tokens, where a post-processor might add some. */
  readonly plain: readonly (readonly number[])[]
  readonly decoded: readonly string[]
  readonly skipped: readonly string[]
}

const { models, cases } = JSON.parse(await readFile('test/fixtures/tokenizer/pipelines.json', 'utf8')) as {
  readonly models: Readonly<Record<string, object>>
  readonly cases: readonly Case[]
}

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-pipelines-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('generated tokenizers', () => {
  test('are some hundreds, of every kind of model and class', () => {
    expect(cases.length).toBeGreaterThan(250)
    expect(new Set(cases.map(each => each.tokenizer.model.of))).toEqual(new Set(Object.keys(models)))
    expect(new Set(cases.map(each => each.class)).size).toBeGreaterThan(5)
  })

  test('give the ids and texts of transformers', async () => {
    const differing: unknown[] = []
    for (const [i, { tokenizer, config, modelConfig, texts, ids, plain, decoded, skipped, ...rest }] of cases.entries()) {
      const { of, ...options } = tokenizer.model
      const files = {
        'tokenizer.json': { ...tokenizer, model: { ...models[of], ...options } },
        'tokenizer_config.json': config,
        'config.json': modelConfig,
      }
      for (const [name, value] of Object.entries(files)) await writeFile(join(folder, name), JSON.stringify(value))
      const differ = (what: string, text: string | undefined, expected: unknown, found: unknown) => {
        if (JSON.stringify(expected) === JSON.stringify(found)) return
        differing.push({ case: rest.name ?? i, class: rest.class, what, text, expected, found })
      }
      try {
        const own = await loadTokenizer({ folder })
        texts.forEach((text, t) => {
          differ('ids', text, ids[t], own.encode(text))
          if (plain[t] !== undefined) differ('plain', text, plain[t], own.encode(text, { addSpecialTokens: false }))
          differ('decoded', text, decoded[t], own.decode(ids[t]!))
          differ('skipped', text, skipped[t], own.decode(ids[t]!, { skipSpecialTokens: true }))
        })
      } catch (error) {
        differ('refused', undefined, undefined, String(error))
      }
    }
    expect(differing).toEqual([])
  })
})
