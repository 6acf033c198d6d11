import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeSafetensors } from '../formats/safetensors-writer.js'
import { isStatic, staticRows } from '../prompts/static.js'
import { pretrained } from './peft-card.js'
import { exampleText, readme } from './readme.js'
import { clientScript, embedsSelfTest } from './scripts/embeds.js'
import { writeSelfTest } from './self-test.js'
import type { ExportContext, ExportTarget } from './target.js'
import { hasVocabularyRows } from './vocabulary/rows.js'

/**
 * The rows of a prompt as plain files, for whatever takes embeddings in place of tokens: raw float32, NumPy's format and safetensors, with
 * a client for vLLM (`prompt_embeds`) and SGLang (`input_embeds`).
 */
export const embeds: ExportTarget = {
  name: 'embeds',
  description: 'rows as .f32, .npy and safetensors, with a client for vLLM and SGLang',
  holds: method => isStatic(method),
  form: () => 'rows for inputs_embeds',
  reason: method =>
    method.prefix || method.attention || method.layerOutput
      ? 'it acts within the layers, and rows at the input do not'
      : method.offset
        ? 'it changes the embeddings of generated tokens as well, which no client can send'
        : hasVocabularyRows(method)
          ? 'its rows stand within the text, in places that only its template knows'
          : 'what it computes depends on the text, so no fixed rows come to the same',
  async write(context) {
    const { active, prompt, model, folder, selfTest } = context
    const { method, config, parameters } = active
    const tensors = prompt.tensors.map(tensor => ({ ...tensor, data: parameters.get(tensor.name) ?? tensor.data }))
    const rows = await staticRows(method, config, tensors)
    const { family, config: sizes } = model.checkpoint
    const multiplier = family.inputMultiplier(sizes)
    // What transformers multiplies its `inputs_embeds` by is divided out.
    const data = multiplier === 1 ? rows : rows.map(x => x / multiplier)
    const shape = [prompt.numVirtualTokens, prompt.hiddenSize] as const
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    await writeFile(join(folder, 'prompt.f32'), bytes)
    await writeFile(join(folder, 'prompt.npy'), numpyFile(bytes, shape))
    const metadata = { format: 'pt', position: prompt.position, model: prompt.model.name }
    await writeSafetensors(join(folder, 'prompt_embeds.safetensors'), [{ name: 'prompt', shape, data }], metadata)
    await writeSelfTest(
      folder,
      selfTest.cases.map(({ text: _, addSpecialTokens: __, ...test }) => test),
    )
    await writeFile(join(folder, 'client.py'), clientScript(prompt.position === 'before-bos' ? 0 : 1))
    await writeFile(join(folder, 'self_test.py'), embedsSelfTest)
    await writeFile(join(folder, 'README.md'), readmeOf(context))
  },
}

/** A matrix as NumPy's file format, version 1.0. */
function numpyFile(bytes: Uint8Array, shape: readonly number[]): Buffer {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`
  const header = `${text.padEnd(64 * Math.ceil((text.length + 11) / 64) - 11)}\n`
  const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length & 255, header.length >> 8])
  return Buffer.concat([start, Buffer.from(header), bytes])
}

function readmeOf(context: ExportContext): string {
  const { prompt, baseModel, model } = context
  const { base, file } = pretrained(baseModel, model.checkpoint.path)
  const place = prompt.position === 'before-bos' ? '[rows, embedded]' : '[embedded[:1], rows, embedded[1:]]'
  const usage = `\`\`\`python
import numpy, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

base = ${JSON.stringify(base)}   # where it is on your machine, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(base${file})
model = AutoModelForCausalLM.from_pretrained(base${file}, dtype=torch.float32)
rows = torch.from_numpy(numpy.load("prompt.npy"))
embedded = model.get_input_embeddings()(tokenizer(${exampleText(prompt)}, return_tensors="pt")["input_ids"])[0]   # the columns filled in
inputs = torch.cat(${place}).unsqueeze(0)
output = model.generate(inputs_embeds=inputs, attention_mask=torch.ones(inputs.shape[:2]), max_new_tokens=16, do_sample=False)
print(tokenizer.decode(output[0]))
\`\`\`

A server: \`python client.py --base MODEL --url http://localhost:8000 --api vllm "YOUR TEXT"\` (\`vllm serve MODEL --enable-prompt-embeds\`), or
\`--api sglang --url http://localhost:30000\` (\`--disable-radix-cache\`). With \`--print\` it shows the request and sends nothing.`
  return readme(context, {
    title: 'A tuned prompt as rows of embeddings',
    usage,
    notes: [
      `\`prompt.f32\` (raw, little-endian), \`prompt.npy\` and \`prompt_embeds.safetensors\` hold the same matrix, [${prompt.numVirtualTokens}, ${prompt.hiddenSize}], float32, as \`inputs_embeds\` takes it.`,
      `The rows stand ${prompt.position === 'before-bos' ? 'before everything, BOS included' : 'behind the first token of the text'}.`,
      '`python self_test.py --base MODEL` computes what `self-test.json` expects.',
    ],
  })
}
