/**
 * BPE of SentencePiece's kind, as llama.cpp computes it: by no list of merges, but by a score for each token. Of two neighbours whose texts
 * together are a token, the pair whose token scores best is merged first; characters without a token become bytes, and spaces are U+2581.
 * Merges say more than scores can, so those of a `tokenizer.json` are looked at: every way to cut a token must be one, and all that make
 * one token must stand together.
 */
import { type AddedToken, type Merge, type PipelineStep, type TokenizerDefinition, unsupported } from './definition.js'

/**
 * Where a space is put in front of a text: `never`; `always`, at its beginning and behind every added token, as llama.cpp can; or
 * `sometimes`, where none stands yet, or at the beginning alone, as it cannot.
 */
export type SpacePrefix = 'never' | 'always' | 'sometimes'

const underscore = '▁'

/** Whether a tokenizer is one of these at all. */
export const isSentencePiece = ({ model, bpe }: TokenizerDefinition): boolean => bpe !== undefined && model.byte_fallback === true

/** The token of a byte. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`

/** A run of spaces that is listed among the added tokens, as Gemma's are: its merges make it of a text, and nothing has to be found there. */
export const isSpaceRun = ({ content, special }: AddedToken): boolean => !special && /^▁+$/.test(content)

const hint = 'export to hf, or to onnx, which take the tokenizer as it is'
const refused = (message: string, found: string, expected: string) => unsupported(message, found, expected, { hint })

/**
 * The score of each token: the better, the earlier it is made.
 * @throws {GradpromptError} `unsupported-tokenizer` where scores say less than the merges do, or llama.cpp has no such option
 */
export function scoresOf({ model, bpe, addedTokens }: TokenizerDefinition): ReadonlyMap<string, number> {
  for (const name of ['ignore_merges', 'dropout', 'continuing_subword_prefix', 'end_of_word_suffix'])
    if (model[name]) throw refused(`A GGUF file cannot say ${name}`, `${name}: ${String(model[name])}`, 'none')
  const missing = Array.from({ length: 256 }, (_, byte) => byteToken(byte)).find(token => !bpe!.vocab.has(token))
  if (missing !== undefined) throw refused('llama.cpp needs a token for every byte', `no ${missing}`, '<0x00> to <0xFF>')
  const odd = addedTokens.find(token => token.lstrip || token.rstrip || token.single_word)
  if (odd !== undefined)
    throw refused('llama.cpp finds added tokens wherever they stand', JSON.stringify(odd), 'no lstrip, rstrip or single_word')
  const found = new Set(addedTokens.filter(token => !isSpaceRun(token)).map(({ content }) => content))
  return scoresOfMerges(bpe!, token => !found.has(token) && !/^<0x[0-9A-F]{2}>$/.test(token))
}

/** @param isFree whether a token is made of a text by merges alone */
function scoresOfMerges(
  { vocab, merges }: { readonly vocab: ReadonlyMap<string, number>; readonly merges: readonly Merge[] },
  isFree: (token: string) => boolean,
): Map<string, number> {
  const scores = new Map<string, number>()
  const incomplete = (token: string) =>
    refused(
      'llama.cpp would make a token in a way that the merges do not',
      JSON.stringify(token),
      'a merge for every way to cut it, all of them in a row',
    )
  let current: string | undefined
  let ways = new Set<number>()
  const close = () => {
    if (current !== undefined && isFree(current) && ways.size !== waysToCut(current, vocab)) throw incomplete(current)
    ways = new Set()
  }
  for (const merge of merges) {
    const [left, right] = typeof merge === 'string' ? (merge.split(' ') as [string, string]) : merge
    const token = left + right
    if (token !== current) {
      close()
      current = token
      if (scores.has(token) && isFree(token)) throw incomplete(token)
      if (!scores.has(token)) scores.set(token, -scores.size)
    }
    ways.add(left.length)
  }
  close()
  const least = -scores.size
  for (const token of vocab.keys()) {
    if (scores.has(token)) continue
    if (isFree(token) && waysToCut(token, vocab) > 0) throw incomplete(token)
    scores.set(token, least)
  }
  return scores
}

/** In how many places a token can be cut into two. */
function waysToCut(token: string, vocab: ReadonlyMap<string, number>): number {
  let count = 0
  let at = 0
  for (const character of token) {
    if (at > 0 && vocab.has(token.slice(0, at)) && vocab.has(token.slice(at))) count++
    at += character.length
  }
  return count
}

/** @throws {GradpromptError} `unsupported-tokenizer` where the pipeline does anything else */
export function spacePrefixOf({ normalizer, preTokenizer, addedTokens }: TokenizerDefinition): SpacePrefix {
  const [normalizers, cuts] = [stepsOf(normalizer, 'normalizers'), stepsOf(preTokenizer, 'pretokenizers')]
  const [first] = cuts
  const other = () =>
    refused(
      'llama.cpp changes texts otherwise before it cuts them',
      JSON.stringify([normalizer, preTokenizer]),
      'spaces as ▁, and a space in front or none',
    )
  if (normalizers.length === 0) {
    if (cuts.length !== 1 || first!.type !== 'Metaspace' || first!.split !== false) throw other()
    if ((first!.replacement ?? underscore) !== underscore) throw other()
    const scheme = first!.prepend_scheme ?? 'always'
    // Older files take the prefix away by a field of its own.
    return scheme === 'never' || (scheme === 'always' && first!.add_prefix_space === false) ? 'never' : 'sometimes'
  }
  const { type, pattern, content } = normalizers.at(-1)!
  // Where spaces are gone, nothing is cut at them.
  const cutsNothing = cuts.length === 0 || (cuts.length === 1 && first!.type === 'Split' && isSpace(first!.pattern))
  if (type !== 'Replace' || !isSpace(pattern) || content !== underscore || !cutsNothing) throw other()
  if (normalizers.length === 1) return 'never'
  const [{ type: before, prepend }] = normalizers as [Step]
  // A token that is found in changed text has the prefix itself.
  const isPrefixed = addedTokens.some(({ normalized }) => normalized)
  if (normalizers.length > 2 || before !== 'Prepend' || prepend !== underscore || isPrefixed) throw other()
  return 'always'
}

const isSpace = (pattern: unknown) => (pattern as { String?: unknown } | undefined)?.String === ' '

type Step = NonNullable<PipelineStep>

const stepsOf = (step: PipelineStep, list: string): Step[] =>
  step === null ? [] : step.type === 'Sequence' ? (step[list] as PipelineStep[]).flatMap(each => stepsOf(each, list)) : [step]

/**
 * A tokenizer as llama.cpp runs one of this kind; any other as it is.
 * @param prefixed with a space at the beginning of a text, and behind every added token
 */
export function asLlamaReads(definition: TokenizerDefinition, prefixed: boolean): TokenizerDefinition {
  if (!isSentencePiece(definition)) return definition
  const underscores: PipelineStep = { type: 'Replace', pattern: { String: ' ' }, content: underscore }
  const normalizers = [{ type: 'Prepend', prepend: underscore }, underscores]
  return {
    ...definition,
    addedTokens: definition.addedTokens.filter(token => !isSpaceRun(token)),
    normalizer: prefixed ? { type: 'Sequence', normalizers } : underscores,
    preTokenizer: null,
  }
}
