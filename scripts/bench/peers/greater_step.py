"""One optimisation step of GReaTer as its released code runs it, in eager torch: the other side of `npm run bench -- search --only greater`.

Per step: greedy reasoning for all N questions under the current prompt, in batches of 9; a forward pass over each whole sequence for the
next-token proposals at one prompt position, one question at a time, with logits at every position; a forward and backward pass per question
for the gradient, one at a time; for each of mu shortlisted candidates greedy reasoning for all N questions again, and a separate scoring
pass. Kinder than the released code in three ways: one model instead of two processes, frozen weights, and --max-new-tokens instead of 1024.
Prints the seconds and the generated tokens of each part as a JSON line.
"""
import argparse, json, random, resource, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument("--model", required=True)
p.add_argument("--task", required=True, help="GSM8K as .jsonl")
p.add_argument("-n", type=int, default=50)
p.add_argument("--mu", type=int, default=3)
p.add_argument("--topk", type=int, default=10)
p.add_argument("--max-new-tokens", type=int, default=256)
p.add_argument("--prompt", default=" proper logical reasoning and think step by step. Finally give the actual correct answer.")
p.add_argument("--extractor", default="\nTherefore, the final answer is")
p.add_argument("--position", type=int, default=4)
p.add_argument("--seed", type=int, default=13)
a = p.parse_args()
random.seed(a.seed); torch.manual_seed(a.seed)
tok = AutoTokenizer.from_pretrained(a.model); tok.padding_side = "left"
pad = tok.pad_token_id if tok.pad_token_id is not None else tok.eos_token_id
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
model.requires_grad_(False)
E = model.get_input_embeddings().weight
with open(a.task) as file:
    lines = [json.loads(line) for line in file][:a.n]
examples = [{"input": x["question"], "target": x["answer"].split("####")[1].strip()} for x in lines]
MARK = "\u241e"
pre, post = tok.apply_chat_template([{"role": "user", "content": MARK}], tokenize=False, add_generation_prompt=True).split(MARK)
enc = lambda s: tok(s, add_special_tokens=False).input_ids
HEAD = [enc(pre + e["input"] + " Use") for e in examples]
TAIL, EXTRACT = enc(post), enc(a.extractor)
ANSWER = [enc(" " + e["target"]) for e in examples]
prompt, seconds, generated = enc(a.prompt), {}, 0


def clock(name, t):
    seconds[name] = round(seconds.get(name, 0) + time.time() - t, 1)


@torch.no_grad()
def reason(prompt_ids):
    """Greedy reasoning ids for every question."""
    global generated
    out = []
    for s in range(0, a.n, 9):
        rows = [h + prompt_ids + TAIL for h in HEAD[s:s + 9]]
        n = max(map(len, rows))
        ids = torch.tensor([[pad] * (n - len(r)) + r for r in rows]); mask = torch.tensor([[0] * (n - len(r)) + [1] * len(r) for r in rows])
        o = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=a.max_new_tokens, do_sample=False, pad_token_id=pad)[:, n:].tolist()
        for r in o:
            while r and r[-1] in (pad, tok.eos_token_id): r.pop()
            generated += len(r); out.append(r)
    return out


@torch.no_grad()
def score(prompt_ids, reasoning):
    """Mean answer cross entropy, in batches of 9 with logits at every position."""
    total = 0.0
    for s in range(0, a.n, 9):
        rows = [HEAD[i] + prompt_ids + TAIL + reasoning[i] + EXTRACT + ANSWER[i] for i in range(s, min(a.n, s + 9))]
        n = max(map(len, rows))
        ids = torch.tensor([[pad] * (n - len(r)) + r for r in rows]); mask = (torch.arange(n)[None] >= torch.tensor([[n - len(r)] for r in rows])).long()
        logits = model(input_ids=ids, attention_mask=mask).logits
        for j, i in enumerate(range(s, min(a.n, s + 9))):
            k = len(ANSWER[i])
            total += torch.nn.functional.cross_entropy(logits[j, n - k - 1:n - 1], torch.tensor(ANSWER[i])).item()
    return total / a.n


t = time.time(); reasoning = reason(prompt); clock("reasoning", t)
t = time.time()
votes = {}
with torch.no_grad():
    for i in range(a.n):
        row = HEAD[i] + prompt + TAIL + reasoning[i] + EXTRACT + ANSWER[i]
        at = len(HEAD[i]) + a.position - 1
        for v in model(input_ids=torch.tensor([row])).logits[0, at].log_softmax(-1).topk(a.topk).indices.tolist():
            votes[v] = votes.get(v, 0) + 1
pool = sorted(votes, key=votes.get, reverse=True)[:12]
if prompt[a.position] not in pool: pool.append(prompt[a.position])
clock("proposals", t)
t = time.time()
gradient = torch.zeros(len(pool))
for i in range(a.n):
    row = HEAD[i] + prompt + TAIL + reasoning[i] + EXTRACT + ANSWER[i]
    at, start, k = len(HEAD[i]) + a.position, len(HEAD[i]), len(ANSWER[i])
    one_hot = torch.tensor([[float(v == prompt[a.position]) for v in pool]], requires_grad=True)
    x = E[torch.tensor(row)]
    x = torch.cat([x[:at], one_hot @ E[torch.tensor(pool)], x[at + 1:]])[None]
    logits = model(inputs_embeds=x).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[len(row) - k - 1:len(row) - 1] / 0.2, torch.tensor(ANSWER[i])) \
        + 0.2 * torch.nn.functional.cross_entropy(logits[start - 1:start + len(prompt) - 1], torch.tensor(prompt))
    gradient += torch.autograd.grad(loss, one_hot)[0][0]
clock("gradient", t)
shortlist = [pool[j] for j in (-gradient).topk(min(a.mu, len(pool))).indices.tolist()]
scores = []
for v in shortlist:
    candidate = prompt[:a.position] + [v] + prompt[a.position + 1:]
    t = time.time(); r = reason(candidate); clock("candidate_reasoning", t)
    t = time.time(); scores.append(score(candidate, r)); clock("candidate_scoring", t)
print(json.dumps(dict(event="result", n=a.n, mu=len(shortlist), seconds=seconds, total_seconds=round(sum(seconds.values()), 1), generated_tokens=generated,
                      pool=tok.convert_ids_to_tokens(pool), shortlist=tok.convert_ids_to_tokens(shortlist), scores=[round(s, 4) for s in scores],
                      peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)))
