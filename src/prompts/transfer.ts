import { cosine, meanRow } from '../numbers.js'
import type { InitialisationContext } from './method.js'

/**
 * Transfer: a prompt starts from what earlier runs learned, on the same model, with as many rows.
 *
 * SPoT (Vu et al. 2022, arXiv 2110.07904) tells how near a source task is by the cosine of the mean rows of two learned prompts, and
 * PANDA (Zhong et al. 2022, arXiv 2208.10160) after Su et al. 2022 (arXiv 2111.06719) by how many neurons both activate. There is no
 * learned prompt of the target task yet; in its place stands the prompt that needs no learning, a few of the task's own examples as they
 * are fed (text and answer):
 *
 *     similarity   weight of a source = the cosine of its mean row and the mean row of the examples
 *     panda        weight of a source = the overlap of activated neurons, the cosine of two sets of them: |both| / sqrt(|one| |other|). The
 *                  neurons are those of all layers' MLPs at the last row of the prompt standing alone; one is activated where what its
 *                  activation function takes is positive (of a gated MLP: the gate)
 *
 * Negative weights count as zero; if all do, the sources weigh alike.
 */

export interface RunsInit {
  /** Run folders, or files that runs wrote. */
  readonly from: readonly string[]
  readonly mix: 'one' | 'average' | 'similarity' | 'panda'
}

/** Examples that stand for the task, and the tokens of them that are read at most. */
const taskExamples = 16
const taskTokens = 128

/**
 * The rows that a prompt starts from.
 *
 * @returns [count, hiddenSize]
 * @throws GradpromptError as `learnedPrompts` of the context
 */
export async function transferredRows(init: RunsInit, count: number, context: InitialisationContext): Promise<Float32Array> {
  const sources = await context.learnedPrompts(init.from, count)
  const prompts = await Promise.all(sources.map(source => source.rows()))
  // One source is taken whole, however near it is.
  const weights = prompts.length === 1 ? [1] : normalised(await sourceWeights(init.mix, prompts, context))
  const rows = new Float32Array(prompts[0]!.length)
  for (const [i, prompt] of prompts.entries()) for (let j = 0; j < rows.length; j++) rows[j]! += weights[i]! * prompt[j]!
  return rows
}

/** How much each source counts, before the weights are made to add up to one. */
export async function sourceWeights(
  mix: RunsInit['mix'],
  prompts: readonly Float32Array[],
  context: Pick<InitialisationContext, 'model' | 'embeddingRows' | 'exampleRows' | 'keysAndValues'>,
): Promise<number[]> {
  if (mix === 'one' || mix === 'average') return prompts.map(() => 1)
  const { hiddenSize, maxPositionEmbeddings } = context.model
  const ids = context
    .exampleRows(taskExamples)
    .flatMap(example => example.ids)
    .slice(0, Math.min(taskTokens, maxPositionEmbeddings))
  const task = await context.embeddingRows(ids)
  if (mix === 'similarity') return prompts.map(prompt => cosine(meanRow(prompt, hiddenSize), meanRow(task, hiddenSize)))
  const activated = async (rows: Float32Array) => {
    const layers = await context.keysAndValues(rows)
    return layers.flatMap(({ neurons }) => Array.from(neurons, x => (x > 0 ? 1 : 0)))
  }
  const wanted = await activated(task)
  const weights: number[] = []
  for (const prompt of prompts) weights.push(cosine(await activated(prompt), wanted))
  return weights
}

function normalised(weights: readonly number[]): number[] {
  const positive = weights.map(weight => Math.max(0, weight))
  const sum = positive.reduce((a, b) => a + b, 0)
  return sum > 0 ? positive.map(weight => weight / sum) : weights.map(() => 1 / weights.length)
}
