import { GradpromptError } from '../src/errors.js'
import { Registry } from '../src/registry.js'
import type { ModelFamily } from './family.js'
import { gpt2 } from './gpt2.js'
import { llama } from './llama.js'

/** Every family that is built in. A new one is a file beside `llama.ts` and a line here. */
const builtIn = [llama, gpt2] as unknown as readonly ModelFamily[]

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
      hidden: 'a function',
      logits: 'a function',
    },
    complete: given => (typeof given === 'object' && given !== null ? { gguf: noGguf, ignored: /^$/, ...given } : given),
  },
  builtIn.map((family): [string, ModelFamily] => [family.name, family]),
)

const noGguf: ModelFamily['gguf'] = { architectures: [], config: () => ({}), part: part => part }

/**
 * The family of a checkpoint, by config.json's `model_type` or GGUF's `general.architecture`. People's own come before the built-in
 * ones, the last that was given first.
 */
export function findFamily(kind: 'modelType' | 'gguf', name: string, source: string): ModelFamily {
  const names = (family: ModelFamily) => (kind === 'gguf' ? family.gguf.architectures : family.modelTypes)
  const all = [...families.own.map(([, family]) => family), ...builtIn]
  const family = all.find(candidate => names(candidate).includes(name))
  if (family) return family
  throw new GradpromptError('unknown-architecture', `${source}: the architecture is not known`, {
    found: name,
    expected: `one of ${all.flatMap(names).join(', ')}`,
    hint: 'a family of your own is an object or a module: families: [./my-family.js]; docs/extending.md shows one',
  })
}
