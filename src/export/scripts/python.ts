/** What the Python scripts beside an export share: how a base model is opened, and how a self-test goes through its cases. */

/** Lines that open `arguments.base`, a folder or a GGUF file, of which transformers wants the folder and the name apart: `base`. */
export const openBase = `base = dict(pretrained_model_name_or_path=arguments.base)
if arguments.base.endswith(".gguf"):
    base = dict(pretrained_model_name_or_path=os.path.dirname(arguments.base) or ".", gguf_file=os.path.basename(arguments.base))`

export interface PythonSelfTest {
  /** What is computed, behind what: the end of "Computes with transformers …". */
  readonly what: string
  /** Import statements beside those of Python and torch. */
  readonly imports: string
  /** Lines behind `cases` and before `model`; they may set `passed`. */
  readonly read: string
  /** Lines that compute a case: `first`, the logits behind its ids, and `greedy`, the tokens that follow. */
  readonly compute: string
}

/** A script that holds what a base model computes behind an export against `self-test.json`. It needs torch and transformers. */
export const pythonSelfTest = ({
  what,
  imports,
  read,
  compute,
}: PythonSelfTest): string => `"""Computes with transformers ${what}.

    python self_test.py --base MODEL [--tolerance 1e-3]

MODEL is the base model: a folder in the Hugging Face layout, or a .gguf file. Prints a JSON line for each case, and exits
with 1 when one differs. Greedy tokens count where the margin between the two largest logits is above the tolerance.
"""
import argparse
import json
import os
import sys

import torch
${imports}

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--tolerance", type=float, default=1e-3, help="largest allowed difference of a logit")
arguments = parser.parse_args()

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "self-test.json")) as file:
    cases = json.load(file)["cases"]
passed = bool(cases)
${read}
${openBase}
model = AutoModelForCausalLM.from_pretrained(**base, dtype=torch.float32).eval()
model.generation_config.eos_token_id = None
for case in cases:
${indented(compute)}
    difference = max(abs(float(first[entry["id"]]) - entry["logit"]) for entry in case["top"])
    same = greedy == case["greedy"]
    ok = difference <= arguments.tolerance and (same or case["margin"] <= arguments.tolerance)
    passed = passed and ok
    print(json.dumps(dict(ok=ok, same=same, logits=round(difference, 7), greedy=greedy)))
sys.exit(0 if passed else 1)
`

function indented(lines: string): string {
  return lines
    .split('\n')
    .map(line => `    ${line}`)
    .join('\n')
}
