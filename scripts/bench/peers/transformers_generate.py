"""Greedy generation with transformers in fp32: one other side of gradprompt's `generate` benchmark. Needs torch and transformers.

Reads prompts as token ids from --prompts (JSON: a list of lists), answers them --batch at a time (padded on the left to the longest
of a batch, longest first) and prints one JSON line: seconds of each repetition of generating, and of the prompts alone.
Nothing ends an answer early, so that all sides generate the same number of tokens; --stop lists ids that do.
"""
import argparse, json, time
import torch
from transformers import AutoModelForCausalLM

p = argparse.ArgumentParser()
p.add_argument("--model", required=True)
p.add_argument("--prompts", required=True)
p.add_argument("--new-tokens", type=int, default=128)
p.add_argument("--batch", type=int, default=16)
p.add_argument("--repeat", type=int, default=1)
p.add_argument("--stop", type=int, nargs="*", default=[])
p.add_argument("--threads", type=int)
p.add_argument("--ids", help="write the generated ids here (JSON: a list of lists)")
p.add_argument("--margins", help="write here by how much each id's logit is above the next best (JSON: a list of lists)")
a = p.parse_args()
if a.threads:
    torch.set_num_threads(a.threads)
with open(a.prompts) as f:
    prompts = json.load(f)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
model.generation_config.eos_token_id = a.stop or None
model.generation_config.pad_token_id = 0


def run(new_tokens):
    answers = [None] * len(prompts)
    margins = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), a.batch):
        part = order[start : start + a.batch]
        width = max(len(prompts[i]) for i in part)
        ids = torch.tensor([[0] * (width - len(prompts[i])) + prompts[i] for i in part])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in part])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=new_tokens,
                return_dict_in_generate=True,
                output_logits=bool(a.margins),
            )
        for i, row in zip(part, out.sequences[:, width:].tolist()):
            end = next((j for j, token in enumerate(row) if token in a.stop), len(row))
            answers[i] = row[:end]
        if a.margins:
            best = torch.stack([logits.float().topk(2, dim=-1).values for logits in out.logits], dim=1)
            for i, row in zip(part, (best[..., 0] - best[..., 1]).tolist()):
                margins[i] = row
    return answers, margins


def timed(new_tokens):
    start = time.perf_counter()
    answers, margins = run(new_tokens)
    return time.perf_counter() - start, answers, margins


timed(2)  # memory is allocated, weights are in memory
prefill = [timed(1)[0] for _ in range(a.repeat)]
runs = [timed(a.new_tokens) for _ in range(a.repeat)] if a.new_tokens > 1 else []
if a.ids:
    with open(a.ids, "w") as f:
        json.dump(runs[-1][1], f)
if a.margins:
    with open(a.margins, "w") as f:
        json.dump(runs[-1][2], f)
tokens = sum(len(ids) for ids in runs[-1][1]) if runs else 0
print(json.dumps({"event": "result", "prefillSeconds": prefill, "seconds": [run[0] for run in runs], "tokens": tokens}))
