import type { ModelConfig } from '../../../models/blocks/family.js'

/** What the suite needs to know of a method beyond what the method says of itself. */
export interface Expectation {
  /** Options that make it small, `type` left out. */
  readonly options?: Readonly<Record<string, unknown>>
  /** The template of its runs, where that has soft tokens. */
  readonly template?: string
  /** How many numbers it learns, by its paper's formula. */
  readonly parameters: (model: ModelConfig) => number
  /**
   * What the model computes before the first step. `text`: what it computes with the text of `init` in front. `nothing`: what it
   * computes without a prompt. `own`: neither; the method's own tests know.
   */
  readonly starts: 'text' | 'nothing' | 'own'
  /** How it learns to copy, where that is not as the others do. */
  readonly copying?: {
    readonly steps?: number
    readonly learningRate?: number
    readonly options?: Readonly<Record<string, unknown>>
    /** What the loss comes to, of a method that cannot copy. */
    readonly below?: number
  }
}

/** The text that rows start from: four tokens of the tiny models' tokenizer. */
export const startingText = 'on the in'
/** The same as the tiny models' ids. */
export const startingIds = [83, 84, 3, 80]
export const virtualTokens = 4

const init = { type: 'text', text: startingText }
const numVirtualTokens = virtualTokens

/** Late rows act through fewer layers, so that copying takes more of them: four static ones before the second of three stay above 0.4. */
const manyRows = { learningRate: 0.3, options: { numVirtualTokens: 16 } }

/** By `method.type`, one or several variants of each. A method that is registered has to stand here. */
export const expectations: Readonly<Record<string, Readonly<Record<string, Expectation>>>> = {
  'prompt-tuning': {
    plain: { options: { numVirtualTokens, init }, parameters: ({ hiddenSize: d }) => 4 * d, starts: 'text' },
    'residual network': {
      options: { numVirtualTokens, init, reparametrization: 'residual-mlp', bottleneck: 6 },
      parameters: ({ hiddenSize: d }) => 4 * d + (d + 1) * 6 + (6 + 1) * d + 2 * d,
      starts: 'text',
    },
    'a residual network of each row': {
      options: { numVirtualTokens, init, reparametrization: 'residual-mlp', bottleneck: 6, sharedMlp: false },
      parameters: ({ hiddenSize: d }) => 4 * d + 4 * ((d + 1) * 6 + (6 + 1) * d) + 2 * d,
      starts: 'text',
    },
    'beside soft tokens': {
      options: { numVirtualTokens, init },
      template: `{text}{soft:"${startingText}"}-`,
      parameters: ({ hiddenSize: d }) => 2 * 4 * d,
      starts: 'text',
    },
    superposition: {
      options: { numVirtualTokens, init, reparametrization: 'superposition', basisTokens: 40 },
      parameters: () => 4 * 40,
      starts: 'text',
    },
    'low rank': {
      options: { numVirtualTokens, init, reparametrization: 'low-rank', rank: 3 },
      parameters: ({ hiddenSize: d }) => 4 * 3 + 3 * d,
      starts: 'own',
    },
  },
  'p-tuning': {
    mlp: {
      options: { numVirtualTokens, encoderHiddenSize: 12 },
      parameters: ({ hiddenSize: d }) => 4 * d + (d + 1) * 12 + (12 + 1) * 12 + (12 + 1) * d,
      starts: 'own',
      copying: { learningRate: 0.02 },
    },
    lstm: {
      options: { numVirtualTokens, encoderReparameterizationType: 'lstm', encoderHiddenSize: 6, encoderNumLayers: 1 },
      parameters: ({ hiddenSize: d }) => 4 * d + 2 * 4 * 6 * (d + 6 + 2) + (12 + 1) * 12 + (12 + 1) * d,
      starts: 'own',
      copying: { steps: 300, learningRate: 0.02 },
    },
  },
  mpt: {
    'one task': {
      options: { numVirtualTokens, init, numRanks: 2 },
      parameters: ({ hiddenSize: d }) => 4 * d + 2 * (4 + d),
      starts: 'text',
    },
  },
  personal: {
    // Rows that name nobody have the shared rows behind one that is nobody's in particular.
    people: {
      options: { numVirtualTokens, init, users: ['ada', 'ben'] },
      parameters: ({ hiddenSize: d }) => 4 * d + d + 2 * d,
      starts: 'own',
    },
    'kinds of people': {
      options: { numVirtualTokens, init, users: ['ada', 'ben', 'cleo'], clusters: 2, userTokens: 2, shared: 'frozen' },
      parameters: ({ hiddenSize: d }) => 2 * d + 2 * 2 * d + 3 * 2,
      starts: 'own',
      copying: { learningRate: 0.3, steps: 300 },
    },
  },
  lapt: {
    // Without labels a row has the mean of both prompts.
    'two prompts': {
      options: { numVirtualTokens, init },
      parameters: ({ hiddenSize: d }) => 2 * 4 * d,
      starts: 'text',
    },
  },
  cpt: {
    // Without labels of its own its loss is that of the rows alone, as here all have to have it.
    'given tokens': {
      options: { tokenIds: startingIds, tokenTypes: [1, 2, 2, 3], inputEpsilon: 30, formatEpsilon: 30 },
      parameters: ({ hiddenSize: d }) => 4 * d,
      starts: 'text',
    },
  },
  dept: {
    'offset of all': {
      options: { numVirtualTokens, init, maxTextLength: 6, rank: 3 },
      parameters: ({ hiddenSize: d }) => 4 * d + (6 + d) * 3,
      starts: 'text',
    },
    'offset of the instruction': {
      options: { numVirtualTokens, init, maxTextLength: 6, rank: 3, offset: 'text', scale: 2 },
      parameters: ({ hiddenSize: d }) => 4 * d + (6 + d) * 3,
      starts: 'text',
    },
  },
  adept: {
    plain: {
      options: { numVirtualTokens, init, rank: 3 },
      parameters: ({ hiddenSize: d }) => 4 * d + 2 * 3 * d + 3 + d,
      starts: 'text',
    },
    // Without a penalty: the loss of a step is then what evaluation says.
    gated: {
      options: { numVirtualTokens, init, rank: 3, gate: { lambda: 0, maxOffset: 1 } },
      parameters: ({ hiddenSize: d }) => 4 * d + 2 * 3 * d + 3 + d + d + 1,
      starts: 'text',
    },
  },
  'prefix-tuning': {
    plain: {
      options: { numVirtualTokens, init },
      parameters: ({ numLayers, numKeyValueHeads, headDim }) => 4 * 2 * numLayers * numKeyValueHeads * headDim,
      starts: 'text',
    },
    'first token frozen': {
      options: { numVirtualTokens, init, frozenTokens: 1 },
      parameters: ({ numLayers, numKeyValueHeads, headDim }) => 3 * 2 * numLayers * numKeyValueHeads * headDim,
      starts: 'text',
    },
    projected: {
      options: { numVirtualTokens, projection: true, encoderHiddenSize: 10 },
      parameters: ({ numLayers, numKeyValueHeads, headDim }) => {
        const width = numKeyValueHeads * headDim
        return 4 * width + (width + 1) * 10 + (10 + 1) * 2 * numLayers * width
      },
      starts: 'own',
    },
  },
  'soft-template': {
    'started from words': {
      template: `{text}{soft:"${startingText}"}-`,
      parameters: ({ hiddenSize: d }) => 4 * d,
      starts: 'text',
    },
  },
  'adaption-prompt': {
    plain: {
      options: { adapterLength: 5, adapterLayers: 2 },
      parameters: ({ hiddenSize: d }) => 2 * (5 * d + 1),
      starts: 'nothing',
    },
  },
  iapt: {
    // Of each layer 2 d b + b k + 12, and a row of bias for each virtual token.
    plain: {
      options: { numVirtualTokens, init, bottleneck: 6 },
      parameters: ({ hiddenSize: d, numLayers }) => numLayers * (2 * d * 6 + 6 * 4 + 12 + 4 * d),
      starts: 'text',
    },
    'coefficients on held-out rows': {
      options: { numVirtualTokens, init, bottleneck: 6, bilevel: true },
      parameters: ({ hiddenSize: d, numLayers }) => numLayers * (2 * d * 6 + 6 * 4 + 12 + 4 * d),
      starts: 'text',
    },
    'shared generators, a fixed activation': {
      options: { numVirtualTokens, init, bottleneck: 6, sharing: 2, activation: 'silu' },
      parameters: ({ hiddenSize: d, numLayers }) => Math.ceil(numLayers / 2) * (2 * d * 6 + 6 * 4) + numLayers * 4 * d,
      starts: 'text',
    },
  },
  lpt: {
    static: {
      options: { numVirtualTokens, init, insertionLayer: 1 },
      parameters: ({ hiddenSize: d }) => 4 * d,
      starts: 'own',
      copying: manyRows,
    },
    'from the last token': {
      options: { numVirtualTokens, init, insertionLayer: 0, generator: 'last-token', bottleneck: 6 },
      parameters: ({ hiddenSize: d }) => (d + 1) * 6 + (6 + 1) * 4 * d,
      starts: 'text',
    },
    'beside soft tokens': {
      options: { numVirtualTokens, init, insertionLayer: 0, generator: 'mean', bottleneck: 6 },
      template: '{text}{soft:2}-',
      parameters: ({ hiddenSize: d }) => (d + 1) * 6 + 6 * d + 4 * d + 2 * d,
      starts: 'own',
    },
    pooled: {
      options: { numVirtualTokens, init, insertionLayer: 1, generator: 'max', bottleneck: 6 },
      parameters: ({ hiddenSize: d }) => (d + 1) * 6 + 6 * d + 4 * d,
      starts: 'own',
      copying: manyRows,
    },
  },
  idpg: {
    'at the input': {
      options: { numVirtualTokens, init, bottleneck: 6 },
      parameters: ({ hiddenSize: d }) => (d + 1) * 6 + (6 + 1) * 4 * d,
      starts: 'text',
    },
    'before a later layer': {
      options: { numVirtualTokens, init, bottleneck: 6, insertionLayer: 1, encoding: 'last-token', activation: 'tanh' },
      parameters: ({ hiddenSize: d }) => (d + 1) * 6 + (6 + 1) * 4 * d,
      starts: 'own',
      copying: manyRows,
    },
  },
  softcot: {
    // A parameter of d x d numbers: the placeholders' embeddings are frozen.
    'before the last token': {
      options: { numVirtualTokens, placeholder: startingText },
      parameters: ({ hiddenSize: d }) => d * d,
      starts: 'own',
    },
    'before the last two, learned with more': {
      options: { numVirtualTokens: 2, trainTokens: 5, beforeLast: 2 },
      parameters: ({ hiddenSize: d }) => d * d,
      starts: 'own',
      // Two tokens stand in these texts: with both behind them, thoughts see nothing, and are the same for all.
      copying: { options: { beforeLast: 1, trainTokens: 3 } },
    },
  },
  loreft: {
    // Of the tiny models' three layers; contexts of three tokens have one at each end.
    plain: {
      options: { rank: 3, firstTokens: 2, lastTokens: 2 },
      parameters: ({ hiddenSize: d, numLayers }) => numLayers * (2 * 3 * d + 3),
      starts: 'nothing',
      copying: { learningRate: 0.02 },
    },
    'DiReFT in one layer': {
      options: { rank: 2, layers: 1, firstTokens: 0, lastTokens: 3, variant: 'direft' },
      parameters: ({ hiddenSize: d }) => 2 * 2 * d + 2,
      starts: 'nothing',
      copying: { learningRate: 0.05 },
    },
  },
  steering: {
    // A vector is the same for every text: it says which letters there are, and not which one stands in the text.
    'every layer': {
      options: { layers: [0, 1, 2] },
      parameters: ({ hiddenSize: d, numLayers }) => numLayers * d,
      starts: 'nothing',
      copying: { steps: 300, learningRate: 0.3, below: 1.3 },
    },
  },
}
