import { fractionIn } from './amounts.js'
import { type PlainText, plainText, type Span } from './plain-text.js'
import type { ExtractionRule } from './rule.js'
import { beginsWithNumber, numberOf } from './sentence.js'

/**
 * The number that a reader takes from a worked solution, by three rules: where "####" announces it, where a box or "the answer is" does, and
 * in the last sentence with a number.
 */
export const hashNumber = resultRule({
  name: 'hash-number',
  description: 'the number after ####, as GSM8K writes its answers',
  places: hashPlaces,
})
export const answerResult = resultRule({
  name: 'answer-result',
  description: 'the number that what follows "the answer is" or "answer:", or stands in a box, comes to',
  places: answerPlaces,
})
export const lastResult = resultRule({
  name: 'last-result',
  description: 'the number that the last sentence with one comes to',
  places: lastPlaces,
})

interface ResultRule {
  readonly name: string
  readonly description: string
  /** Spans of the plain text that may hold the number, the best first. */
  places(plain: PlainText, source: string): Iterable<Span>
}

function resultRule({ name, description, places }: ResultRule): ExtractionRule {
  return {
    name,
    description,
    find(source) {
      const plain = plainText(source)
      for (const place of places(plain, source)) {
        const fraction = fractionIn(source, plain.source(place))
        if (fraction !== undefined) return fraction
        const found = numberOf(plain.text, place)
        if (found !== undefined) return { value: found.value, ...plain.source(found) }
      }
      return undefined
    },
  }
}

/** Longer texts are read by their end, where answers stand. */
const longest = 20_000

const announced =
  /\banswers?\b(?: (?:to|for|of|here)\b[^.:=\n]{0,60}?)?[ _]*(?:\b(?:is|would be|will be|should be|equals)\b|[:=])/gi

/** The lines behind the first `####`. */
function hashPlaces({ text }: PlainText): Span[] {
  const hash = text.indexOf('####')
  return hash === -1 ? [] : sentencesOf(text, hash + 4, /\n/g)
}

function* answerPlaces({ text, plain }: PlainText, source: string): Generator<Span> {
  const box = source.lastIndexOf('\\boxed{')
  const boxed = box === -1 ? undefined : { start: plain(box), end: plain(closingBrace(source, box)) }
  if (boxed !== undefined && boxed.end > boxed.start) yield boxed
  const from = Math.max(0, text.length - longest)
  const phrase = [...text.slice(from).matchAll(announced)].at(-1)
  if (phrase === undefined) return
  const sentences = sentencesOf(text, from + phrase.index + phrase[0].length)
  // A solution may begin behind "Answer:"; it ends where it says so.
  if (sentences.length > 0 && !beginsWithNumber(text, sentences[0]!)) {
    const concluding = sentences.findLast(place => concludes(text, place))
    if (concluding !== undefined) yield concluding
  }
  yield* sentences
}

/** Where the brace is closed that is opened first behind `start`; `start` where it is not closed. */
function closingBrace(source: string, start: number): number {
  let depth = 0
  for (const { 0: brace, index } of source.slice(start).matchAll(/[{}]/g)) {
    depth += brace === '{' ? 1 : -1
    if (depth === 0) return start + index
  }
  return start
}

function lastPlaces({ text }: PlainText): Span[] {
  const told = sentencesOf(text, Math.max(0, text.length - longest))
    .filter(place => !checks(text, place))
    .reverse()
  return [...told.filter(({ start, end }) => /\d/.test(text.slice(start, end))), ...told]
}

/** Sentences from `start` on that are not empty: they end at a line, or at a full stop that ends no abbreviation and that no digit follows. */
function sentencesOf(text: string, start: number, ends = /\n|[.!?]+(?=\s|$)(?<!\b(?:[ap]\.m|i\.e|e\.g|approx)\.)/g): Span[] {
  const found: Span[] = []
  let from = start
  for (const { 0: mark, index } of text.slice(start).matchAll(ends)) {
    found.push({ start: from, end: start + index })
    from = start + index + mark.length
  }
  return [...found, { start: from, end: text.length }].filter(({ start, end }) => text.slice(start, end).trim() !== '')
}

const concludes = (text: string, { start, end }: Span) =>
  /^\W*(?:so|therefore|thus|hence|altogether|in total|in all|finally|total)\b.*\d/i.test(text.slice(start, end))
const checks = (text: string, { start, end }: Span) =>
  /^\W*(?:to (?:check|verify)|check|verify|verification|proof|since|because)\b/i.test(text.slice(start, end))
