"""Prompt tuning with PEFT on SST-2: the other side of gradprompt's `tune` benchmark. Needs torch, transformers, peft, safetensors.

Protocol (gradprompt's side is the same):
  row     : [20 virtual tokens][ids of "Review: {text}\nSentiment:"][ids of " negative" or " positive"]
  loss    : cross entropy at the answer ids only, mean over the answer tokens of the batch
  batches : rows shuffled by random.Random(seed), taken `batch` at a time, padded on the right to the longest row
  optimiser: AdamW, no weight decay, linear warm-up over 5 % of the steps, then linear decay to 0
  score   : the answer whose first token has the larger logit after the prompt; dev has 872 rows, test 1821

The model folder holds fp32 weights in the Hugging Face layout (dequantize.py makes it from a GGUF file).
So that both sides train on the same rows from the same start: --order takes the batches from a file, --init-from the first prompt;
--losses and --save write the loss of every step and the final prompt.
Prints one JSON line per event; the last holds the medians.
"""
import argparse, json, os, random, resource, statistics, time
import numpy
import torch
from peft import PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

p = argparse.ArgumentParser()
p.add_argument("--model", required=True)
p.add_argument("--data", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../examples/sst2"))
p.add_argument("--virtual-tokens", type=int, default=20)
p.add_argument("--init", default="TEXT", choices=["TEXT", "RANDOM", "SAMPLE_VOCAB"])
p.add_argument("--init-text", default="Classify the sentiment of the movie review as negative or positive.")
p.add_argument("--lr", type=float, default=1e-2)
p.add_argument("--batch", type=int, default=16)
p.add_argument("--steps", type=int, help="default: 400, or every batch of --order")
p.add_argument("--eval-every", type=int, default=0, help="dev accuracy every so many steps; 0: only at the end")
p.add_argument("--eval-rows", type=int, default=0, help="score only the first so many dev rows; 0: all")
p.add_argument("--test", action="store_true")
p.add_argument("--seed", type=int, default=13)
p.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
p.add_argument("--fixed-length", type=int, default=0, help="repeat and cut each text's own tokens to exactly this many")
p.add_argument("--order", help="JSON: list of lists of row indices into train.tsv, the batches in order; --batch is not used")
p.add_argument("--init-from", help=".safetensors with `prompt`, or .npy: the first prompt [virtual tokens, hidden size]")
p.add_argument("--losses", help="write the loss of every step here, as a JSON list")
p.add_argument("--save", help="write the final prompt here: .safetensors with `prompt` [virtual tokens, hidden size]")
a = p.parse_args()
given = None
if a.order:
    with open(a.order) as f:
        given = json.load(f)
a.steps = a.steps or (len(given) if given else 400)
if given is not None and len(given) < a.steps:
    p.error(f"--order has {len(given)} batches, --steps asks for {a.steps}")
torch.manual_seed(a.seed)


def rows(name):
    with open(os.path.join(a.data, name)) as f:
        pairs = [line.rstrip("\n").rsplit("\t", 1) for line in f]
    return [(text, int(label)) for text, label in pairs if label != "label"]  # some files have a header


def say(**kw):
    print(json.dumps(kw), flush=True)


t0 = time.time()
tok = AutoTokenizer.from_pretrained(a.model)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=getattr(torch, a.dtype))
model = get_peft_model(model, PromptTuningConfig(
    task_type="CAUSAL_LM", num_virtual_tokens=a.virtual_tokens, prompt_tuning_init=a.init,
    prompt_tuning_init_text=a.init_text if a.init == "TEXT" else None, tokenizer_name_or_path=a.model))
prompt = model.prompt_encoder["default"].embedding.weight
if a.init_from:
    start = torch.from_numpy(numpy.load(a.init_from)) if a.init_from.endswith(".npy") else load_file(a.init_from)["prompt"]
    if start.shape != prompt.shape:
        p.error(f"--init-from has shape {list(start.shape)}, expected {list(prompt.shape)}")
    with torch.no_grad():
        prompt.copy_(start)
say(event="loaded", seconds=round(time.time() - t0, 2), threads=torch.get_num_threads())
ANS = [tok(" negative").input_ids, tok(" positive").input_ids]


def encode(text):
    ids = tok(f"Review: {text}\nSentiment:").input_ids
    if a.fixed_length:
        ids = (ids * (a.fixed_length // len(ids) + 1))[:a.fixed_length]
    return ids


def batch_of(items, train):
    seqs = [(encode(t), ANS[y] if train else []) for t, y in items]
    n = max(len(x) + len(y) for x, y in seqs)
    ids = torch.zeros(len(seqs), n, dtype=torch.long); mask = torch.zeros_like(ids); lab = torch.full_like(ids, -100)
    for i, (x, y) in enumerate(seqs):
        k = len(x) + len(y)
        ids[i, :k] = torch.tensor(x + y); mask[i, :k] = 1
        if train:
            lab[i, len(x):k] = torch.tensor(y)
    return ids, mask, lab


@torch.no_grad()
def accuracy(items, bs=64):
    order = sorted(range(len(items)), key=lambda i: len(items[i][0]))
    ok, t = 0, time.time()
    for s in range(0, len(order), bs):
        part = [items[i] for i in order[s:s + bs]]
        ids, mask, _ = batch_of(part, False)
        logits = model(input_ids=ids, attention_mask=mask).logits
        last = mask.sum(1) - 1 + (logits.shape[1] - ids.shape[1])
        l = logits[torch.arange(len(part)), last]
        pred = (l[:, ANS[1][0]] > l[:, ANS[0][0]]).long().tolist()
        ok += sum(int(q == y) for q, (_, y) in zip(pred, part))
    return ok / len(items), time.time() - t


train, dev = rows("train.tsv"), rows("dev.tsv")
dev = dev[:a.eval_rows or None]
params = [q for q in model.parameters() if q.requires_grad]
opt = torch.optim.AdamW(params, lr=a.lr, weight_decay=0.0)
warm = max(1, int(0.05 * a.steps))
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: (s + 1) / warm if s < warm else max(0.0, (a.steps - s) / (a.steps - warm)))
rng, order, times, losses, seen = random.Random(a.seed), [], [], [], 0
t_train = 0.0
for step in range(1, a.steps + 1):
    if given is not None:
        items = [train[i] for i in given[step - 1]]
    else:
        if len(order) < a.batch:
            order = list(range(len(train))); rng.shuffle(order)
        items = [train[i] for i in order[:a.batch]]; order = order[a.batch:]
    seen += len(items)
    t = time.time()
    ids, mask, lab = batch_of(items, True)
    out = model(input_ids=ids, attention_mask=mask, labels=lab)
    out.loss.backward(); opt.step(); sched.step(); opt.zero_grad(set_to_none=True)
    times.append(time.time() - t); t_train += times[-1]; losses.append(out.loss.item())
    if step % 20 == 0 or step == a.steps:
        say(event="step", step=step, loss=round(statistics.mean(losses[-20:]), 4), seconds=round(t_train, 1), per_step=round(statistics.median(times[-20:]), 3))
    if a.eval_every and step % a.eval_every == 0:
        acc, s = accuracy(dev); say(event="dev", step=step, accuracy=round(acc, 4), seconds=round(s, 1), train_seconds=round(t_train, 1))
if a.losses:
    with open(a.losses, "w") as f:
        json.dump(losses, f)
if a.save:
    save_file({"prompt": prompt.detach().float().contiguous()}, a.save)
acc, s = accuracy(dev)
out = dict(event="result", steps=a.steps, dev_accuracy=round(acc, 4), eval_seconds=round(s, 2), eval_rows_per_second=round(len(dev) / s, 3), train_seconds=round(t_train, 1),
           median_step=round(statistics.median(times), 4), rows_per_second=round(seen / t_train, 3),
           peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
if a.test:
    out["test_accuracy"] = round(accuracy(rows("test.tsv"))[0], 4)
say(**out)
