import { GradpromptError } from '../../src/errors.js'
import type { DecoderConfig } from './config.js'
import type { WeightPart, WeightSpec } from './family.js'

/**
 * What a decoder's stored tensors are called, without `.weight` and `.bias`, and how they are laid out where that is not as programs
 * want them. Names within a layer stand behind `<layers>.<number>.`.
 */
export interface DecoderNaming {
  readonly embedding: string
  readonly positions?: string
  readonly layers: string
  readonly attentionNorm?: string
  /** One tensor, or one each. */
  readonly queryKeyValue: string | readonly [query: string, key: string, value: string]
  readonly queryNorm?: string
  readonly keyNorm?: string
  readonly attentionOutput: string
  readonly afterAttentionNorm?: string
  readonly mlpNorm?: string
  /** One tensor of the gate's rows and then the others', or one each; without a gate, one. */
  readonly gateUp: string | readonly [gate: string, up: string]
  readonly down: string
  readonly afterMlpNorm?: string
  readonly norm: string
  readonly head: string
  readonly layout?: {
    /** Matrices of layers are `[in, out]`. */
    readonly transposed?: boolean
    /** Rows of queries and keys are permuted, pairs side by side. */
    readonly permuted?: boolean
    /** The one tensor of queries, keys and values is ordered by key head. */
    readonly byKeyHead?: boolean
    /** Norms of single heads stand in a tensor each, `<norm>.<head>`. */
    readonly headNormsApart?: boolean
    /** Weights of norms lack this. */
    readonly normAdded?: number
  }
}

/** Names of Llama's checkpoints, which most families have. */
export const llamaNaming: DecoderNaming = {
  embedding: 'embed_tokens',
  layers: 'layers',
  attentionNorm: 'input_layernorm',
  queryKeyValue: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  queryNorm: 'self_attn.q_norm',
  keyNorm: 'self_attn.k_norm',
  attentionOutput: 'self_attn.o_proj',
  afterAttentionNorm: 'post_attention_layernorm',
  mlpNorm: 'post_attention_layernorm',
  gateUp: ['mlp.gate_proj', 'mlp.up_proj'],
  down: 'mlp.down_proj',
  afterMlpNorm: 'post_feedforward_layernorm',
  norm: 'norm',
  head: 'lm_head',
}

/** Names of llama.cpp's files. */
export const ggufNaming: DecoderNaming = {
  embedding: 'token_embd',
  positions: 'position_embd',
  layers: 'blk',
  attentionNorm: 'attn_norm',
  queryKeyValue: ['attn_q', 'attn_k', 'attn_v'],
  queryNorm: 'attn_q_norm',
  keyNorm: 'attn_k_norm',
  attentionOutput: 'attn_output',
  afterAttentionNorm: 'post_attention_norm',
  mlpNorm: 'ffn_norm',
  gateUp: ['ffn_gate', 'ffn_up'],
  down: 'ffn_down',
  afterMlpNorm: 'post_ffw_norm',
  norm: 'output_norm',
  head: 'output',
}

/** Name of a weight of a layer in programs. */
export const layerWeight = (layer: number, name: string): string => `layers.${layer}.${name}`

type Suffix = 'weight' | 'bias'
type NormName = 'attentionNorm' | 'queryNorm' | 'keyNorm' | 'afterAttentionNorm' | 'mlpNorm' | 'afterMlpNorm'

/**
 * The weights of a decoder and where a checkpoint of this naming has them.
 * @throws GradpromptError `invalid-model-config` when rows are permuted for heads that turn in part
 */
export function decoderWeights(config: DecoderConfig, naming: DecoderNaming): WeightSpec[] {
  const { hiddenSize, vocabSize, intermediateSize, headDim, norm, attention, mlp, residual, logits } = config
  const { transposed, permuted, byKeyHead, headNormsApart, normAdded } = naming.layout ?? {}
  const partial = permuted && config.rotaries.find(({ dims }) => dims !== headDim)
  if (partial)
    throw new GradpromptError('invalid-model-config', 'Heads that turn in part cannot be stored with permuted rows', {
      found: `${partial.dims} dimensions of ${headDim}`,
      expected: `${headDim}`,
    })
  const queries = config.numAttentionHeads * headDim
  const keys = config.numKeyValueHeads * headDim
  const specs: WeightSpec[] = []
  const add = (name: string, parts: readonly WeightPart[], views?: WeightSpec['views']) => {
    const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0)
    specs.push({ name, shape: parts[0]!.shape.with(0, rows), parts, ...(views ? { views } : {}) })
  }
  const one = (name: string, source: string, shape: readonly number[]) => add(name, [{ source, shape }])
  const addNorm = (name: string, source: string, size: number, biased = norm.bias) => {
    add(name, [{ source: `${source}.weight`, shape: [size], ...(normAdded ? { added: normAdded } : {}) }])
    if (biased) one(`${name}Bias`, `${source}.bias`, [size])
  }
  one('embedding', `${naming.embedding}.weight`, [vocabSize, hiddenSize])
  if (config.positions)
    one('positions', `${naming.positions}.weight`, [config.maxPositionEmbeddings + config.positions.offset, hiddenSize])
  for (let layer = 0; layer < config.numLayers; layer++) {
    const own = (name: string) => layerWeight(layer, name)
    const source = (name: string, suffix: Suffix) => `${naming.layers}.${layer}.${name}.${suffix}`
    const part = (name: string, suffix: Suffix, rows: number, columns: number, layout: Partial<WeightPart> = {}): WeightPart => ({
      source: source(name, suffix),
      shape: suffix === 'weight' ? [rows, columns] : [rows],
      ...(transposed && suffix === 'weight' ? { transposed } : {}),
      ...layout,
    })
    /** A matrix and its bias. */
    const both = (biased: boolean, of: (suffix: Suffix, kind: string) => void) => {
      of('weight', '')
      if (biased) of('bias', 'Bias')
    }
    const matrix = (name: string, stored: string, rows: number, columns: number, biased: boolean) =>
      both(biased, (suffix, kind) => add(own(`${name}${kind}`), [part(stored, suffix, rows, columns)]))
    const layerNorm = (name: NormName, size: number) => addNorm(own(name), `${naming.layers}.${layer}.${naming[name]}`, size)
    if (residual.before !== 'none') layerNorm('attentionNorm', hiddenSize)
    // Queries, keys and values stand in one weight; the last layer takes them apart, by views of the same bytes.
    both(attention.queryKeyValueBias, (suffix, kind) => {
      const stored = naming.queryKeyValue
      const turned = (count: number) => (permuted ? { permutedHeads: count } : {})
      const repeat = config.numAttentionHeads / config.numKeyValueHeads
      const parts =
        typeof stored === 'string'
          ? [part(stored, suffix, queries + 2 * keys, hiddenSize, byKeyHead ? { byKeyHead: { repeat, headDim } } : {})]
          : [
              part(stored[0], suffix, queries, hiddenSize, turned(config.numAttentionHeads)),
              part(stored[1], suffix, keys, hiddenSize, turned(config.numKeyValueHeads)),
              part(stored[2], suffix, keys, hiddenSize),
            ]
      add(own(`queryKeyValue${kind}`), parts, [
        { name: own(`query${kind}`), start: 0, rows: queries },
        { name: own(`keyValue${kind}`), start: queries, rows: 2 * keys },
      ])
    })
    if (attention.queryKeyNorm === 'each')
      for (const [name, count] of [
        ['queryNorm', config.numAttentionHeads],
        ['keyNorm', config.numKeyValueHeads],
      ] as const) {
        // biome-ignore format: a list
        const stored = naming[name]!
        const apart = Array.from({ length: count }, (_, i) => ({ source: source(`${stored}.${i}`, 'weight'), shape: [headDim] }))
        const together = {
          source: source(stored, 'weight'),
          shape: [count, headDim],
          ...(permuted ? { permutedColumns: true } : {}),
        }
        add(own(name), headNormsApart ? apart : [together])
      }
    else if (attention.queryKeyNorm !== 'none') {
      const all = attention.queryKeyNorm === 'all'
      layerNorm('queryNorm', all ? queries : headDim)
      layerNorm('keyNorm', all ? keys : headDim)
    }
    matrix('attentionOutput', naming.attentionOutput, hiddenSize, queries, attention.outputBias)
    if (residual.after) layerNorm('afterAttentionNorm', hiddenSize)
    if (residual.before === 'own') layerNorm('mlpNorm', hiddenSize)
    const [gate, up] = typeof naming.gateUp === 'string' ? [undefined, naming.gateUp] : naming.gateUp
    if (mlp.gated && gate === undefined)
      both(mlp.bias, (suffix, kind) =>
        add(
          own(`gateUp${kind}`),
          [part(up, suffix, 2 * intermediateSize, hiddenSize)],
          [
            { name: own(`gate${kind}`), start: 0, rows: intermediateSize },
            { name: own(`up${kind}`), start: intermediateSize, rows: intermediateSize },
          ],
        ),
      )
    else {
      if (mlp.gated) matrix('gate', gate!, intermediateSize, hiddenSize, mlp.bias)
      matrix('up', up, intermediateSize, hiddenSize, mlp.bias)
    }
    matrix('down', naming.down, hiddenSize, intermediateSize, mlp.bias)
    if (residual.after) layerNorm('afterMlpNorm', hiddenSize)
  }
  addNorm('norm', naming.norm, hiddenSize)
  if (!config.tieWordEmbeddings) one('head', `${naming.head}.weight`, [vocabSize, hiddenSize])
  if (logits.bias) one('headBias', `${naming.head}.bias`, [vocabSize])
  return specs
}
