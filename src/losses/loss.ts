import { tf } from '../../kernels/tf.js'
import type { TokenTargets } from '../../kernels/token-cross-entropy.js'
import type { ModelConfig } from '../../models/blocks/family.js'
import type { OptionsDeclaration } from '../config/typed-options.js'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords } from '../own-calls.js'
import type { Dimensions } from '../program/operations/sizes.js'
import type { InputSpec, ProgramInput } from '../program/program.js'

/**
 * What is minimised, as everything that learns or searches takes it: tensor code over what the model says where something is predicted,
 * with inputs of its own that are made from rows. A loss knows neither the model nor the prompt nor the data behind these.
 */

/** What the model says at the rows that are read, of which each predicts one or several targets. */
export interface ReadRows {
  /** Logits, [Q, V]; computed when they are first asked for. */
  readonly logits: tf.Tensor
  /** Normalised hidden states, as the head takes them, [Q, d]. */
  readonly hidden: tf.Tensor
  /** The label tokens, [N], and what each of them weighs: 1 / the labels of the batch, so that a weighted sum is the mean. */
  readonly targets: TokenTargets
  /** What the prompt puts at the input, [m, d]; undefined where it has no rows there that all texts share. */
  readonly virtual?: tf.Tensor | undefined
  /** The loss's own inputs by name. */
  readonly given: Readonly<Record<string, tf.Tensor>>
}

export interface LossValue {
  /** Of this part of the batch: the parts' losses, and their gradients, add up to the batch's. */
  readonly loss: tf.Scalar
  /** What is reported beside it: sums as well. */
  readonly figures?: Readonly<Record<string, tf.Scalar>>
}

/** A label token of a part of a batch. */
export interface PartTarget {
  /** Its sequence, by place in the part. */
  readonly sequence: number
  /** Which of its sequence's labels it is. */
  readonly label: number
  /** Which of the Q rows predicts it. */
  readonly read: number
}

/** What one run of a program computes of a batch: whole groups of rows. */
export interface LossPart {
  readonly model: ModelConfig
  /** Places in the batch of the rows that are the part's sequences. */
  readonly sequences: readonly number[]
  /** Sequences that belong together, in their order, each by its place in the part; none where the batch says nothing of groups. */
  readonly groups: readonly (readonly number[])[]
  /** The first N targets of the program; those of the prompt itself stand behind them. */
  readonly targets: readonly PartTarget[]
  /** N with the prompt's own targets. */
  readonly targetCount: number
  /** Q */
  readonly readCount: number
  /** How much there is of each in the whole batch. */
  readonly batch: { readonly labels: number; readonly sequences: number; readonly groups: number }
}

/**
 * A loss is one file: its options, its inputs, its tensor code, and how rows feed it. `Data` is what a batch brings beside its rows, such
 * as what a teacher says of them.
 */
export interface Loss<Options extends { readonly type: string } = { readonly type: string }, Data = unknown> {
  readonly type: Options['type']
  readonly paper: string
  /** Its options beside `type`; without a declaration it has none. */
  readonly options?: OptionsDeclaration
  /** Named inputs, whose shapes may name N (targets), Q (rows that are read) and the loss's own `dims`. */
  inputs?(options: Options, model: ModelConfig): Readonly<Record<string, InputSpec>>
  /** Ranges of the dimensions that only its inputs have. */
  readonly dims?: Dimensions
  compute(options: Options, read: ReadRows): LossValue
  /** Values of `inputs` for a part of a batch. */
  feed?(options: Options, data: Data, part: LossPart): Readonly<Record<string, ProgramInput>>
  /** Figures as they are reported, from their sums over the batch's parts; undefined: not at all. By default these sums. */
  figures?(options: Options, data: Data, sums: Readonly<Record<string, number>>): Readonly<Record<string, number | undefined>>
  /** It compares the rows of one group with each other: a batch that says nothing of groups is refused. */
  readonly grouped?: boolean
  /**
   * It learns from what people preferred: one of two answers (`pairs`, a group of two rows each, the preferred one first), or as well
   * single answers that they liked or did not (`pairs or thumbs`). The task then says where these stand.
   */
  readonly preferences?: 'pairs' | 'pairs or thumbs'
  /**
   * It is of the classes of a row, and not of its own answer alone: what the scores of one row come to, and how that changes with each. What
   * its program computes is then the sum of all answers' log-likelihoods, weighed by what `data` brings as `slopes`.
   */
  ofClasses?(
    options: Options,
    scores: readonly number[],
    target: number,
  ): { readonly loss: number; readonly slopes: readonly number[] }
  /** Records that a batch has to have, where it compares one with another. */
  readonly leastBatch?: number
  /** What it holds log-probabilities against, as `LossContext.logProbabilities` names it; null: nothing. */
  reference?(options: Options): 'start' | 'none' | null
  /** A text that a teacher has before each row: the context has to have room for both. */
  textBefore?(options: Options): string
  /** What it takes an answer to be worth: so held-out answers are told apart by what they have gained. */
  reward?(options: Options, answer: RewardedAnswer): number
  /**
   * The texts that are learned of each record, as templates, one row each in this order and all of one group. By default the config's
   * answer alone.
   */
  answers?(options: Options, answer: string): readonly string[]
  /**
   * What batches bring beside their rows, where the loss needs something: asked once, before the first step.
   * @returns what a batch's rows bring, in their order
   */
  data?(options: Options, context: LossContext): (rows: readonly ContextRow[]) => Promise<Data>
}

/** An answer as a reward sees it. */
export interface RewardedAnswer {
  /** Sum over its tokens, in nats. */
  readonly logProbability: number
  /** The same under the reference; 0 without one. */
  readonly reference: number
  readonly tokens: number
}

/** A row as a context tells of it. */
export interface ContextRow {
  readonly ids: readonly number[]
  readonly labels: readonly number[]
  /** Whether people liked its answer, or preferred it to the other of its record; undefined where nothing says so. */
  readonly liked?: boolean | undefined
}

/** What a loss may ask of the model before and beside the steps. */
export interface LossContext {
  readonly model: ModelConfig
  /** Rows that each record makes, in turn. */
  readonly answers: number
  /**
   * Log-probabilities of each row's label tokens, in nats, under the prompt as it stood before the first step, under none, or under the
   * prompt as it stands now. Of the first two, which never change, each text is computed by itself, so that what is said of its answers
   * depends on no other, and remembered. Labels are those of an answer that ends the row.
   */
  logProbabilities(under: 'start' | 'none' | 'now', rows: readonly ContextRow[]): Promise<Float32Array[]>
  /**
   * What the model without a prompt says where each label of a row is predicted, once a text stands before the row: the `count` likeliest
   * tokens of each. It never changes, and is remembered.
   * @throws GradpromptError `text-too-long` where the context has no room for both
   */
  topTokens(text: string, count: number, rows: readonly ContextRow[]): Promise<TopTokens[]>
}

/** The likeliest tokens at each label of a row, the first first. */
export interface TopTokens {
  /** Token ids, [labels * count]. */
  readonly ids: Int32Array
  /** [labels * count]; of a label less than 1 in sum. */
  readonly probabilities: Float32Array
}

/** A loss with its options: what a program is compiled from. */
export interface ActiveLoss {
  readonly loss: Loss
  readonly options: { readonly type: string }
}

/** The same with what a batch brings. */
export interface LossTerm extends ActiveLoss {
  readonly data?: unknown
}

/** A term, its types checked together. */
export const lossTerm = <Options extends { readonly type: string }, Data>(
  loss: Loss<Options, Data>,
  options: Options,
  data?: Data,
): LossTerm => ({ loss: loss as unknown as Loss, options, data })

/** Inputs of several losses side by side in one program. */
const inputName = (place: number, name: string) => `loss${place}:${name}`

/**
 * Declared inputs of a program that adds up losses, and the dimensions that they bring.
 * @param taken dimensions that the program has besides
 * @throws GradpromptError `invalid-loss` where a loss calls one of its own by the name of one of these
 */
export function lossInputs(
  losses: readonly ActiveLoss[],
  model: ModelConfig,
  taken: readonly string[],
): { inputs: Record<string, InputSpec>; dims: Dimensions } {
  for (const { loss } of losses) {
    const clash = Object.keys(loss.dims ?? {}).find(name => taken.includes(name))
    if (clash !== undefined)
      throw new GradpromptError('invalid-loss', `the loss ${loss.type} has a dimension of a name that is taken`, {
        found: clash,
        expected: `none of ${taken.join(', ')}`,
      })
  }
  const inputs = losses.flatMap(({ loss, options }, place) =>
    Object.entries(loss.inputs?.(options, model) ?? {}).map(([name, spec]) => [inputName(place, name), spec] as const),
  )
  return { inputs: Object.fromEntries(inputs), dims: Object.assign({}, ...losses.map(({ loss }) => loss.dims ?? {})) }
}

/**
 * The sum of losses, in their order.
 * @param given every input of the program; a loss sees its own
 */
export function totalLoss(
  losses: readonly ActiveLoss[],
  read: Omit<ReadRows, 'given'>,
  given: Readonly<Record<string, tf.Tensor>>,
  model: ModelConfig,
): LossValue {
  const values = losses.map(({ loss, options }, place) => {
    const names = Object.keys(loss.inputs?.(options, model) ?? {})
    const own = Object.fromEntries(names.map(name => [name, given[inputName(place, name)]!]))
    // Logits and the prompt's rows stay unasked for where nothing reads them.
    const rows = {
      ...{ hidden: read.hidden, targets: read.targets, given: own },
      get logits() { return read.logits },
      get virtual() { return read.virtual },
    } // biome-ignore format: getters in a line
    return scalars(loss, loss.compute(options, rows))
  })
  const [first, ...others] = values.map(({ loss }) => loss)
  return {
    loss: others.reduce<tf.Scalar>((sum, loss) => tf.add(sum, loss), first!),
    figures: Object.assign({}, ...values.map(({ figures }) => figures ?? {})),
  }
}

/**
 * What a loss has computed. Anything but a scalar would be learned as the sum of its numbers, and reported as the first of them.
 * @throws GradpromptError `invalid-loss`
 */
function scalars({ type }: Loss, value: LossValue): LossValue {
  const isScalar = (given: unknown) => isRecord(given) && Array.isArray(given.shape) && given.shape.length === 0
  const wrong = (found: string) =>
    new GradpromptError('invalid-loss', `what compute of the loss ${type} gives back is not usable`, {
      found,
      expected: '{ loss: a scalar tensor, figures: scalar tensors by name, where there are some }',
      hint: 'tf.sum adds up the numbers of a tensor; the function may not be async',
    })
  if (!isRecord(value) || !isRecord(value.loss)) throw wrong(inWords(value))
  const { loss, figures = {} } = value
  if (!isScalar(loss)) throw wrong(`loss: ${inWords(loss)}`)
  const other = Object.entries(figures).find(([, figure]) => !isScalar(figure))
  if (other !== undefined) throw wrong(`figures.${other[0]}: ${inWords(other[1])}`)
  return value
}

/**
 * Values of a program's `lossInputs` for a part of a batch.
 * @throws GradpromptError `not-grouped` for a loss over groups and a batch without them
 */
export function lossFeeds(terms: readonly LossTerm[], part: LossPart): Record<string, ProgramInput> {
  const feeds = terms.flatMap(({ loss, options, data }, place) => {
    if (loss.grouped && part.groups.length === 0)
      throw new GradpromptError('not-grouped', `the loss ${loss.type} compares rows, and these are in no groups`, {
        found: `${part.sequences.length} rows that each stand alone`,
        expected: 'how many rows in turn belong together: groups: [2, 2]',
      })
    const own = loss.feed?.(options, data, part) ?? {}
    return Object.entries(own).map(([name, value]) => [inputName(place, name), value] as const)
  })
  return Object.fromEntries(feeds)
}

/** Figures of a whole batch, from their sums over its parts. */
export function lossFigures(
  terms: readonly LossTerm[],
  sums: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const said = Object.assign({ ...sums }, ...terms.map(({ loss, options, data }) => loss.figures?.(options, data, sums) ?? {}))
  return Object.fromEntries(
    Object.entries(said as Record<string, number | undefined>).filter(pair => pair[1] !== undefined),
  ) as Record<string, number>
}

/** Rows of logits that a run holds for each that it reads: the model's, and those that losses compare it with. */
export function logitRows(losses: readonly ActiveLoss[], model: ModelConfig): number {
  const shapes = losses.flatMap(({ loss, options }) => Object.values(loss.inputs?.(options, model) ?? {}))
  return 1 + shapes.filter(({ shape }) => shape[0] === 'Q' && shape[1] === model.vocabSize).length
}
