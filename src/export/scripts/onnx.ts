/** Scripts that go with an ONNX model: one for Node with onnxruntime-node, one for Python with onnxruntime-genai. */

export const onnxSelfTest = `// Computes with ONNX Runtime what self-test.json expects of the model in this folder.
//
//     npm install onnxruntime-node && node self-test.mjs
//
// Prints a JSON line for each case and exits with 1 when one differs. It takes the onnxruntime-node that is installed in this folder,
// or in that where it is started. Greedy tokens count where the margin between the two largest logits is above 0.001.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
const installed = [folder, process.cwd()].map(place => {
  try {
    return createRequire(join(place, 'package.json'))('onnxruntime-node')
  } catch {}
})
const ort = installed.find(Boolean)
if (!ort) throw new Error('onnxruntime-node is not installed here: npm install onnxruntime-node')
const tolerance = 1e-3
const { cases } = JSON.parse(readFileSync(join(folder, 'self-test.json'), 'utf8'))
const { model } = JSON.parse(readFileSync(join(folder, 'genai_config.json'), 'utf8'))
const { num_hidden_layers: layers, num_key_value_heads: heads, head_size: size, filename } = model.decoder
const session = await ort.InferenceSession.create(join(folder, filename), { logSeverityLevel: 3 })
const int64 = ids => new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length])
let passed = cases.length > 0
for (const { ids, greedy, top, margin } of cases) {
  const empty = () => new ort.Tensor('float32', new Float32Array(), [1, heads, 0, size])
  let past = {}
  for (let i = 0; i < layers; i++) for (const part of ['key', 'value']) past[\`past_key_values.\${i}.\${part}\`] = empty()
  const found = []
  let [step, seen, first] = [ids, 0, undefined]
  while (found.length < greedy.length) {
    seen += step.length
    const given = { input_ids: int64(step), attention_mask: int64(Array(seen).fill(1)), ...past }
    const results = await session.run(given)
    const logits = results.logits.data.subarray(-results.logits.dims[2])
    first ??= logits.slice()
    found.push(logits.reduce((best, value, id) => (value > logits[best] ? id : best), 0))
    step = found.slice(-1)
    past = Object.fromEntries(Object.keys(past).map(name => [name, results[name.replace('past_key_values', 'present')]]))
  }
  const off = Math.max(...top.map(({ id, logit }) => Math.abs(first[id] - logit)))
  const same = found.join() === greedy.join()
  const ok = off <= tolerance && (same || margin <= tolerance)
  passed &&= ok
  console.log(JSON.stringify({ ok, same, logits: off, greedy: found }))
}
process.exit(passed ? 0 : 1)
`

export const genaiSelfTest = `"""Computes with ONNX Runtime GenAI what self-test.json expects of the model in this folder.

    pip install onnxruntime-genai && python self_test.py

Prints a JSON line for each case, and exits with 1 when one differs. Greedy tokens count where the margin between the two
largest logits is above the tolerance.
"""
import json
import os
import sys

import numpy
import onnxruntime_genai as genai

here = os.path.dirname(os.path.abspath(__file__))
tolerance = 1e-3
with open(os.path.join(here, "self-test.json")) as file:
    cases = json.load(file)["cases"]
model = genai.Model(here)
tokenizer = genai.Tokenizer(model)
passed = bool(cases)
for case in cases:
    ids, count = case["ids"], len(case["greedy"])
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + count, min_length=len(ids) + count, do_sample=False)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(numpy.array([ids], dtype=numpy.int32))
    logits = numpy.asarray(generator.get_logits()).reshape(-1)
    greedy = []
    # Fed by hand, so that a token that ends texts is one like any other.
    for _ in range(count):
        last = numpy.asarray(generator.get_logits()).reshape(-1)
        greedy.append(int(last.argmax()))
        if len(greedy) < count:
            generator.append_tokens(numpy.array([greedy[-1:]], dtype=numpy.int32))
    difference = max(abs(float(logits[entry["id"]]) - entry["logit"]) for entry in case["top"])
    tokenizer.update_options(add_special_tokens=str(case.get("addSpecialTokens", False)).lower())
    read = "text" not in case or list(tokenizer.encode(case["text"])) == ids
    same = greedy == case["greedy"]
    ok = read and difference <= tolerance and (same or case["margin"] <= tolerance)
    passed = passed and ok
    print(json.dumps(dict(ok=ok, text=read, same=same, logits=round(difference, 7), greedy=greedy)))
sys.exit(0 if passed else 1)
`
