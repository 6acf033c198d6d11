import type { PromptReader } from './imported.js'
import { notAPrompt } from './rows.js'

/** What Python pickles, which runs whatever it says when it is read: never opened, and told how to be turned into something else. */
export const pickle: PromptReader = {
  name: 'pickle',
  description: 'refused: .pt, .pth, .bin, .ckpt and .pkl are pickles',
  reads: (path, head) => /\.(?:pt|pth|ckpt|pkl|pickle|bin)$/.test(path) || (head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5),
  async read(path) {
    throw notAPrompt(
      path,
      'a pickle, which can run anything when it is read',
      'safetensors, .npy, .f32, a .zip of KoboldAI, or the folder of an adapter with adapter_model.safetensors',
      'where you trust it, convert it in Python: safetensors.torch.save_file({"prompt": torch.load(path, weights_only=True)}, "prompt.safetensors")',
    )
  },
}
