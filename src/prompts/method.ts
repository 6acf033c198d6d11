import type { tf } from '../../kernels/tf.js'
import type { AttentionCall, ModelConfig } from '../../models/blocks/family.js'
import type { OptionsDeclaration } from '../config/typed-options.js'
import type { AnsweredText, AnswerPair } from '../data/answer-pairs.js'
import type { ExampleRow } from '../data/rows/examples.js'
import type { RowTasks } from '../data/rows/rows.js'
import type { Template } from '../data/texts/template.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import type { Particles } from './domain/domain.js'

/** Where virtual tokens stand. */
export interface PromptPlacement {
  readonly numVirtualTokens: number
  /** `after-bos`: behind the first token, which all sequences must share. */
  readonly position: 'before-bos' | 'after-bos'
  /** `keys`: the virtual tokens have no hidden states; every layer sees keys and values of its own. By default `rows`. */
  readonly as?: 'rows' | 'keys'
  /** Each sequence has virtual tokens of its own, made from its instruction, so that sequences share nothing. */
  readonly perSequence?: boolean
  /**
   * Of virtual tokens `perSequence`: they stand in front of so many last tokens of the instruction (1 or more; of all that it has, where
   * these are fewer), and see what stands before them. By default they stand in front of the whole text.
   */
  readonly beforeLast?: number
  /** The method treats answers otherwise than instructions, so that a shared row must be one of the two for all. */
  readonly answersApart?: boolean
  /** The layer before which the virtual tokens join the text; by default 0. */
  readonly insertionLayer?: number
  /** The method treats the first and the last tokens of an instruction otherwise than those between: a row is shared by texts that it is alike for. */
  readonly edges?: InstructionEdges
}

/** How many tokens at the beginning and at the end of an instruction, at most; of a short one `isEdge` says which. */
export interface InstructionEdges {
  readonly first: number
  readonly last: number
}

/** A tensor of a method. */
export interface PromptParameter {
  readonly name: string
  readonly shape: readonly number[]
  /** Stays as it starts: it has no gradient and counts among nothing that is learned, but the prompt needs it. */
  readonly frozen?: boolean
  /** Highest learning rate of its own; by default the run's. */
  readonly learningRate?: number
  /** Learned on held-out rows, while the other parameters are learned on those of training. */
  readonly heldOut?: boolean
}

/** What a layer makes of rows that stand alone. */
export interface LayerState {
  /** The rows as the layer takes them, [m, d]. */
  readonly hidden: Float32Array
  /** Their keys and values, positions applied, [Hkv, m, D]. */
  readonly key: Float32Array
  readonly value: Float32Array
  /** What the activation of its MLP takes at the last row, [f]: a neuron whose number is positive is activated. */
  readonly neurons: Float32Array
}

/** A prompt that an earlier run learned. */
export interface SourcePrompt {
  readonly method: { readonly type: string }
  readonly tensors: readonly LearnedTensor[]
  /** What it puts at the input, [numVirtualTokens, hiddenSize]. */
  rows(): Promise<Float32Array>
}

/** A learned tensor with its values. */
export interface LearnedTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly data: Float32Array
}

/** What a method may start from. */
export interface InitialisationContext {
  readonly model: ModelConfig
  readonly tokenizer: Tokenizer
  /** Rows of the embedding table as the first layer takes them: [ids.length, d]. */
  readonly embeddingRows: (ids: readonly number[]) => Promise<Float32Array>
  /** What every layer makes of rows that stand alone at positions 0, 1, …; `rows` are as the first layer takes them, [m, d]. */
  readonly keysAndValues: (rows: Float32Array) => Promise<LayerState[]>
  readonly seed: number
  /** The words of the label set, where there is one. */
  readonly labelWords: readonly string[]
  /**
   * What earlier runs learned on this model, each with `count` virtual tokens at the input: run folders or prompt files.
   * @throws GradpromptError `file-not-found`, `model-mismatch`, `prompt-length-mismatch`, `not-static`
   */
  readonly learnedPrompts: (from: readonly string[], count: number) => Promise<readonly SourcePrompt[]>
  /** Training rows to show, drawn by seed: so many, or as many as there are. */
  readonly exampleRows: (count: number) => readonly ExampleRow[]
  /**
   * Training pairs, drawn by seed: so many, or as many as there are.
   * @throws GradpromptError `no-pairs` where the task has none
   */
  readonly answerPairs: (count: number) => readonly AnswerPair[]
  /** What the task's inputs are like, where that is estimated. */
  readonly domain?: Particles | undefined
  /** What a layer, not the last one, gives out at every token of texts under no prompt: for each text [ids.length * hiddenSize]. */
  readonly layerOutputs: (texts: readonly Pick<AnsweredText, 'ids'>[], layer: number) => Promise<readonly Float32Array[]>
}

/** A token of the prompt itself that is learned to be predicted, beside the rows' labels. */
export interface OwnTarget {
  /** The virtual token whose logits predict it. */
  readonly row: number
  readonly id: number
  /** Beside a row's own label, which weighs 1. */
  readonly weight: number
}

/** The learned tensors by name. */
export type Parameters = Readonly<Record<string, tf.Tensor>>

/** The text rows of a batch, as an offset sees them. */
export interface TextRows {
  /** Token embeddings, [N, d]. */
  readonly embedded: tf.Tensor
  /** Place of each token in its text, from 0; the soft prompt does not count, [N] int32. */
  readonly textIndex: tf.Tensor
  /** 1 for the tokens of an answer, 0 for those of the instruction, [N]. */
  readonly answerMask: tf.Tensor
}

/** The text rows of a batch where each sequence has virtual tokens of its own: they come from its instruction, never from its answer. */
export interface SequenceRows {
  readonly model: ModelConfig
  /** The text rows as the layer takes them, [N, d]; at the input their embeddings. */
  readonly hidden: tf.Tensor
  /** Those of each sequence's instruction (what stands before its answer), of anything that was made of the text rows: [N, n] -> [B, I, n]. */
  instruction(x: tf.Tensor): tf.Tensor
  /** 1 where `instruction` holds a row, 0 where it is padding, [B, I]. */
  readonly instructionMask: tf.Tensor
  /**
   * What the model by itself makes of each text with given rows in the places of its virtual tokens: its last hidden states there,
   * normalised as its head takes them. It is a forward pass of its own. For virtual tokens at the input.
   *
   * @param rows [B m, d], as the first layer takes them
   * @returns [B m, d]
   */
  states(rows: tf.Tensor): tf.Tensor
}

/** The same before some layer. Where virtual tokens are the same for every sequence, only `layer`, `model` and `hidden` mean anything. */
export interface LayerRows extends SequenceRows {
  readonly layer: number
}

/** The text rows of a batch as a layer gives them out. Virtual tokens are not among them. */
export interface OutputRows {
  readonly layer: number
  readonly model: ModelConfig
  /** What the layer has made, before any norm, [N, d]; in the last layer of the rows that are read alone, [Q, d]. */
  readonly hidden: tf.Tensor
  /** As in `TextRows`, of these rows, [N] int32. */
  readonly textIndex: tf.Tensor
  /** As in `TextRows`, of these rows, [N]. */
  readonly answerMask: tf.Tensor
  /** 1 for the tokens that the placement's `edges` name, 0 for others and for all of an answer, [N]. */
  readonly edgeMask: tf.Tensor
}

/** Keys and values of the virtual tokens in a layer, positions applied: two of [Hkv, numVirtualTokens, D]. */
export interface LayerPrefix {
  readonly key: tf.Tensor
  readonly value: tf.Tensor
}

/**
 * A way of learning a soft prompt. A method is one file: what it learns, how that starts, and where it acts; the training loop, the
 * compiler and the exporters ask it for nothing else. It acts through one or several of the seven hooks.
 */
export interface PromptMethod<Config extends { readonly type: string } = { readonly type: string }> {
  readonly type: Config['type']
  readonly paper: string
  /** Highest learning rate of a run that does not say another: chosen on dev rows. */
  readonly learningRate: number
  /** Its options beside `type`; without a declaration it has none. */
  readonly options?: OptionsDeclaration
  /** It learns nothing beside the template's soft tokens: a template without any is refused. */
  readonly softTokensAlone?: boolean
  /** How many virtual tokens there are and where they stand. */
  placement(config: Config, model: ModelConfig): PromptPlacement
  parameters(config: Config, model: ModelConfig): PromptParameter[]
  /** What contradicts the model or another option, in words. Asked before any weight is read. */
  check?(config: Config, model: ModelConfig): string | undefined
  /** How many training rows the options want to show; `method.examples` says so. */
  examples?(config: Config): number | undefined
  /**
   * How long texts are that the options provide for: a longer training row is refused before any weight is read. `answers`: the answer
   * counts as well as the instruction.
   */
  textLimit?(
    config: Config,
  ): { readonly option: string; readonly tokens: number; readonly answers: boolean; readonly hint: string } | undefined
  /** The options with what the training rows and the template decide filled in; these are kept with the prompt, which then needs neither. */
  resolve?(
    config: Config,
    context: Pick<InitialisationContext, 'tokenizer' | 'exampleRows'> & { readonly template: Template },
  ): Config
  /** The options as steps of a run compute with them, where a prompt is learned otherwise than it is used; parameters are the same. */
  whileLearning?(config: Config): Config
  initialise(config: Config, context: InitialisationContext): Promise<Map<string, Float32Array>>
  /** Brings the parameters back, in place, to where they may be: after every step. */
  constrain?(config: Config, parameters: ReadonlyMap<string, Float32Array>, model: ModelConfig): void
  /**
   * How many layers, from the first, nothing that is learned reaches: what they make of a text never changes. By default those below
   * the insertion layer; none where the text's embeddings change.
   */
  frozenLayers?(config: Config, model: ModelConfig): number
  /** Tokens of the prompt that count in every row's loss as labels do; for rows at the input that all sequences share. */
  ownTargets?(config: Config): readonly OwnTarget[]
  /** Several tasks under one prompt. */
  tasks?(config: Config): RowTasks | undefined
  /** The parameters as one of its tasks has them. */
  forTask?(config: Config, parameters: ReadonlyMap<string, Float32Array>, task: number): ReadonlyMap<string, Float32Array>
  /** The virtual tokens as the first layer takes them, the same for every sequence: [numVirtualTokens, d]. */
  inputRows?(config: Config, parameters: Parameters): tf.Tensor
  /** The virtual tokens as the first layer takes them, each sequence's own: [B numVirtualTokens, d]; for a placement `perSequence`. */
  sequenceRows?(config: Config, parameters: Parameters, rows: SequenceRows): tf.Tensor
  /** What is added to the embeddings of the text, [N, d]. Generated tokens have it as well. */
  offset?(config: Config, parameters: Parameters, text: TextRows): tf.Tensor
  /** What the offset depends on, where that is one thing: on the token alone, it can be folded into an embedding table. */
  readonly offsetBy?: 'token' | 'position'
  /**
   * The virtual tokens as one layer takes them, from the insertion layer on: there they join the text, later they take the place of
   * what the layer before made of them. With a placement as `keys`, every layer takes the keys and values that it makes of them.
   *
   * @returns [numVirtualTokens, d], or [B numVirtualTokens, d] where each sequence has its own; undefined: they go on as they are
   */
  layerRows?(config: Config, parameters: Parameters, rows: LayerRows): tf.Tensor | undefined
  /** Keys and values of the virtual tokens in every layer, for a placement as `keys`. */
  prefix?(config: Config, parameters: Parameters, model: ModelConfig): readonly LayerPrefix[]
  /** What is added to a layer's attention, [H, R, D] (in the last layer [H, Q, D]); undefined: nothing in this layer. */
  attention?(config: Config, parameters: Parameters, call: AttentionCall, model: ModelConfig): tf.Tensor | undefined
  /**
   * What a layer gives out at the text's rows, in the place of what it has made, [N, d]; undefined: nothing changes in this layer.
   * Generated tokens are changed as well, but where the method leaves them out.
   */
  layerOutput?(config: Config, parameters: Parameters, rows: OutputRows): tf.Tensor | undefined
  /** What is minimised beside the loss, a scalar of the parameters alone; undefined: nothing. */
  penalty?(config: Config, parameters: Parameters): tf.Scalar | undefined
  /** What there is to say of a learned prompt beside its scores, by name: numbers that a run's result has. */
  figures?(config: Config, parameters: ReadonlyMap<string, Float32Array>): Readonly<Record<string, number>>
  /**
   * The parameters as they act at a strength: 1 is as they were learned, and at 0 the model computes what it does alone, to the bit. A
   * method without it has no such slider.
   */
  atStrength?(config: Config, parameters: ReadonlyMap<string, Float32Array>, strength: number): ReadonlyMap<string, Float32Array>
}

/** Virtual tokens that stand with a row at most: while a prompt is learned, or where it is used. */
export function mostVirtualTokens<Config extends { readonly type: string }>(
  method: Pick<PromptMethod<Config>, 'placement' | 'whileLearning'>,
  config: Config,
  model: ModelConfig,
): number {
  const both = [config, ...(method.whileLearning ? [method.whileLearning(config)] : [])]
  return Math.max(...both.map(options => method.placement(options, model).numVirtualTokens))
}

/**
 * The options that a method's hooks are called with, and by which their programs are told apart: what a prompt starts from, and the words
 * of a template's soft tokens, decide no tensor code, so that hooks cannot see them.
 */
export function tensorOptions<Config extends { readonly type: string }>(config: Config): Config {
  const { init: _, softTokens: __, ...options } = config as Config & { readonly init?: unknown; readonly softTokens?: unknown }
  return options as unknown as Config
}
