"""Decomposed prompt tuning (DePT, arXiv 2309.05173) in eager torch: the side of the comparison for DePT.

Row: [m soft rows][text rows + offset][answer]. Offset row i (i = rank of the token in the text, before the answer) is (A B)_i with
A [s, r], B [r, d]; A uniform in +-1/sqrt(r), B zero; two learning rates. Everything else as in peft_prompt_tuning.py, whose
protocol, data and output this script shares.
"""
import argparse, json, os, random, resource, statistics, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument("--model", required=True)
p.add_argument("--data", default="examples/sst2")
p.add_argument("--m", type=int, default=12)
p.add_argument("--r", type=int, default=8)
p.add_argument("--s", type=int, default=128)
p.add_argument("--lr", type=float, default=1e-2)
p.add_argument("--lr-offset", type=float, default=1e-3)
p.add_argument("--batch", type=int, default=16)
p.add_argument("--steps", type=int, default=50)
p.add_argument("--seed", type=int, default=13)
a = p.parse_args()
torch.manual_seed(a.seed)
with open(os.path.join(a.data, "train.tsv")) as f:
    train = [(t, int(y)) for t, y in (line.rstrip("\n").rsplit("\t", 1) for line in f)]
tok = AutoTokenizer.from_pretrained(a.model)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
model.requires_grad_(False)
E = model.get_input_embeddings()
d = E.weight.shape[1]
start = tok("Classify the sentiment of the movie review as negative or positive.").input_ids
P = torch.nn.Parameter(E.weight[torch.tensor([start[i % len(start)] for i in range(a.m)])].clone())
A = torch.nn.Parameter((torch.rand(a.s, a.r) * 2 - 1) / a.r ** 0.5)
B = torch.nn.Parameter(torch.zeros(a.r, d))
opt = torch.optim.AdamW([{"params": [P], "lr": a.lr}, {"params": [A, B], "lr": a.lr_offset}], weight_decay=0.0)
warm = max(1, int(0.05 * a.steps))
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: (s + 1) / warm if s < warm else max(0.0, (a.steps - s) / (a.steps - warm)))
ANS = [tok(" negative").input_ids, tok(" positive").input_ids]
rng, order, times, losses = random.Random(a.seed), [], [], []
for step in range(1, a.steps + 1):
    if len(order) < a.batch:
        order = list(range(len(train))); rng.shuffle(order)
    items = [train[i] for i in order[:a.batch]]; order = order[a.batch:]
    t = time.time()
    seqs = [(tok(f"Review: {x}\nSentiment:").input_ids, ANS[y]) for x, y in items]
    n = max(len(x) + len(y) for x, y in seqs)
    ids = torch.zeros(len(seqs), n, dtype=torch.long); mask = torch.zeros_like(ids); lab = torch.full_like(ids, -100); text = torch.zeros(len(seqs), n, 1)
    for i, (x, y) in enumerate(seqs):
        k = len(x) + len(y)
        ids[i, :k] = torch.tensor(x + y); mask[i, :k] = 1; lab[i, len(x):k] = torch.tensor(y); text[i, :min(len(x), a.s)] = 1
    offset = torch.nn.functional.pad(A @ B, (0, 0, 0, max(0, n - a.s)))[:n]
    embeds = torch.cat([P[None].expand(len(seqs), -1, -1), E(ids) + text * offset], 1)
    one = torch.ones(len(seqs), a.m, dtype=torch.long)
    loss = model(inputs_embeds=embeds, attention_mask=torch.cat([one, mask], 1), labels=torch.cat([-100 * one, lab], 1)).loss
    loss.backward(); opt.step(); sched.step(); opt.zero_grad(set_to_none=True)
    times.append(time.time() - t); losses.append(loss.item())
    if step % 10 == 0:
        print(json.dumps(dict(event="step", step=step, loss=round(statistics.mean(losses[-10:]), 4), per_step=round(statistics.median(times[-10:]), 3))), flush=True)
print(json.dumps(dict(event="result", steps=a.steps, median_step=round(statistics.median(times), 4), rows_per_second=round(a.batch * len(times) / sum(times), 3),
                      peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)), flush=True)
