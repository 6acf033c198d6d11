import { pythonSelfTest } from './python.js'

/** The script that goes with past keys and values. It needs safetensors besides. */
export const kvSelfTest = pythonSelfTest({
  what: 'what self-test.json expects behind the past keys and values of this folder',
  imports: `from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, DynamicCache`,
  read: 'past = load_file(os.path.join(here, "past_key_values.safetensors"))',
  compute: `cache = DynamicCache(config=model.config)
for layer in range(len(past) // 2):
    cache.update(past[f"key.{layer}"], past[f"value.{layer}"], layer)
step, greedy, first = torch.tensor([case["ids"]]), [], None
for _ in case["greedy"]:
    with torch.no_grad():
        logits = model(input_ids=step, past_key_values=cache).logits[0, -1]
    first = logits if first is None else first
    greedy.append(int(logits.argmax()))
    step = torch.tensor([greedy[-1:]])`,
})
