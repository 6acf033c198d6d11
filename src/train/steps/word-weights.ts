import type { ScoringRow } from '../../data/rows/rows.js'
import type { Task } from '../../data/task.js'
import { countWords, weightGradient, wordParameter } from '../../data/texts/verbalizer.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { PromptParameter } from '../../prompts/method.js'

/** The weights of a class's several words, where they are learned: a parameter beside the prompt's, with a gradient of its own. */

const wordLearningRate = 0.05

/** None unless the config asks for them. */
export function wordWeights(
  { verbalizer }: { readonly verbalizer?: { readonly learned: boolean; readonly learningRate?: number | undefined } | undefined },
  { labels }: Pick<Task, 'labels'>,
): { shape: PromptParameter; values: Float32Array }[] {
  if (!verbalizer?.learned || labels === undefined) return []
  const learningRate = verbalizer.learningRate ?? wordLearningRate
  const shape = { name: wordParameter, shape: [countWords(labels)], learningRate }
  return [{ shape, values: new Float32Array(countWords(labels)) }]
}

/** What a step adds to the prompt's gradient; undefined where no weights are learned. */
export function wordGradient({
  model,
  prompt,
  labels,
  weights,
  rows,
}: {
  readonly model: LanguageModel
  readonly prompt: ActivePrompt
  readonly labels: Task['labels']
  readonly weights: Float32Array | undefined
  /** Of a step, as they are scored. */
  readonly rows: (step: number) => readonly ScoringRow[]
}): ((step: number) => Promise<ReadonlyMap<string, Float32Array>>) | undefined {
  if (weights === undefined || labels === undefined) return undefined
  return async step => {
    const scored = rows(step)
    const scores = await model.logLikelihoods(prompt, scored)
    const words = scored.map(({ target }, i) => ({ target, scores: scores[i]! }))
    return new Map([[wordParameter, weightGradient(labels, words, weights)]])
  }
}
