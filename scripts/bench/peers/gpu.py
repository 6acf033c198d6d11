"""Prompt tuning with PEFT and greedy writing with transformers: the other side of gradprompt's `gpu` benchmark. Needs torch, transformers, peft.

Takes the options that scripts/bench/gpu-ours.ts takes, as JSON, and the same ids: rows of a fixed length whose last four tokens are labels.
On CUDA where torch has it, in bfloat16; on the processor otherwise, in float32 unless `precision` is bf16. Prints one JSON line.
"""
import json
import statistics
import sys
import time

import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

LABELS = 4
o = json.loads(sys.argv[1])
on_cuda = torch.cuda.is_available()
device = "cuda" if on_cuda else "cpu"
dtype = torch.bfloat16 if on_cuda or o["precision"] == "bf16" else torch.float32


def ids_of(row, length, vocab):
    return [1 + (row * 7919 + i * 104729) % (vocab - 1) for i in range(length)]


def wait():
    if on_cuda:
        torch.cuda.synchronize()


base = AutoModelForCausalLM.from_pretrained(o["folder"], dtype=dtype).to(device)
vocab = base.config.vocab_size
model = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=o["virtualTokens"], prompt_tuning_init="RANDOM"))
prompt = model.prompt_encoder["default"].embedding.weight
start = 0.02 * torch.sin(torch.arange(prompt.numel(), dtype=torch.float64)).reshape(prompt.shape)
with torch.no_grad():
    prompt.copy_(start)
optimizer = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=1e-3, weight_decay=0.0)
seconds = []
for step in range(o["steps"]):
    ids = torch.tensor([ids_of(step * o["batch"] + i, o["length"], vocab) for i in range(o["batch"])], device=device)
    labels = ids.clone()
    labels[:, : o["length"] - LABELS] = -100
    wait()
    started = time.perf_counter()
    loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    wait()
    seconds.append(time.perf_counter() - started)
result = {
    "event": "result",
    "device": f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {dtype}" if on_cuda else f"cpu, torch {torch.__version__}, {dtype}",
    "training": {"tokensPerSecond": o["batch"] * o["length"] / statistics.median(seconds[1:]), "first": seconds[0], "loss": loss.item()},
}
if on_cuda:
    result["deviceBytes"] = torch.cuda.max_memory_reserved()

if o["rows"] > 0:
    base = model.get_base_model().eval()
    base.generation_config.eos_token_id = None
    base.generation_config.pad_token_id = 0
    prompts = torch.tensor([ids_of(i, o["promptLength"], vocab) for i in range(o["rows"])], device=device)

    def write(count):
        wait()
        started = time.perf_counter()
        with torch.inference_mode():
            base.generate(input_ids=prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=count)
        wait()
        return time.perf_counter() - started

    write(2)
    prefill, whole = write(1), write(o["newTokens"])
    rate = o["rows"] * (o["newTokens"] - 1) / (whole - prefill) if whole > prefill else None
    result["writing"] = {"tokensPerSecond": rate, "prefillSeconds": prefill}
print(json.dumps(result))
