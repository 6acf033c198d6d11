"""nanoGCG on the problems of `npm run bench -- search`: time of a step, losses, and the first gradient.

    nanogcg_steps.py --model FOLDER --problems problems.json [--steps 6] [--width 128] [--init " x x …"] [--seed 13]
                     [--gradient out.safetensors]

problems.json is a list of { "message", "target" }; the searched string stands at the message's end. Prints a JSON line for each problem
({"event": "problem", "losses": [...], "strings": [...], "stepSeconds": [...]}), then the result.

nanogcg 0.3.0 pins transformers <= 4.47.1, so it needs an environment of its own: pip install nanogcg==0.3.0 transformers==4.47.1. That
transformers reads neither the tokenizer class nor the rope settings that newer ones write, so the folder is copied with both in the older
form (the weights are linked), and without a BOS token: nanoGCG takes its text out of the whole chat template, turn markers included.

--gradient writes what nanoGCG computes at the first state of the first problem: `gradient` [free tokens, vocabulary], of the loss with
respect to the one-hot tokens.
"""
import argparse, json, os, resource, shutil, statistics, tempfile, time
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from nanogcg.gcg import GCG, GCGConfig

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--model", required=True)
p.add_argument("--problems", required=True)
p.add_argument("--steps", type=int, default=6)
p.add_argument("--width", type=int, default=128)
p.add_argument("--topk", type=int, default=256)
p.add_argument("--init", default=" x" * 20)
p.add_argument("--seed", type=int, default=13)
p.add_argument("--gradient")
a = p.parse_args()
with open(a.problems) as f:
    problems = json.load(f)


def older_form(folder, copy):
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            os.symlink(os.path.abspath(os.path.join(folder, name)), os.path.join(copy, name))
        else:
            shutil.copy(os.path.join(folder, name), copy)
    path = os.path.join(copy, "config.json")
    with open(path) as f:
        config = json.load(f)
    config["rope_theta"] = config.pop("rope_parameters", {}).get("rope_theta", config.get("rope_theta", 10000.0))
    config["torch_dtype"] = "float32"
    with open(path, "w") as f:
        json.dump(config, f)
    path = os.path.join(copy, "tokenizer_config.json")
    with open(path) as f:
        config = json.load(f)
    config = {k: v for k, v in config.items() if k not in ("bos_token", "extra_special_tokens", "additional_special_tokens")}
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    template = os.path.join(folder, "chat_template.jinja")
    if os.path.exists(template):
        with open(template) as f:
            config["chat_template"] = f.read()
    with open(path, "w") as f:
        json.dump(config, f)
    return copy


class Timed(GCG):
    """A step begins with its gradient."""

    def compute_token_gradient(self, optim_ids):
        self.begun.append(time.time())
        gradient = super().compute_token_gradient(optim_ids)
        if self.first is None:
            self.first = gradient[0].float().clone()
        return gradient


with tempfile.TemporaryDirectory() as copy:
    folder = older_form(a.model, copy)
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    times, results = [], []
    for i, problem in enumerate(problems):
        # Several steps in one run: the last one's end is the run's.
        config = GCGConfig(num_steps=a.steps, search_width=a.width, topk=a.topk, optim_str_init=a.init, seed=a.seed, verbosity="ERROR")
        gcg = Timed(model, tokenizer, config)
        gcg.begun, gcg.first = [], None
        result = gcg.run(problem["message"], problem["target"])
        own = [b - c for b, c in zip(gcg.begun[1:] + [time.time()], gcg.begun)]
        times += own
        results.append(result.best_loss)
        print(json.dumps({"event": "problem", "losses": result.losses, "strings": result.strings, "stepSeconds": own}), flush=True)
        if a.gradient and i == 0:
            save_file({"gradient": gcg.first.contiguous()}, a.gradient)
    print(json.dumps({
        "event": "result",
        # The first step warms up.
        "medianStep": statistics.median(times[1:] or times),
        "bestLosses": results,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))
