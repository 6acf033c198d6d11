import { GradpromptError } from '../../errors.js'
import type { Encoder } from './encoder.js'
import { type CompiledTemplate, compileTemplate, type Template } from './template.js'

/**
 * Soft tokens: learned rows that stand among a template's words, wherever a placeholder says (P-tuning, Liu et al. 2021, arXiv
 * 2103.10385; the soft and mixed templates of OpenPrompt, Ding et al. 2022, arXiv 2111.01998). `{soft:3}` stands for three,
 * `{soft:"It was"}` for as many as the text has tokens, which they start from.
 *
 * In a row they are ids beyond the vocabulary, so that whatever handles rows handles them as well. Text is cut where they stand: what
 * lies between two of them is tokenised by itself.
 */
export interface SoftPlaceholder {
  /** As the template writes it. */
  readonly text: string
  /** The token that each of its rows starts from; -1: a row of the embedding table, drawn by seed. */
  readonly ids: readonly number[]
}

/** Soft tokens of a prompt as ids of a model. */
export interface SoftVocabulary {
  readonly placeholders: readonly SoftPlaceholder[]
  /** The first one's id: the size of the model's vocabulary. */
  readonly firstId: number
}

/** While a row is still text, a soft token is a character of a private plane. */
const FIRST_MARKER = 0xf0000
/** As many as the plane has. */
const most = 0xfffd
const markers = /[\u{f0000}-\u{ffffd}]/gu

const contentsOf = (template: Template) =>
  (typeof template === 'string' ? [template] : template.map(({ content }) => content)).map(compileTemplate)

/**
 * The soft tokens of a template, in their order.
 * @throws GradpromptError `invalid-template` when there are too many
 */
export function softPlaceholders(template: Template, tokenizer: Pick<Encoder, 'encode'>): SoftPlaceholder[] {
  const placeholders = contentsOf(template)
    .flatMap(({ soft }) => soft)
    .map(({ text, words, count }) => ({
      text,
      ids: words === undefined ? Array<number>(count).fill(-1) : tokenizer.encode(words, { addSpecialTokens: false }),
    }))
  const total = countSoft(placeholders)
  if (total > most)
    throw new GradpromptError('invalid-template', 'the template has too many soft tokens', {
      found: String(total),
      expected: `at most ${most}`,
    })
  return placeholders
}

export const countSoft = (placeholders: readonly SoftPlaceholder[]): number =>
  placeholders.reduce((sum, { ids }) => sum + ids.length, 0)

/** The characters that stand for each placeholder's soft tokens. */
function markersOf(placeholders: readonly SoftPlaceholder[]): string[] {
  let next = FIRST_MARKER
  return placeholders.map(({ ids }) => String.fromCodePoint(...ids.map(() => next++)))
}

/**
 * What stands for each placeholder of a template while a row is text: characters that only `softEncoder` reads. The n-th placeholder of
 * some spelling is the n-th of that spelling in the template that was learned.
 *
 * @returns for each of the template's texts one text a placeholder
 * @throws GradpromptError `invalid-template` when the template has soft tokens that were not learned
 */
export function softTexts(template: Template, { placeholders }: SoftVocabulary): string[][] {
  const known = markersOf(placeholders)
  const used = new Map<string, number>()
  return contentsOf(template).map(({ soft }) =>
    soft.map(({ text }) => {
      const before = used.get(text) ?? 0
      used.set(text, before + 1)
      const at = [...placeholders.keys()].filter(i => placeholders[i]!.text === text)[before]
      if (at !== undefined) return known[at]!
      throw new GradpromptError('invalid-template', 'a template has a soft token that the prompt does not have', {
        found: before === 0 ? text : `${text}, ${before + 1} times`,
        expected: placeholders.map(placeholder => placeholder.text).join(' ') || 'none',
        hint: 'the soft tokens that are learned are those of `template`; other templates may use them again, in other places',
      })
    }),
  )
}

/** A tokenizer that reads the characters of `softTexts` as ids beyond the vocabulary. */
export function softEncoder<Base extends Pick<Encoder, 'encode' | 'decode'>>(tokenizer: Base, { firstId }: SoftVocabulary): Base {
  return Object.assign(Object.create(tokenizer) as Base, {
    encode(text: string, { addSpecialTokens = true } = {}): number[] {
      const found = [...text.matchAll(markers)]
      const ids: number[] = []
      let end = 0
      for (const { 0: marker, index } of found) {
        // What a tokenizer puts before a text stands before the whole of it, even where that begins with a soft token.
        if (index > end || end === 0)
          ids.push(...tokenizer.encode(text.slice(end, index), { addSpecialTokens: end === 0 && addSpecialTokens }))
        ids.push(firstId + marker.codePointAt(0)! - FIRST_MARKER)
        end = index + marker.length
      }
      if (end === 0 || end < text.length)
        ids.push(...tokenizer.encode(text.slice(end), { addSpecialTokens: end === 0 && addSpecialTokens }))
      return ids
    },
    decode(ids: readonly number[]): string {
      const parts: string[] = []
      let plain: number[] = []
      const flush = () => {
        if (plain.length > 0) parts.push(tokenizer.decode(plain))
        plain = []
      }
      for (const id of ids) {
        if (id < firstId) {
          plain.push(id)
          continue
        }
        flush()
        parts.push(String.fromCodePoint(FIRST_MARKER + id - firstId))
      }
      flush()
      return parts.join('')
    },
  })
}

/** How many soft tokens a text holds. */
export const softCount = (text: string): number => text.match(markers)?.length ?? 0

/** A text as people read it: the placeholders as the template writes them, a part of one by its number. */
export function readableText(text: string, { placeholders }: SoftVocabulary): string {
  let readable = text
  for (const [i, marker] of markersOf(placeholders).entries())
    if (marker !== '') readable = readable.replaceAll(marker, placeholders[i]!.text)
  return readable.replaceAll(markers, marker => softName(marker.codePointAt(0)! - FIRST_MARKER))
}

/** A soft token, counted from 0, as people read it. */
export const softName = (index: number): string => `{soft ${index + 1}}`

/** A tokenizer of texts in which the learned template's own placeholders, in their order, stand for its soft tokens. */
export function promptTokenizer<Base extends Pick<Encoder, 'encode' | 'decode'>>(
  tokenizer: Base,
  soft: SoftVocabulary | undefined,
): Base {
  if (soft === undefined) return tokenizer
  const encoder = softEncoder(tokenizer, soft)
  return Object.assign(Object.create(tokenizer) as Base, {
    encode: (text: string, options?: { addSpecialTokens?: boolean }) => encoder.encode(withMarkers(text, soft), options),
  })
}

function withMarkers(text: string, { placeholders }: SoftVocabulary): string {
  const known = markersOf(placeholders)
  let rest = text.replaceAll(markers, '\u{fffd}')
  let done = ''
  for (const [i, placeholder] of placeholders.entries()) {
    const at = rest.indexOf(placeholder.text)
    if (at < 0) continue
    done += rest.slice(0, at) + known[i]!
    rest = rest.slice(at + placeholder.text.length)
  }
  return done + rest
}

/** A row without soft tokens: the words that they started from stand in their places. */
export function plainRow<Row extends { readonly ids: readonly number[]; readonly labels: readonly number[] }>(
  row: Row,
  { placeholders, firstId }: SoftVocabulary,
): Row {
  const words = placeholders.flatMap(({ ids }) => ids)
  const tokens = row.ids.flatMap((id, i) => {
    const plain = id < firstId ? id : words[id - firstId]!
    return plain < 0 ? [] : [{ id: plain, label: row.labels[i]! }]
  })
  return { ...row, ids: tokens.map(({ id }) => id), labels: tokens.map(({ label }) => label) }
}

/** @throws GradpromptError `invalid-template` for an answer with a soft token: nothing can predict one */
export function refusePredicted({ soft: [predicted] }: CompiledTemplate): void {
  if (predicted === undefined) return
  throw new GradpromptError('invalid-template', 'the answer has a soft token, which nothing can predict', {
    found: predicted.text,
    expected: 'text and columns; soft tokens belong in the template',
  })
}
