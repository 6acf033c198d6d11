import type { RunTask } from '../../src/data/task-config.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { elementCount } from '../../src/numbers.js'
import { uniformNumbers } from '../../src/prompts/initialisation.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import type { LearnedRun } from '../../src/sources/run.js'

/** Options that a method has no default for here, where none is parsed. */
const options: Readonly<Record<string, object>> = {
  'adaption-prompt': { adapterLength: 3, adapterLayers: 2 },
  adept: { rank: 3, budgetTokens: 20 },
  dept: { rank: 2, maxTextLength: 32, budgetTokens: 20, offset: 'all', scale: 1 },
  'prefix-tuning': { prefixProjection: false },
  'soft-template': { softTokens: [{ text: '{soft:2}', ids: [-1, -1] }] },
}

/**
 * A run as if a method had learned something: seeded numbers in the places of its tensors. What an export and its consumer compute can
 * then be held against each other without any learning.
 */
export async function learnedRun(
  model: LanguageModel,
  name: string,
  type: string,
  {
    template = '{text} -',
    position = 'before-bos',
    data = { train: 'no such file' },
  }: {
    template?: RunTask['template']
    position?: 'before-bos' | 'after-bos'
    data?: { readonly train: string; readonly columns?: readonly string[] }
  } = {},
): Promise<LearnedRun> {
  const entry = promptMethods.get(type)
  const method = { type, numVirtualTokens: 5, position, ...options[type] }
  const { numVirtualTokens } = entry.placement(method, model.config)
  const scale = Math.sqrt(
    (await model.embeddingRows([3, 4, 5])).reduce((sum, x) => sum + x * x, 0) / (3 * model.config.hiddenSize),
  )
  const tensors = entry.parameters(method, model.config).map(({ name: tensor, shape }, i) => ({
    name: tensor,
    shape,
    data: uniformNumbers(elementCount(shape), tensor === 'prompt' ? 1.7 * scale : 0.2 * scale, 11, i),
  }))
  const config = {
    model: name,
    data,
    template,
    answer: ' {label}',
  } as unknown as RunTask
  const prompt = {
    method,
    model: { name: model.name, hash: model.hash },
    hiddenSize: model.config.hiddenSize,
    numVirtualTokens,
    position,
    template,
    answer: ' {label}',
    labels: { 0: 'the', 1: 'of' },
    seed: 11,
    tensors,
  }
  return { folder: 'none', config, prompt }
}
