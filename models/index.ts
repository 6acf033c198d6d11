import { GradpromptError, nearest } from '../src/errors.js'
import { anObject } from '../src/own-calls.js'
import { Registry } from '../src/registry.js'
import type { ModelFamily } from './blocks/family.js'
import { cohere } from './cohere.js'
import { falcon } from './falcon.js'
import { gemma, gemma2, gemma3 } from './gemma.js'
import { gptNeox } from './gpt-neox.js'
import { gpt2 } from './gpt2.js'
import { granite } from './granite.js'
import { llama } from './llama.js'
import { olmo2 } from './olmo2.js'
import { opt } from './opt.js'
import { phi, phi3 } from './phi.js'
import { qwen2 } from './qwen2.js'
import { qwen3 } from './qwen3.js'
import { smollm3 } from './smollm3.js'
import { stablelm } from './stablelm.js'
import { starcoder2 } from './starcoder2.js'

/** Every family that is built in. A new one is a file beside `llama.ts` and a line here. */
const builtIn: readonly ModelFamily[] = [
  cohere,
  falcon,
  gemma,
  gemma2,
  gemma3,
  gpt2,
  gptNeox,
  granite,
  llama,
  olmo2,
  opt,
  phi,
  phi3,
  qwen2,
  qwen3,
  smollm3,
  stablelm,
  starcoder2,
] as unknown as readonly ModelFamily[]

/** Every family by its name; people's own join in. One that has no GGUF files needs to say nothing of them. */
export const families = new Registry<ModelFamily>(
  {
    word: 'family',
    exports: ['family'],
    name: 'name',
    requires: {
      modelTypes: 'a list',
      gguf: 'an object',
      parseConfig: 'a function',
      weights: 'a function',
      ignored: 'an object',
      embedding: 'a text',
      attentionModule: 'a function',
      embed: 'a function',
      embeddingProducts: 'a function',
      embeddingSums: 'a function',
      hidden: 'a function',
      logits: 'a function',
    },
    calls: {
      traced: ['embed', 'embeddingProducts', 'embeddingSums', 'hidden', 'logits'],
      looks: { parseConfig: anObject('a ModelConfig') },
    },
    complete: given => (typeof given === 'object' && given !== null ? { ...simplest, ...given } : given),
  },
  builtIn.map((family): [string, ModelFamily] => [family.name, family]),
)

const simplest: Partial<ModelFamily> = {
  gguf: { architectures: [], config: () => ({}), weights: () => [] },
  ignored: /^$/,
  inputMultiplier: () => 1,
  pairedKeys: false,
}

/** Kinds of models that no family is, told by the name of their architecture. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/moe|mixtral|deepseek|gpt-?_?oss|dbrx|llama-?4|jamba|grok|arctic/, 'a mixture of experts: only dense models are computed'],
  [
    /mamba|rwkv|recurrent|hybrid|_h1|lfm|xlstm|qwen3_?next/,
    'layers that carry a state along the text: only attention is computed',
  ],
  [/vl$|_vl_|vision|llava|mllama|pixtral|omni|audio|^gemma-?(3|3n|4)$|^mistral3$|^idefics|^paligemma/, 'more than text'],
  [/^(bloom|mpt|baichuan|jais|mosaic\w*)$/, 'positions by slopes of the scores (ALiBi): only rotations and tables are computed'],
  [/bert|t5|bart|^whisper|^clip/, 'an encoder, or a model of two parts: only decoders of text are computed'],
]

/**
 * The family of a checkpoint, by config.json's `model_type` or GGUF's `general.architecture`. People's own come before the built-in
 * ones, the last that was given first.
 * @throws GradpromptError `unknown-architecture`
 */
export function findFamily(kind: 'modelType' | 'gguf', name: string, source: string): ModelFamily {
  const names = (family: ModelFamily) => (kind === 'gguf' ? family.gguf.architectures : family.modelTypes)
  const all = [...families.own.map(([, family]) => family), ...builtIn]
  const family = all.find(candidate => names(candidate).includes(name))
  if (family) return family
  const other = OTHERS.find(([pattern]) => pattern.test(name.toLowerCase()))
  const known = all.flatMap(names)
  const close = nearest(name, known)
  const hint = other
    ? `it is ${other[1]}`
    : 'a family of your own is an object or a module: families: [./my-family.js]; docs/extending.md shows one'
  throw new GradpromptError('unknown-architecture', `${source}: the architecture is not known`, {
    found: name,
    expected: `one of ${known.join(', ')}`,
    hint: !other && close ? `is "${close}" meant? Otherwise ${hint}` : hint,
  })
}
