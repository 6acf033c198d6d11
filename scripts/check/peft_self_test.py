"""Loads an exported adapter with PEFT and holds it against its self-test.json.

    python scripts/check/peft_self_test.py --base MODEL_FOLDER --adapter ADAPTER_FOLDER [--tolerance 1e-3] [--forward]

MODEL_FOLDER is the base model in the Hugging Face layout. Needs torch, transformers and peft. Checks the largest logits, the
greedy tokens by a forward pass over the expected ones, and those of `generate`; greedy tokens only where the recorded margin between
the two largest logits is above the tolerance. Prints one JSON line per case and exits with 1 when one differs.

`generate` runs with `use_cache=False`, as the README beside an adapter says: PEFT 0.21 asks the arguments of a step for
`past_key_values`, which transformers 5.24 calls `cache`. It takes every step for the first, then, and puts the prompt in front of
each new token. That computes every token before each new one again: `--forward` leaves it out, for many long texts.
"""
import argparse
import json
import os
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--tolerance", type=float, default=1e-3, help="largest allowed difference of a logit")
parser.add_argument("--forward", action="store_true", help="the forward pass alone, without generate")
arguments = parser.parse_args()

with open(os.path.join(arguments.adapter, "self-test.json")) as file:
    self_test = json.load(file)
assert self_test["format"] == "gradprompt-self-test-1", self_test["format"]

base = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float32)
model = PeftModel.from_pretrained(base, arguments.adapter).eval()
# An adapter of several tasks is tested as its first.
task = dict(task_ids=torch.tensor([0])) if hasattr(model.active_peft_config, "num_tasks") else {}
passed = bool(self_test["cases"])
for case in self_test["cases"]:
    count = len(case["greedy"])
    with torch.no_grad():
        ids = torch.tensor([case["ids"]])
        logits = model(input_ids=ids, **task).logits[0, -1]
        difference = max(abs(float(logits[entry["id"]]) - entry["logit"]) for entry in case["top"])
        top = torch.topk(logits, len(case["top"])).values.tolist()
        order = max(abs(value - entry["logit"]) for value, entry in zip(top, case["top"]))
        whole = torch.tensor([case["ids"] + case["greedy"][:-1]])
        greedy = stepwise = model(input_ids=whole, **task).logits[0, -count:].argmax(-1).tolist()
        model.generation_config.eos_token_id = None
        given = dict(**task, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, pad_token_id=0)
        if not arguments.forward:
            greedy = model.generate(input_ids=ids, **given, use_cache=False)[0].tolist()[-count:]
    same = stepwise == case["greedy"] and greedy == case["greedy"]
    ok = difference <= arguments.tolerance and order <= arguments.tolerance and (same or case["margin"] <= arguments.tolerance)
    passed = passed and ok
    print(json.dumps(dict(ok=ok, same=same, logits=round(max(difference, order), 7), stepwise=stepwise, greedy=greedy)))
sys.exit(0 if passed else 1)
