/** Python scripts that go with a checkpoint. They need torch, transformers and safetensors. */

export const selfTestScript = `"""Computes with transformers what self-test.json expects of the checkpoint in this folder.

    python self_test.py [FOLDER] [--tolerance 1e-3]

Prints a JSON line for each case, and exits with 1 when one differs. Greedy tokens count where the margin between the two
largest logits is above the tolerance.
"""
import argparse
import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", default=os.path.dirname(os.path.abspath(__file__)))
parser.add_argument("--tolerance", type=float, default=1e-3, help="largest allowed difference of a logit")
arguments = parser.parse_args()

with open(os.path.join(arguments.folder, "self-test.json")) as file:
    cases = json.load(file)["cases"]
tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32).eval()
model.generation_config.eos_token_id = None
passed = bool(cases)
for case in cases:
    ids = torch.tensor([case["ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -1]
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=len(case["greedy"]), do_sample=False, pad_token_id=0)
    greedy = output[0, ids.shape[1]:].tolist()
    top = torch.topk(logits, len(case["top"]))
    difference = max(abs(float(logits[entry["id"]]) - entry["logit"]) for entry in case["top"])
    read = "text" not in case or tokenizer(case["text"], add_special_tokens=case["addSpecialTokens"])["input_ids"] == case["ids"]
    same = greedy == case["greedy"]
    ok = read and difference <= arguments.tolerance and (same or case["margin"] <= arguments.tolerance)
    passed = passed and ok
    print(json.dumps(dict(ok=ok, text=read, same=same, logits=round(difference, 7), greedy=greedy)))
sys.exit(0 if passed else 1)
`

export const mergeScript = `"""Puts the prompt of this folder into its base model.

    python merge.py --base FOLDER --out FOLDER

FOLDER is the base model in the Hugging Face layout; what is made is a whole checkpoint, in one file.
"""
import argparse
import glob
import json
import os
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--out", required=True)
arguments = parser.parse_args()

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "delta.json")) as file:
    delta = json.load(file)
if os.path.exists(arguments.out):
    sys.exit(f"{arguments.out} already exists")
tensors = {}
for path in sorted(glob.glob(os.path.join(arguments.base, "*.safetensors"))):
    tensors.update(load_file(path))
changed = load_file(os.path.join(here, "delta.safetensors"))
table = tensors.get(delta["embedding"])
if table is None or list(table.shape) != delta["baseShape"]:
    sys.exit(f"{arguments.base} is not the base model: {delta['baseModel']}, whose {delta['embedding']} has shape {delta['baseShape']}")


def longer(tensor):
    row = tensor[0] * 0 if delta["headRow"] is None else tensor[delta["headRow"]]
    count = delta["tableRows"] - tensor.shape[0]
    return torch.cat([tensor, row.unsqueeze(0).repeat(count, *[1] * (tensor.dim() - 1))]) if count > 0 else tensor.clone()


head = longer(tensors[delta["head"]])
first, rows = delta["firstId"], changed["rows"]
made = torch.zeros(delta["tableRows"], table.shape[1])
made[: table.shape[0]] = changed["table"] if "table" in changed else table.float()
made[first : first + rows.shape[0]] = rows
tensors[delta["embedding"]] = made
tensors[delta["headName"]] = head
if "headBias" in delta:
    tensors[delta["headBias"]] = longer(tensors[delta["headBias"]])
temporary = arguments.out + ".tmp"
os.makedirs(temporary)
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, os.path.join(temporary, "model.safetensors"), {"format": "pt"})
for name in os.listdir(here):
    if name not in ("delta.json", "delta.safetensors", "merge.py"):
        shutil.copy(os.path.join(here, name), temporary)
os.rename(temporary, arguments.out)
`
