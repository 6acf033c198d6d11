"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) of a soft prompt in eager torch: the side of the comparison for `dpo`.

Both answers of a batch of pairs stand in one padded batch, behind the soft prompt. The reference is the prompt as it was at the start. In
the first pass over the pairs its log-probabilities are computed in the step; in later passes they are those that were kept.
Prints an object a step, with its seconds and whether the reference was computed in it.
"""
import argparse, json, random, resource, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument("--model", required=True)
p.add_argument("--data", default="examples/preferences/train.jsonl")
p.add_argument("--pairs", type=int, default=64)
p.add_argument("--m", type=int, default=10)
p.add_argument("--beta", type=float, default=0.1)
p.add_argument("--lr", type=float, default=1e-2)
p.add_argument("--batch", type=int, default=8)
p.add_argument("--steps", type=int, default=24)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--seed", type=int, default=13)
a = p.parse_args()
torch.manual_seed(a.seed)
torch.set_num_threads(a.threads)
with open(a.data) as f:
    pairs = [json.loads(line) for line in f][: a.pairs]
tok = AutoTokenizer.from_pretrained(a.model)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
model.requires_grad_(False)
E = model.get_input_embeddings()
start = tok("The owner of the cinema likes the film and answers kindly.").input_ids
P = torch.nn.Parameter(E.weight[torch.tensor([start[i % len(start)] for i in range(a.m)])].clone())
reference = P.detach().clone()
opt = torch.optim.AdamW([P], lr=a.lr, weight_decay=0.0)


def rows_of(pair):
    context = tok(f"Viewer: {pair['prompt']}\nOwner:").input_ids
    return [(context, tok(f" {pair[side]}").input_ids + [tok.eos_token_id]) for side in ("chosen", "rejected")]


def log_probabilities(rows, prompt):
    n = max(len(x) + len(y) for x, y in rows)
    ids = torch.zeros(len(rows), n, dtype=torch.long)
    mask, answer = torch.zeros_like(ids), torch.zeros(len(rows), n)
    for i, (x, y) in enumerate(rows):
        k = len(x) + len(y)
        ids[i, :k] = torch.tensor(x + y)
        mask[i, :k] = 1
        answer[i, len(x):k] = 1
    embeds = torch.cat([prompt[None].expand(len(rows), -1, -1), E(ids)], 1)
    one = torch.ones(len(rows), a.m, dtype=torch.long)
    logits = model(inputs_embeds=embeds, attention_mask=torch.cat([one, mask], 1)).logits[:, a.m - 1:-1]
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    return -(each * answer).sum(1)


rng, order, kept = random.Random(a.seed), [], {}
for step in range(1, a.steps + 1):
    if len(order) < a.batch:
        order = list(range(len(pairs)))
        rng.shuffle(order)
    batch, order = order[: a.batch], order[a.batch:]
    t = time.time()
    rows = [row for i in batch for row in rows_of(pairs[i])]
    computed = any(i not in kept for i in batch)
    if computed:
        with torch.no_grad():
            for i, said in zip(batch, log_probabilities(rows, reference).view(-1, 2)):
                kept[i] = said
    gained = log_probabilities(rows, P).view(-1, 2) - torch.stack([kept[i] for i in batch])
    loss = -torch.nn.functional.logsigmoid(a.beta * (gained[:, 0] - gained[:, 1])).mean()
    loss.backward()
    opt.step()
    opt.zero_grad(set_to_none=True)
    print(json.dumps(dict(event="step", step=step, loss=loss.item(), seconds=time.time() - t, reference=computed)), flush=True)
print(json.dumps(dict(event="result", peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)), flush=True)
