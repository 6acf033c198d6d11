"""Holds `gradprompt evaluate --task lm-eval/NAME` against lm-evaluation-harness itself, on the same rows and the same model.

    gradprompt evaluate --model MODEL --task lm-eval/bbh-zeroshot --data bbh/navigate.json --limit 30 --weights fp32 --rows ours.jsonl
    python scripts/check/lm_eval_harness.py --model FOLDER --task bbh_zeroshot_navigate --data bbh/navigate.json --rows ours.jsonl

FOLDER is the model in the Hugging Face layout, in float32 (scripts/bench/peers/dequantize.py makes one of a GGUF file). Needs torch,
transformers and lm-eval 0.4.13. The harness gets the rows that stand in ours.jsonl from the local file: nothing is downloaded. Prints the
accuracy of every filter on both sides and the rows whose texts differ, and exits with 1 where an accuracy differs.
"""
import argparse
import json
import os
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import torch
import lm_eval
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--task", required=True, help="the harness's own name of the task; it is run without examples")
parser.add_argument("--data", required=True, help="BBH's .json or GSM8K's .jsonl")
parser.add_argument("--rows", required=True, help="what gradprompt evaluate --rows wrote")
parser.add_argument("--batch", type=int, default=8)
arguments = parser.parse_args()

with open(arguments.rows) as file:
    ours = sorted((json.loads(line) for line in file), key=lambda row: row["index"])
with open(arguments.data) as file:
    records = json.load(file)["examples"] if arguments.data.endswith(".json") else [json.loads(line) for line in file]

with tempfile.TemporaryDirectory() as folder:
    data = os.path.join(folder, "rows.jsonl")
    with open(data, "w") as file:
        for row in ours:
            file.write(json.dumps(records[row["index"]]) + "\n")
    # The harness's own prompt, stop strings, filters and metric; only the rows come from elsewhere.
    own = TaskManager().task_index[arguments.task]
    local = {
        "include": str(getattr(own, "yaml_path", None) or own["yaml_path"]),
        "task": "local_rows",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": data}},
        "training_split": None,
        "fewshot_split": None,
        "num_fewshot": 0,
    }
    with open(os.path.join(folder, "local_rows.yaml"), "w") as file:
        yaml.safe_dump(local, file)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    result = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=arguments.batch, device="cpu"),
        tasks=["local_rows"],
        task_manager=TaskManager(include_path=folder),
        log_samples=True,
    )

figures = {name.split(",")[1]: value for name, value in result["results"]["local_rows"].items() if name.startswith("exact_match,")}
texts = {sample["doc_id"]: sample["resps"][0][0] for sample in result["samples"]["local_rows"]}
different = [row["index"] for i, row in enumerate(ours) if row["text"] != texts[i]]
same = True
for name, value in sorted(figures.items()):
    scores = [row["scores"][name] for row in ours]
    mine = sum(scores) / len(scores)
    same = same and abs(mine - value) < 1e-9
    print(json.dumps({"filter": name, "rows": len(ours), "harness": value, "gradprompt": mine}))
print(json.dumps({"textsThatDiffer": len(different), "rows": different}))
sys.exit(0 if same else 1)
