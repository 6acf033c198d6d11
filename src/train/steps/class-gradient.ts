import type { ScoringRow } from '../../data/rows/rows.js'
import { GradpromptError } from '../../errors.js'
import type { ActiveLoss } from '../../losses/loss.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { PromptGradient } from '../../model/prompt-gradient.js'
import type { LabelledRow } from '../../model/row.js'
import { elementCount } from '../../numbers.js'

/**
 * The gradient of a loss over the classes of each row (`Loss.ofClasses`): a pass says what every class scores, and a second one is the
 * gradient of the scores, weighed by how the loss changes with each. Answers may belong to different prompts of the method's.
 */

/** Slopes so small are none: what they add is below the rounding of the others. */
const least = 1e-9

/**
 * The mean over rows, each of which is computed with its text once for all its answers.
 * @throws GradpromptError `unknown-label` for a row without a class, and as the model's gradient does
 */
export async function classGradient(
  model: LanguageModel,
  prompt: ActivePrompt,
  rows: readonly ScoringRow[],
  { loss, options }: ActiveLoss,
  { recompute }: { readonly recompute: boolean },
): Promise<PromptGradient> {
  const scores = await model.logLikelihoods(prompt, rows)
  let [total, right] = [0, 0]
  const slopes = rows.map((row, i) => {
    const own = scores[i]!
    if (!(row.target >= 0))
      throw new GradpromptError('unknown-label', 'a row that is learned from has no class', { found: `row ${row.index + 1}` })
    const said = loss.ofClasses!(options, own, row.target)
    total += said.loss / rows.length
    right += own.every((score, j) => j === row.target || score < own[row.target]!) ? 1 : 0
    return said.slopes.map(slope => slope / rows.length)
  })
  const { gradients, computed } = await slopeGradient(model, prompt, rows, slopes, { loss, options }, { recompute })
  return { loss: total, figures: { batchAccuracy: right / rows.length }, gradients, rows: computed }
}

/**
 * The gradient of the log-likelihoods of rows' candidates, each weighed by its slope, with respect to what is learned of a prompt.
 * @param slopes of each row's candidates, in their order
 * @param active what its programs are of: a loss over weighed likelihoods
 * @returns gradients by the names of parameters, and the token rows that were computed
 */
export async function slopeGradient(
  model: LanguageModel,
  prompt: ActivePrompt,
  rows: readonly ScoringRow[],
  slopes: readonly (readonly number[])[],
  { loss, options }: ActiveLoss,
  { recompute }: { readonly recompute: boolean },
): Promise<{ readonly gradients: Map<string, Float32Array>; readonly computed: number }> {
  const shapes = prompt.method.parameters(prompt.config, model.config).filter(({ frozen }) => !frozen)
  const gradients = new Map(shapes.map(({ name, shape }) => [name, new Float32Array(elementCount(shape))]))
  let computed = 0
  for (const [i, row] of rows.entries()) {
    const taken = slopes[i]!.flatMap((slope, j) => (Math.abs(slope) * rows.length > least ? [{ slope, place: j }] : []))
    if (taken.length === 0) continue
    const answers = taken.map(({ place }) => labelled(row, place))
    const data = { slopes: taken.map(({ slope }) => slope) }
    const part = await model.promptGradient(prompt, answers, { losses: [{ loss, options, data }], recompute })
    computed += part.rows
    for (const [name, values] of part.gradients) {
      const sum = gradients.get(name)!
      for (let k = 0; k < sum.length; k++) sum[k]! += values[k]!
    }
  }
  return { gradients, computed }
}

/** A row with one of its candidates behind it. */
function labelled({ context, candidates, task }: ScoringRow, place: number): LabelledRow {
  const { ids, task: own = task } = candidates[place]!
  return { ids: [...context, ...ids], labels: [...context.map(() => -100), ...ids], task: own }
}
