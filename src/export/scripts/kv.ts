/** The script that goes with past keys and values. It needs torch, transformers and safetensors. */
export const kvSelfTest = `"""Computes with transformers what self-test.json expects behind the past keys and values of this folder.

    python self_test.py --base MODEL_FOLDER [--tolerance 1e-3]

Prints a JSON line for each case, and exits with 1 when one differs. Greedy tokens count where the margin between the two
largest logits is above the tolerance.
"""
import argparse
import json
import os
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, DynamicCache

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--tolerance", type=float, default=1e-3, help="largest allowed difference of a logit")
arguments = parser.parse_args()

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "self-test.json")) as file:
    cases = json.load(file)["cases"]
model = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float32).eval()
past = load_file(os.path.join(here, "past_key_values.safetensors"))
passed = bool(cases)
for case in cases:
    cache = DynamicCache(config=model.config)
    for layer in range(len(past) // 2):
        cache.update(past[f"key.{layer}"], past[f"value.{layer}"], layer)
    step, greedy, first = torch.tensor([case["ids"]]), [], None
    for _ in case["greedy"]:
        with torch.no_grad():
            logits = model(input_ids=step, past_key_values=cache).logits[0, -1]
        first = logits if first is None else first
        greedy.append(int(logits.argmax()))
        step = torch.tensor([greedy[-1:]])
    difference = max(abs(float(first[entry["id"]]) - entry["logit"]) for entry in case["top"])
    same = greedy == case["greedy"]
    ok = difference <= arguments.tolerance and (same or case["margin"] <= arguments.tolerance)
    passed = passed and ok
    print(json.dumps(dict(ok=ok, same=same, logits=round(difference, 7), greedy=greedy)))
sys.exit(0 if passed else 1)
`
