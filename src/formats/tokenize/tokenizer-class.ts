/**
 * Which class of `transformers` 5 reads a folder, and what that class makes of it. Most classes run `tokenizer.json` as it stands. Some
 * take only its vocabulary, merges and post-processor, and put the rest of the pipeline together themselves, from options of
 * `tokenizer_config.json`: then those decide, and the normalizer, pre-tokenizer and decoder of the file do not.
 *
 * Where a `tokenizer.json` is there, `add_bos_token` and `add_eos_token` decide nothing in any class: its post-processor does.
 */
import { describe, invalid, type PipelineStep, unsupported } from './definition.js'

type Json = Readonly<Record<string, unknown>>

/** The pipeline of a class that builds its own. */
export interface ClassPipeline {
  /** Options of BPE: they replace those of the file. */
  readonly model: Json
  readonly normalizer: PipelineStep
  readonly preTokenizer: PipelineStep
  readonly decoder: PipelineStep
  /** Whether the file's post-processor is left out. */
  readonly dropsPostProcessor: boolean
}

export interface TokenizerClass {
  /** Undefined where the file's pipeline is taken as it is. */
  readonly pipeline: ((config: Json, names: Json) => ClassPipeline) | undefined
  /** Special tokens that the class has where the config names none. */
  readonly names: Readonly<Record<string, string>>
  /** Whether named tokens lose what `tokenizer.json` says of the white space around them. */
  readonly resetsSpecialTokens: boolean
}

const asTheFileSays: TokenizerClass = { pipeline: undefined, names: {}, resetsSpecialTokens: false }

/**
 * @param config `tokenizer_config.json`
 * @param modelConfig `config.json`
 * @param spellsBytes whether `tokenizer.json` mentions a ByteLevel step
 * @throws {GradpromptError} `unsupported-tokenizer` for a class that builds a pipeline which is not known here
 */
export function tokenizerClassOf(config: Json, modelConfig: Json, spellsBytes: boolean): TokenizerClass {
  const name = className(config, modelConfig, spellsBytes)
  if (rebuilding.includes(name)) {
    throw unsupported(
      'The tokenizer is of a class that builds a pipeline of its own',
      name,
      `${[...classes.keys()].join(', ')}, or a class that runs tokenizer.json as it is`,
      {
        hint: 'if tokenizer.json is right as it stands, set "tokenizer_class" in tokenizer_config.json to "TokenizersBackend"',
      },
    )
  }
  return classes.get(name) ?? asTheFileSays
}

function className(config: Json, modelConfig: Json, spellsBytes: boolean): string {
  const modelType = typeof modelConfig.model_type === 'string' ? modelConfig.model_type : ''
  const registered = registeredClass(modelType)
  const declared = [config.tokenizer_class, modelConfig.tokenizer_class].find(value => typeof value === 'string') as
    | string
    | undefined
  if (declared === undefined) return registered ?? 'TokenizersBackend'
  const plain = declared.replace(/Fast$/, '')
  // Files of Llama 3 and its like name a class that would take them for SentencePiece.
  if (plain === 'LlamaTokenizer' && spellsBytes && !distrusted.has(modelType)) return 'TokenizersBackend'
  if (registered === undefined || registered === plain) return plain
  if (registered === 'TokenizersBackend') return registered
  return distrusted.has(modelType) ? registered : plain
}

/** The class that `transformers` has for a type of model. */
const registered: Readonly<Record<string, readonly string[]>> = {
  GPT2Tokenizer: ['codegen', 'dbrx', 'gpt2', 'gpt_neo', 'gptj', 'jais2', 'opt', 'phi', 'starcoder2'],
  GPTNeoXTokenizer: ['falcon_mamba', 'gpt_neox', 'mamba', 'mamba2', 'mpt', 'olmo', 'olmoe', 'rwkv', 'xlstm'],
  Qwen2Tokenizer: [
    'qwen2',
    'qwen2_moe',
    'qwen2_vl',
    'qwen2_5_vl',
    'qwen3',
    'qwen3_moe',
    'qwen3_next',
    'qwen3_vl',
    'qwen3_vl_moe',
  ],
  Qwen3_5Tokenizer: ['qwen3_5', 'qwen3_5_moe', 'qwen3_5_moe_text', 'qwen3_5_text', 'qwen4_exp'],
  GemmaTokenizer: [
    'gemma',
    'gemma2',
    'gemma3',
    'gemma3_text',
    'gemma3n',
    'gemma3n_text',
    'recurrent_gemma',
    'shieldgemma2',
    't5gemma',
  ],
  CohereTokenizer: ['aya_vision', 'cohere', 'cohere2'],
  CodeLlamaTokenizer: ['code_llama'],
  TokenizersBackend:
    // The first four lines: those registered so. The rest: those whose published files name a wrong class.
    (
      'aria flex_olmo glm glm4 glm4_moe glm4_moe_lite gpt_bigcode granite granitemoe granitemoehybrid granitemoeshared kimi_k25 ' +
      'kimi_linear mimo_v2_flash ministral ministral3 mistral mistral3 mistral_large4 mixtral olmo2 olmo3 olmo_hybrid persimmon pixtral ' +
      'stablelm umt5 voxtral ' +
      'arctic chatlm ernie4_5 ernie4_5_moe h2ovl_chat hyperclovax internlm2 internlm3 iquestcoder jamba minicpm3 minimax_m2 nemotron ' +
      'opencua phi3 phimoe'
    ).split(' '),
}

/** Types of models whose published `tokenizer_class` is wrong. */
const distrusted: ReadonlySet<string> = new Set(
  (
    'arctic chatlm ernie4_5 ernie4_5_moe fuyu h2ovl_chat hyperclovax internlm2 internlm3 iquestcoder jamba llava llava_next minicpm3 ' +
    'minimax_m2 molmo molmo2 nemotron opencua phi3 phi3_v phimoe qwen2 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen4_exp smolvlm'
  ).split(' '),
)

function registeredClass(modelType: string): string | undefined {
  return Object.keys(registered).find(name => registered[name]!.includes(modelType))
}

/** Classes that build their own pipeline and are not known here: most belong to models that write no text. */
const rebuilding: readonly string[] = (
  'Albert Barthez Bert BigBird Blenderbot Camembert CLIP CodeLlama Deberta DebertaV2 Esmc Funnel Herbert Lasr LayoutLMv2 LayoutLMv3 ' +
  'LayoutXLM Luke MarkupLM MBart MBart50 MLuke MPNet Nllb Nougat OpenAIGPT Pegasus Reformer RemBert Roberta SeamlessM4T Siglip2 ' +
  'Splinter T5 Udop Whisper XGLM XLMRoberta XLNet'
)
  .split(' ')
  .map(name => `${name}Tokenizer`)

// --- the pipelines ------------------------------------------------------------------------------------------------------

const endOfText = '<|endoftext|>'
const byteLevelModel: Json = { type: 'BPE', unk_token: null, fuse_unk: false }
const qwenContractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const qwenSpaces = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

function prefixSpace(config: Json, otherwise: boolean): boolean {
  const value = config.add_prefix_space ?? otherwise
  if (typeof value === 'boolean') return value
  throw invalid('tokenizer_config.json cannot be read: add_prefix_space', describe(value), 'true or false')
}

function byteLevel(config: Json, useRegex = true): NonNullable<PipelineStep> {
  return { type: 'ByteLevel', add_prefix_space: prefixSpace(config, false), use_regex: useRegex }
}

function splitThenBytes(expression: string) {
  return (config: Json): ClassPipeline => ({
    model: byteLevelModel,
    normalizer: { type: 'NFC' },
    preTokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: expression }, behavior: 'Isolated', invert: false },
        byteLevel(config, false),
      ],
    },
    decoder: { type: 'ByteLevel' },
    dropsPostProcessor: false,
  })
}

const classes: ReadonlyMap<string, TokenizerClass> = new Map<string, TokenizerClass>([
  [
    'GPT2Tokenizer',
    {
      resetsSpecialTokens: false,
      names: { unk_token: endOfText, bos_token: endOfText, eos_token: endOfText },
      pipeline: config => ({
        model: byteLevelModel,
        normalizer: null,
        preTokenizer: byteLevel(config),
        decoder: { type: 'ByteLevel' },
        dropsPostProcessor: false,
      }),
    },
  ],
  [
    'GPTNeoXTokenizer',
    {
      resetsSpecialTokens: false,
      names: { unk_token: endOfText, bos_token: endOfText, eos_token: endOfText, pad_token: '<|padding|>' },
      pipeline: config => ({
        model: byteLevelModel,
        normalizer: { type: 'NFC' },
        preTokenizer: byteLevel(config),
        decoder: { type: 'ByteLevel' },
        dropsPostProcessor: true,
      }),
    },
  ],
  [
    'Qwen2Tokenizer',
    {
      resetsSpecialTokens: true,
      names: { unk_token: endOfText, eos_token: endOfText, pad_token: endOfText },
      pipeline: splitThenBytes(
        `${qwenContractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${qwenSpaces}`,
      ),
    },
  ],
  [
    'Qwen3_5Tokenizer',
    {
      resetsSpecialTokens: false,
      names: { unk_token: endOfText, eos_token: endOfText, pad_token: endOfText },
      pipeline: splitThenBytes(
        `${qwenContractions}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${qwenSpaces}`,
      ),
    },
  ],
  [
    'CohereTokenizer',
    {
      resetsSpecialTokens: false,
      names: {
        unk_token: '<UNK>',
        bos_token: '<BOS_TOKEN>',
        eos_token: '<|END_OF_TURN_TOKEN|>',
        pad_token: '<PAD>',
        cls_token: '<CLS>',
        sep_token: '<SEP>',
        mask_token: '<MASK_TOKEN>',
      },
      pipeline: config => ({
        model: byteLevelModel,
        normalizer: { type: 'NFC' },
        preTokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(config)] },
        decoder: { type: 'ByteLevel' },
        dropsPostProcessor: false,
      }),
    },
  ],
  [
    'LlamaTokenizer',
    {
      resetsSpecialTokens: false,
      names: { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' },
      pipeline: config => {
        const prefixed = prefixSpace(config, true)
        const scheme = !prefixed ? 'never' : config.legacy === true ? 'always' : 'first'
        return {
          model: { type: 'BPE', unk_token: null, fuse_unk: true, byte_fallback: true },
          normalizer: null,
          preTokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split: false },
          decoder: sentencePieceDecoder(prefixed),
          dropsPostProcessor: false,
        }
      },
    },
  ],
  [
    'GemmaTokenizer',
    {
      resetsSpecialTokens: false,
      names: { unk_token: '<unk>', bos_token: '<bos>', eos_token: '<eos>', pad_token: '<pad>', mask_token: '<mask>' },
      pipeline: (_, names) => ({
        model: { type: 'BPE', unk_token: names.unk_token ?? null, fuse_unk: true, byte_fallback: true },
        normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        preTokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
        decoder: sentencePieceDecoder(false),
        dropsPostProcessor: false,
      }),
    },
  ],
])

function sentencePieceDecoder(prefixed: boolean): PipelineStep {
  const decoders: PipelineStep[] = [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ]
  if (prefixed) decoders.push({ type: 'Strip', content: ' ', start: 1, stop: 0 })
  return { type: 'Sequence', decoders }
}
