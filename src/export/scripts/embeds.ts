import { openBase, pythonSelfTest } from './python.js'

/** Python scripts that go with rows of embeddings. They need torch, numpy and transformers. */

/** @param behind tokens of the text that stand before the rows */
export const clientScript = (
  behind: number,
): string => `"""Asks a server that takes embeddings in place of tokens, with the prompt of this folder before the text.

    python client.py --base MODEL --url http://localhost:8000 --api vllm "Review: a delight\\\\nSentiment:"

MODEL is the base model, a folder in the Hugging Face layout or a .gguf file, for its tokenizer and its embedding table. vLLM is started with
--enable-prompt-embeds, SGLang with --disable-radix-cache. --print shows the request's body and sends nothing.
"""
import argparse
import base64
import io
import json
import os
import urllib.request

import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("text")
parser.add_argument("--base", required=True)
parser.add_argument("--url", default="http://localhost:8000")
parser.add_argument("--api", choices=["vllm", "sglang"], default="vllm")
parser.add_argument("--model", help="the name under which vLLM serves the model; by default --base")
parser.add_argument("--max-tokens", type=int, default=16)
parser.add_argument("--print", action="store_true")
arguments = parser.parse_args()

here = os.path.dirname(os.path.abspath(__file__))
rows = torch.from_numpy(numpy.load(os.path.join(here, "prompt.npy")))
${openBase}
tokenizer = AutoTokenizer.from_pretrained(**base)
table = AutoModelForCausalLM.from_pretrained(**base, dtype=torch.float32).get_input_embeddings()
with torch.no_grad():
    text = table(tokenizer(arguments.text, return_tensors="pt")["input_ids"])[0]
inputs = torch.cat([text[:${behind}], rows, text[${behind}:]])
if arguments.api == "vllm":
    path = "/v1/completions"
    buffer = io.BytesIO()
    torch.save(inputs, buffer)
    body = dict(model=arguments.model or arguments.base, prompt_embeds=base64.b64encode(buffer.getvalue()).decode(), max_tokens=arguments.max_tokens, temperature=0)
else:
    path = "/generate"
    body = dict(input_embeds=inputs.tolist(), sampling_params=dict(max_new_tokens=arguments.max_tokens, temperature=0))
if arguments.print:
    print(json.dumps(body))
else:
    request = urllib.request.Request(arguments.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answer = json.load(response)
    print(answer["choices"][0]["text"] if arguments.api == "vllm" else answer["text"])
`

export const embedsSelfTest = pythonSelfTest({
  what: 'with its generate(inputs_embeds) what self-test.json expects behind the rows of this folder',
  imports: `import numpy
from safetensors import safe_open
from transformers import AutoModelForCausalLM`,
  read: `rows = numpy.load(os.path.join(here, "prompt.npy"))
with safe_open(os.path.join(here, "prompt_embeds.safetensors"), "pt") as file:
    stored, position = file.get_tensor("prompt"), file.metadata()["position"]
raw = numpy.fromfile(os.path.join(here, "prompt.f32"), dtype="<f4").reshape(rows.shape)
passed = passed and numpy.array_equal(rows, raw) and numpy.array_equal(rows, stored.numpy())
behind = 0 if position == "before-bos" else 1`,
  compute: `with torch.no_grad():
    text = model.get_input_embeddings()(torch.tensor(case["ids"]))
    inputs = torch.cat([text[:behind], torch.from_numpy(rows), text[behind:]]).unsqueeze(0)
    first = model(inputs_embeds=inputs).logits[0, -1]
    greedy = model.generate(inputs_embeds=inputs, attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long), max_new_tokens=len(case["greedy"]), do_sample=False, pad_token_id=0)[0].tolist()`,
})
