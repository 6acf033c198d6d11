import type { ScoringRow } from '../../data/rows/rows.js'
import type { LabelSet } from '../../data/texts/labels.js'
import { wordSlopes } from '../../data/texts/verbalizer.js'
import { GradpromptError } from '../../errors.js'
import { type ClassScores, candidateLikelihoods, classesOf } from '../../evaluate/score.js'
import { type ActiveLoss, lossTerm } from '../../losses/loss.js'
import {
  type EntropyLoss,
  entropyOfMean,
  logShares,
  negatedInformation,
  surestViews,
  viewEntropy,
} from '../../losses/view-entropy.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import { initialLossScale } from '../../model/loss-scale.js'
import { slopeGradient } from '../steps/class-gradient.js'
import { createOptimizer } from '../steps/optimizers.js'
import type { TestTimeOptions } from './options.js'

/**
 * Tunes a prompt on rows whose classes nobody knows, and answers them under it (TPT, Shu et al. 2022, arXiv 2209.07511): on the surest views of
 * one row, or on several rows together. Every time it begins from the prompt as it was learned, with an optimiser that remembers nothing, so
 * that no row has a say in what becomes of another that was not tuned on with it. What it is given is never changed.
 */

/** What became of one row. */
export interface TunedRow {
  /** Under the prompt as it was learned. */
  readonly before: ClassScores
  /** Under the prompt once tuned. */
  readonly after: ClassScores
  /** Logarithms of the classes' shares in every view, before the first step; the first are those of the row itself. */
  readonly views: readonly (readonly number[])[]
  /** Places of the views that it was tuned on. */
  readonly kept: readonly number[]
  /** What was minimised, before each step, in nats. */
  readonly losses: readonly number[]
}

export interface TunerOptions extends Pick<TestTimeOptions, 'keep' | 'similar' | 'steps' | 'learningRate'> {
  readonly labels: LabelSet
  /** Learned weights of the label words. */
  readonly weights?: Float32Array | undefined
  readonly signal?: AbortSignal | undefined
}

/** Log-likelihoods of the words of a row, in nats, and what these are to its classes. */
interface Scored {
  readonly words: readonly number[]
  readonly classes: ClassScores
}

const deciding = ({ logLikelihoods, scores = logLikelihoods }: ClassScores) => scores

export class TestTimeTuner {
  readonly #model: LanguageModel
  readonly #prompt: ActivePrompt
  readonly #options: TunerOptions

  /** @throws GradpromptError `nothing-to-tune` where nothing of the prompt is learned */
  constructor(model: LanguageModel, prompt: ActivePrompt, options: TunerOptions) {
    this.#model = model
    this.#prompt = prompt
    this.#options = options
    if (this.#learned.length > 0) return
    throw new GradpromptError('nothing-to-tune', 'the prompt has nothing that a step could change', {
      found: `a prompt of ${prompt.method.type} whose tensors all stay as they are`,
      expected: 'a method that learns something',
    })
  }

  /**
   * Tunes on the surest views of a row, by the entropy of their mean distribution, and answers the row itself.
   * @param views the row, then its other views
   * @throws GradpromptError `not-finite`, and as scoring and the model's gradient do
   */
  async onViews(views: readonly ScoringRow[]): Promise<TunedRow> {
    const first = await this.#score(this.#prompt, views)
    const logs = first.map(({ classes }) => logShares(deciding(classes)))
    const kept = surestViews(logs, this.#options)
    const { prompt, losses } = await this.#minimise(
      entropyOfMean,
      kept.map(i => views[i]!),
      kept.map(i => first[i]!),
    )
    const [after] = await this.#score(prompt, views.slice(0, 1))
    return { before: first[0]!.classes, after: after!.classes, views: logs, kept, losses }
  }

  /**
   * Tunes on several rows together, so that each becomes sure and not all of one class, and answers them all.
   * @throws GradpromptError as `onViews`
   */
  async onBatch(rows: readonly ScoringRow[]): Promise<TunedRow[]> {
    const first = await this.#score(this.#prompt, rows)
    const { prompt, losses } = await this.#minimise(negatedInformation, rows, first)
    const after = await this.#score(prompt, rows)
    return rows.map((_, i) => {
      const { classes } = first[i]!
      return { before: classes, after: after[i]!.classes, views: [logShares(deciding(classes))], kept: [0], losses }
    })
  }

  get #learned() {
    const { method, config } = this.#prompt
    return method.parameters(config, this.#model.config).filter(({ frozen }) => !frozen)
  }

  async #score(prompt: ActivePrompt, rows: readonly ScoringRow[]): Promise<Scored[]> {
    const { labels, weights, signal } = this.#options
    const likelihoods = await candidateLikelihoods(this.#model, prompt, rows, { signal })
    return likelihoods.map((words, i) => ({ words, classes: classesOf(rows[i]!, words, labels, { weights }) }))
  }

  /** @param scored of the rows under the prompt as it was learned @returns the prompt once tuned */
  async #minimise(
    objective: (scores: readonly (readonly number[])[]) => EntropyLoss,
    rows: readonly ScoringRow[],
    scored: readonly Scored[],
  ): Promise<{ readonly prompt: ActivePrompt; readonly losses: readonly number[] }> {
    const { labels, weights, steps, learningRate } = this.#options
    const model = this.#model
    const { method, config } = this.#prompt
    const parameters = new Map([...this.#prompt.parameters].map(([name, values]) => [name, values.slice()]))
    const prompt: ActivePrompt = { ...this.#prompt, parameters }
    const optimizer = createOptimizer(
      { type: 'adamw' },
      this.#learned.map(({ name, shape, learningRate: own = method.learningRate }) => ({
        name,
        shape,
        learningRateFactor: own / method.learningRate,
      })),
    )
    // What half precision has got used to on other rows is forgotten as well.
    model.lossScale?.restore(initialLossScale)
    const losses: number[] = []
    for (let step = 0; step < steps; step++) {
      const now = step === 0 ? scored : await this.#score(prompt, rows)
      const { loss, slopes } = objective(now.map(({ classes }) => deciding(classes)))
      losses.push(loss)
      const ofWords = slopes.map((own, i) => wordSlopes(labels, now[i]!.words, own, weights))
      const { gradients } = await slopeGradient(model, prompt, rows, ofWords, active, { recompute: false })
      optimizer.step(parameters, gradients, learningRate)
      method.constrain?.(config, parameters, model.config)
      const isSound = Number.isFinite(loss) && [...parameters.values()].every(values => values.every(Number.isFinite))
      if (!isSound) throw notFinite(rows[0]!, loss, learningRate)
    }
    return { prompt, losses }
  }
}

const active: ActiveLoss = lossTerm(viewEntropy, { type: 'view-entropy' })

const notFinite = ({ index }: ScoringRow, loss: number, learningRate: number) =>
  new GradpromptError('not-finite', `the numbers ran out of range where the prompt was tuned on row ${index + 1}`, {
    found: `loss ${loss}`,
    hint: `a rate below testTime.learningRate: ${learningRate}`,
    exitCode: 1,
  })
