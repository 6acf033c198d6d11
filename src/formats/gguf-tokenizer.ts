/**
 * The tokenizer of a GGUF file, put together from its metadata: a definition like that of a `tokenizer.json`, with what llama.cpp takes
 * for granted where a file does not say.
 */
import { type GradpromptError, unknownName } from '../errors.js'
import { type Metadata, optionalBoolean, optionalString, scores, strings, tokenId, tokenTypes } from './gguf-metadata.js'
import { spellBytes, spellsBytes } from './tokenize/bytes.js'
import { type AddedToken, invalid, type PipelineStep, type TokenizerDefinition, unsupported } from './tokenize/definition.js'
import { framing } from './tokenize/post-processor.js'

/** A tokenizer's definition and what belongs to it without deciding how text is cut. */
export interface TokenizerParts {
  readonly definition: TokenizerDefinition
  readonly specialIds: SpecialIds
  /** Every token that ends a text or a turn, the end-of-text token first. */
  readonly endTokenIds: readonly number[]
  /** Whether spaces before punctuation are taken out of decoded text. */
  readonly cleansUpSpaces: boolean
  readonly chatTemplate: string | undefined
}

export interface SpecialIds {
  readonly bos: number | undefined
  readonly eos: number | undefined
  readonly pad: number | undefined
  readonly unk: number | undefined
}

/**
 * Puts a tokenizer together from the metadata of a GGUF file (`tokenizer.ggml.*`), with the ids that `transformers` gives
 * for the same file.
 *
 * @throws {GradpromptError} `unknown-tokenizer-model`, `unknown-pre-tokenizer`, `invalid-tokenizer`
 */
export function tokenizerFromGguf(metadata: Metadata): TokenizerParts {
  const model = optionalString(metadata, 'tokenizer.ggml.model')
  if (model === undefined) throw invalid('The GGUF file has no tokenizer', 'no such key', 'tokenizer.ggml.model in its metadata')
  const build = knownModels.get(model)
  if (build === undefined) throw unknown('unknown-tokenizer-model', 'tokenizer.ggml.model', model, [...knownModels.keys()])

  const tokens = strings(metadata, 'tokenizer.ggml.tokens')
  const types = tokenTypes(metadata, tokens.length)
  const named = (key: string) => tokenId(metadata, `tokenizer.ggml.${key}_token_id`, tokens.length)
  // SentencePiece puts these three first, and old files do not name them.
  const usual = (id: number) => (model === 'llama' && id < tokens.length ? id : undefined)
  const specialIds: SpecialIds = {
    bos: named('bos') ?? usual(1),
    eos: named('eos') ?? usual(2),
    pad: named('padding'),
    unk: named('unknown') ?? usual(0),
  }
  const special = new Set(Object.values(specialIds))
  types.forEach((type, id) => {
    if (type === control) special.add(id)
  })
  const endTokenIds = endsOf(tokens, [specialIds.eos, named('eot'), named('eom')])
  for (const id of endTokenIds) special.add(id)
  const { spelled, addsBos, ...steps } = build(metadata, tokens, id => special.has(id) || types[id] === userDefined)
  const addedTokens: AddedToken[] = []
  spelled.forEach((content, id) => {
    if (special.has(id) || types[id] === userDefined) {
      addedTokens.push({ id, content, special: special.has(id), normalized: false })
    }
  })
  if (optionalBoolean(metadata, 'tokenizer.ggml.add_sep_token') === true) {
    throw unsupported(
      'The GGUF file adds a separator to every text',
      'tokenizer.ggml.add_sep_token true',
      'a model that writes text',
    )
  }
  const frame = (key: string, otherwise: boolean, id: number | undefined) => {
    if (!(optionalBoolean(metadata, `tokenizer.ggml.add_${key}_token`) ?? otherwise)) return undefined
    if (id !== undefined) return spelled[id]
    throw invalid(
      `The GGUF file adds a token that it does not name: ${key}`,
      'nothing',
      `tokenizer.ggml.${key}_token_id in its metadata`,
    )
  }
  return {
    definition: {
      ...steps,
      addedTokens,
      postProcessor: framing(frame('bos', addsBos, specialIds.bos), frame('eos', false, specialIds.eos)),
    },
    specialIds,
    endTokenIds,
    cleansUpSpaces: false,
    chatTemplate: optionalString(metadata, 'tokenizer.chat_template'),
  }
}

/** Tokens that end a turn or a message wherever they are, by what they are called: files that name their ends are the newer ones. */
const endings: ReadonlySet<string> = new Set([
  '<|eot_id|>',
  '<|eom_id|>',
  '<|im_end|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<EOT>',
  '[EOT]',
  '<end_of_utterance>',
  '<｜end▁of▁sentence｜>',
])

/** The ends that the file names, then those that are known by their text; llama.cpp stops at the same. */
function endsOf(tokens: readonly string[], named: readonly (number | undefined)[]): readonly number[] {
  const ids = new Set(named.filter(id => id !== undefined))
  tokens.forEach((token, id) => {
    if (endings.has(token)) ids.add(id)
  })
  return [...ids]
}

/** Token types of llama.cpp that are matched whole in the text. */
const control = 3
const userDefined = 4

interface BuiltModel extends Omit<TokenizerDefinition, 'addedTokens' | 'postProcessor'> {
  /** The tokens as the vocabulary must write them. */
  readonly spelled: readonly string[]
  /** Whether texts begin with BOS where the file does not say. */
  readonly addsBos: boolean
}

type ModelBuilder = (metadata: Metadata, tokens: readonly string[], isAdded: (id: number) => boolean) => BuiltModel

const knownModels: ReadonlyMap<string, ModelBuilder> = new Map([
  ['gpt2', byteLevel],
  ['llama', sentencePiece],
])

// --- byte-level BPE -----------------------------------------------------------------------------------------------------

const llama3Split =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const qwen35Split =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const tekkenSplit =
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const qwen2Split =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** How a pre-tokenizer cuts text, and what llama.cpp takes for granted with it. */
interface PreTokenizerRule {
  /** The expression that cuts text into the pieces BPE works on; `null` for GPT-2's own. */
  readonly split: string | null
  /** Texts begin with BOS unless the file says otherwise. */
  readonly addsBos?: true
  /** A piece that is in the vocabulary is that token, whatever the merges make of it. */
  readonly ignoresMerges?: true
}

const likeGpt2: PreTokenizerRule = { split: null }
const likeLlama3: PreTokenizerRule = { split: llama3Split, addsBos: true, ignoresMerges: true }
const likeQwen2: PreTokenizerRule = { split: qwen2Split }

/**
 * The rules by `tokenizer.ggml.pre`, in llama.cpp's groups. `smollm` names one that also splits digits off, but `transformers` reads
 * such files with GPT-2's, and its ids are the measure: they differ where several white-space characters stand before a digit.
 */
const rules: ReadonlyMap<string, PreTokenizerRule> = new Map<string, PreTokenizerRule>([
  ...[
    'default',
    'gpt-2',
    'gpt2',
    'smollm',
    'phi-2',
    'olmo',
    'mpt',
    'jais',
    'exaone4',
    'gigachat',
    'a.x-4.0',
    'mellum',
    'modern-bert',
  ].map(name => [name, likeGpt2] as const),
  ...['trillion', 'granite-docling'].map(name => [name, likeGpt2] as const),
  ...['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'].map(
    name => [name, likeLlama3] as const,
  ),
  ...['smaug-bpe', 'dbrx', 'glm4', 'chatglm-bpe'].map(name => [name, { split: llama3Split }] as const),
  ...['qwen2', 'deepseek-r1-qwen', 'stablelm2', 'hunyuan', 'megrez', 'kormo', 'solar-open'].map(
    name => [name, likeQwen2] as const,
  ),
  ['qwen35', { split: qwen35Split }],
  ['tekken', { split: tekkenSplit, addsBos: true, ignoresMerges: true }],
])

/** Of those whose files say how text is cut and nothing else, the name that llama.cpp's own converter writes. */
const written = ['gpt-2', 'llama-bpe', 'smaug-bpe', 'qwen2', 'qwen35', 'tekken']

/** The name of the rule that cuts text by an expression (null: GPT-2's own); undefined: none does. */
export const preTokenizerName = (split: string | null, ignoresMerges: boolean): string | undefined =>
  written.find(name => {
    const rule = rules.get(name)!
    return rule.split === split && (rule.ignoresMerges ?? false) === ignoresMerges
  })

function byteLevel(metadata: Metadata, tokens: readonly string[], isAdded: (id: number) => boolean): BuiltModel {
  const pre = optionalString(metadata, 'tokenizer.ggml.pre') ?? 'default'
  const rule = rules.get(pre)
  if (rule === undefined) throw unknown('unknown-pre-tokenizer', 'tokenizer.ggml.pre', pre, [...rules.keys()])
  const { split } = rule
  const spelled = tokens.map((token, id) => (spellsBytes(token) || isAdded(id) ? token : spellBytes(token)))
  return {
    spelled,
    addsBos: rule.addsBos ?? false,
    model: { type: 'BPE', unk_token: null, ignore_merges: rule.ignoresMerges ?? false },
    bpe: { vocab: vocabulary(spelled), merges: mergeRules(metadata) },
    normalizer: null,
    preTokenizer:
      split === null
        ? { type: 'ByteLevel', add_prefix_space: false, use_regex: true }
        : {
            type: 'Sequence',
            pretokenizers: [
              { type: 'Split', pattern: { Regex: split }, behavior: 'Isolated', invert: false },
              { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
            ],
          },
    decoder: { type: 'ByteLevel' },
  }
}

// --- SentencePiece ------------------------------------------------------------------------------------------------------

const gemmaArchitecture = /^gemma[23]?$/

function sentencePiece(metadata: Metadata, tokens: readonly string[]): BuiltModel {
  const architecture = optionalString(metadata, 'general.architecture') ?? ''
  const gemma = gemmaArchitecture.test(architecture)
  // Gemma's files write runs of spaces as spaces, where the normaliser has already made them U+2581.
  const spelled = gemma ? tokens.map(token => (/^ +$/.test(token) ? '▁'.repeat(token.length) : token)) : tokens
  const vocab = vocabulary(spelled)
  const merges = metadata.has('tokenizer.ggml.merges')
    ? mergeRules(metadata)
    : mergesFromScores(spelled, vocab, gemma ? spelled.map((_, id) => -id) : scores(metadata, tokens.length))
  const prefixed = !gemma && (optionalBoolean(metadata, 'tokenizer.ggml.add_space_prefix') ?? true)
  const underscores: PipelineStep = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  // Phi-3 puts its prefix before every stretch of text between special tokens, and even before a space.
  const phi3 = architecture === 'phi3' && prefixed
  const decoders: PipelineStep[] = [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ]
  if (prefixed) decoders.push({ type: 'Strip', content: ' ', start: 1, stop: 0 })
  return {
    spelled,
    addsBos: true,
    model: { type: 'BPE', unk_token: null, fuse_unk: true, byte_fallback: true },
    bpe: { vocab, merges },
    normalizer: phi3
      ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, underscores] }
      : gemma
        ? underscores
        : null,
    preTokenizer:
      phi3 || gemma ? null : { type: 'Metaspace', replacement: '▁', prepend_scheme: prefixed ? 'first' : 'never', split: false },
    decoder: { type: 'Sequence', decoders },
  }
}

const maxScoredTokenLength = 1024

/** Of all tokens, the sum of squared lengths: so much work is it to look at every way to cut each. The largest vocabulary has 2^25. */
const maxCuts = 2 ** 28

/**
 * The merges that a SentencePiece BPE vocabulary implies: every way to cut a token into two tokens, best score first,
 * then longest parts first, then lowest ids.
 */
function mergesFromScores(
  tokens: readonly string[],
  vocab: ReadonlyMap<string, number>,
  scores: ArrayLike<number>,
): readonly (readonly [string, string])[] {
  const rules: { pair: readonly [string, string]; score: number; leftLength: number; rightLength: number }[] = []
  const cuts = tokens.reduce((sum, token) => sum + token.length ** 2, 0)
  if (cuts > maxCuts) throw invalid('The tokens are too long to find their merges', `${cuts} cuts`, `at most ${maxCuts}`)
  tokens.forEach((token, id) => {
    if (token.length > maxScoredTokenLength) {
      throw invalid(`Token ${id} is too long`, `${token.length} characters`, `at most ${maxScoredTokenLength}`)
    }
    const characters = Array.from(token)
    const local: (typeof rules)[number][] = []
    let left = ''
    for (let length = 1; length < characters.length; length++) {
      left += characters[length - 1]
      const right = token.slice(left.length)
      if (vocab.has(left) && vocab.has(right)) {
        local.push({ pair: [left, right], score: scores[id]!, leftLength: length, rightLength: characters.length - length })
      }
    }
    local.sort((a, b) => vocab.get(a.pair[0])! - vocab.get(b.pair[0])! || vocab.get(a.pair[1])! - vocab.get(b.pair[1])!)
    for (const rule of local) rules.push(rule)
  })
  rules.sort((a, b) => b.score - a.score || b.leftLength - a.leftLength || b.rightLength - a.rightLength)
  return rules.map(rule => rule.pair)
}

function vocabulary(tokens: readonly string[]): Map<string, number> {
  const vocab = new Map<string, number>()
  for (let id = 0; id < tokens.length; id++) vocab.set(tokens[id]!, id)
  return vocab
}

function mergeRules(metadata: Metadata): readonly string[] {
  const key = 'tokenizer.ggml.merges'
  const found = metadata.get(key)
  // A tokenizer of bytes alone merges nothing.
  const merges = Array.isArray(found) && found.length === 0 ? [] : strings(metadata, key)
  for (const merge of merges) {
    const space = merge.indexOf(' ')
    if (space <= 0 || space === merge.length - 1 || merge.indexOf(' ', space + 1) !== -1) {
      throw invalid('A merge rule cannot be read', JSON.stringify(merge), 'two pieces with one space between them')
    }
  }
  return merges
}

function unknown(code: string, key: string, value: string, known: readonly string[]): GradpromptError {
  const message = `The GGUF file names a tokenizer that is not known: ${key}`
  const hint = 'a folder with tokenizer.json works for every pre-tokenizer'
  return unknownName(code, message, value.slice(0, 64), known, { hint })
}
