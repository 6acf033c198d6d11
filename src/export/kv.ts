import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { writeSafetensors } from '../formats/safetensors-writer.js'
import { isStatic, staticPrefix, staticRows } from '../prompts/static.js'
import { writePeft } from './peft.js'
import { type Keys, keysAdapter, storedKeys } from './peft-adapter.js'
import { pretrained } from './peft-card.js'
import { exampleText, readme } from './readme.js'
import { kvSelfTest } from './scripts/kv.js'
import { writeSelfTest } from './self-test.js'
import type { ExportContext, ExportTarget } from './target.js'
import { hasVocabularyRows } from './vocabulary/rows.js'

/**
 * Past keys and values of a prompt, for transformers' `DynamicCache` and for `past_key_values` elsewhere: those that it is, or those that
 * the layers make of its rows. A prompt that stands behind the first token takes that one along.
 */
export const kv: ExportTarget = {
  name: 'kv',
  description: 'past keys and values for DynamicCache, and as a PREFIX_TUNING adapter of PEFT',
  holds: method =>
    isStatic(method) || (method.prefix !== undefined && !method.offset && !method.attention && !method.layerOutput),
  form: method => (method.prefix ? 'its keys and values' : 'the keys and values of its rows'),
  reason: method =>
    method.offset
      ? 'it changes the embeddings of the text, which past keys and values do not'
      : method.attention
        ? 'it acts within the attention of its layers'
        : method.layerOutput
          ? 'it changes what layers give out at the tokens of the text'
          : hasVocabularyRows(method)
            ? 'its rows stand within the text, not before it'
            : 'what it computes depends on the text, so no fixed keys and values come to the same',
  async write(context) {
    const { model, folder, out, prompt, selfTest, baseModel } = context
    const { numLayers, numKeyValueHeads, headDim } = model.config
    const first = firstToken(context)
    const layers = await promptKeys(context, first)
    const count = layers[0]!.key.length / (numKeyValueHeads * headDim)
    const shape = [1, numKeyValueHeads, count, headDim]
    const tensors = layers.flatMap((keys, layer) => {
      const { key, value } = storedKeys(keys, model.checkpoint)
      return [
        { name: `key.${layer}`, shape, data: key },
        { name: `value.${layer}`, shape, data: value },
      ]
    })
    const metadata = { format: 'pt', layers: String(numLayers), tokens: String(count), firstToken: String(first ?? '') }
    await writeSafetensors(join(folder, 'past_key_values.safetensors'), tensors, metadata)
    const cases = selfTest.cases.map(({ text: _, addSpecialTokens: __, ...test }) =>
      first === undefined ? test : { ...test, ids: test.ids.slice(1) },
    )
    await writeSelfTest(folder, cases)
    await writeFile(join(folder, 'self_test.py'), kvSelfTest)
    if (first === undefined) {
      const adapter = join(folder, 'peft')
      await mkdir(adapter)
      await writePeft({
        adapter: keysAdapter(layers, model.checkpoint, count),
        position: prompt.position,
        baseModel,
        basePath: model.checkpoint.path,
        folder: adapter,
        out: join(out, 'peft'),
      })
      await writeSelfTest(adapter, cases)
    }
    await writeFile(join(folder, 'README.md'), readmeOf(context, first, count))
  },
}

/**
 * Keys and values of a prompt in every layer.
 * @param first the token that it stands behind, whose own come first
 */
export async function promptKeys({ active, model, prompt }: ExportContext, first: number | undefined): Promise<Keys[]> {
  const { method, config, parameters } = active
  const tensors = prompt.tensors.map(tensor => ({ ...tensor, data: parameters.get(tensor.name) ?? tensor.data }))
  if (method.prefix) return staticPrefix(method, config, tensors, model.config)
  const rows = await staticRows(method, config, tensors)
  if (first === undefined) return model.keysAndValues(rows)
  const token = await model.embeddingRows([first])
  const both = new Float32Array(token.length + rows.length)
  both.set(token)
  both.set(rows, token.length)
  return model.keysAndValues(both)
}

/** The token that a prompt stands behind; undefined: it stands before everything. @throws GradpromptError `not-exportable` */
export function firstToken({ prompt, selfTest }: ExportContext): number | undefined {
  if (prompt.position === 'before-bos') return undefined
  const found = [...new Set(selfTest.cases.map(({ ids }) => ids[0]!))]
  if (found.length === 1) return found[0]
  throw new GradpromptError(
    'not-exportable',
    'The prompt stands behind the first token of a text, and texts begin with several',
    {
      found: `tokens ${found.join(', ')}`,
      expected: 'one first token, such as BOS',
      hint: 'tune with method.position: before-bos',
    },
  )
}

function readmeOf(context: ExportContext, first: number | undefined, count: number): string {
  const { baseModel, model } = context
  const { base, file } = pretrained(baseModel, model.checkpoint.path)
  const usage = `\`\`\`python
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

base = ${JSON.stringify(base)}   # where it is on your machine, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(base${file})
model = AutoModelForCausalLM.from_pretrained(base${file}, dtype=torch.float32)
past, cache = load_file("past_key_values.safetensors"), DynamicCache(config=model.config)
for layer in range(len(past) // 2):
    cache.update(past[f"key.{layer}"], past[f"value.{layer}"], layer)
ids = tokenizer(${exampleText(context.prompt)}, return_tensors="pt")["input_ids"]${first === undefined ? '' : '[:, 1:]'}   # the columns filled in
step, answer = ids, []
for _ in range(16):
    answer.append(int(model(input_ids=step, past_key_values=cache).logits[0, -1].argmax()))
    step = torch.tensor([answer[-1:]])
print(tokenizer.decode(answer))
\`\`\``
  return readme(context, {
    title: 'Past keys and values of a tuned prompt',
    usage,
    notes: [
      `\`key.N\` and \`value.N\` are layer N's, positions applied, [1, heads, ${count}, head size], float32; the text's positions begin at ${count}.`,
      ...(first === undefined
        ? [
            '`peft/` is the same as a PREFIX_TUNING adapter: `PeftModel.from_pretrained(model, "peft")`. Give its `generate` `use_cache=False`: under transformers 5.24 PEFT 0.21 loses a prefix beside a cache.',
          ]
        : ['The first of them are those of the token that every text begins with: leave it out of the text, as above.']),
      '`python self_test.py --base MODEL` computes what `self-test.json` expects.',
    ],
  })
}
