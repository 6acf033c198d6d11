"""Logits, loss and prompt gradient of a model as transformers computes them in float32: what gradprompt is held against.

    logits.py --model FOLDER --rows rows.json --out logits.safetensors [--prompt prompt.safetensors] [--dtype float64]

rows.json is a list of token rows, each a list of ids or { "ids": [...], "labels": [...] } (-100: no loss; the label at position i is
scored by the logits of position i - 1, at position 0 by those of the prompt's last row). Rows run one at a time, so there is no padding.

A .npy file gets the logits of all rows below one another, [sum of lengths, vocabulary]. A .safetensors file gets `logits.I` [length,
vocabulary] of each row and, with --prompt, `loss` [1] (mean over all label tokens) and `gradient` [virtual tokens, hidden size] of
the prompt standing before every row; the logits are those without it. Prints one JSON line. Needs torch, transformers, safetensors.
"""
import argparse, json, resource, time
import numpy
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--model", required=True)
p.add_argument("--rows", required=True)
p.add_argument("--out", required=True)
p.add_argument("--prompt", help=".safetensors with `prompt`, or .npy: [virtual tokens, hidden size]")
p.add_argument("--dtype", default="float32", choices=["float32", "float64", "bfloat16"],
               help="of the model; transformers keeps norms, rotary angles and softmax in float32 even under float64")
a = p.parse_args()
if not a.out.endswith((".npy", ".safetensors")):
    p.error("--out must end in .npy or .safetensors")
if a.prompt and a.out.endswith(".npy"):
    p.error("--prompt needs an --out that ends in .safetensors")
with open(a.rows) as f:
    rows = [r if isinstance(r, dict) else {"ids": r} for r in json.load(f)]
if a.prompt and not all(len(r.get("labels", [])) == len(r["ids"]) for r in rows):
    p.error("--prompt needs `labels` as long as `ids` in every row")

dtype = getattr(torch, a.dtype)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=dtype, attn_implementation="eager").eval().requires_grad_(False)
embedding = model.get_input_embeddings().weight
t = time.time()
with torch.no_grad():
    logits = [model(input_ids=torch.tensor([r["ids"]])).logits[0].float() for r in rows]
out = dict(event="result", rows=len(rows), positions=sum(map(len, logits)), seconds=round(time.time() - t, 2))
tensors = {f"logits.{i}": l.contiguous() for i, l in enumerate(logits)}

if a.prompt:
    prompt = torch.from_numpy(numpy.load(a.prompt)) if a.prompt.endswith(".npy") else load_file(a.prompt)["prompt"]
    prompt = prompt.to(dtype).requires_grad_(True)
    count = sum(label != -100 for r in rows for label in r["labels"])
    t, loss = time.time(), 0.0
    for r in rows:
        embeds = torch.cat([prompt, embedding[torch.tensor(r["ids"])]])[None]
        scored = model(inputs_embeds=embeds).logits[0, len(prompt) - 1:-1]
        part = torch.nn.functional.cross_entropy(scored, torch.tensor(r["labels"]), reduction="sum", ignore_index=-100) / count
        part.backward()  # one row at a time: activations of one row only
        loss += part.item()
    tensors |= {"loss": torch.tensor([loss]), "gradient": prompt.grad.float().contiguous()}
    out |= dict(loss=loss, label_tokens=count, gradient_seconds=round(time.time() - t, 2))

if a.out.endswith(".npy"):
    numpy.save(a.out, torch.cat(logits).numpy())
else:
    save_file(tensors, a.out)
print(json.dumps(dict(**out, peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)))
