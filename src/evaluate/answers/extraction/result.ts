import { normalNumber, number } from './numbers.js'
import { type ExtractionRule, type Match, spanOf } from './rule.js'

/**
 * The number that a reader takes from a worked solution, by three rules: where "####" announces it, where a box or "the answer is" does, and
 * in the last sentence with a number. There stands a number, a calculation or a sentence: of a calculation the result counts, of a
 * sentence the number that it is about, not one that it denies, puts in brackets or says in passing ("in 3 days").
 */
export const hashNumber = resultRule('hash-number', 'the number after ####, as GSM8K writes its answers', hashPlaces)
export const answerResult = resultRule(
  'answer-result',
  'the number that what follows "the answer is" or "answer:", or stands in a box, comes to',
  answerPlaces,
)
export const lastResult = resultRule('last-result', 'the number that the last sentence with one comes to', lastPlaces)

function resultRule(name: string, description: string, places: (plain: string, text: string) => Iterable<Place>): ExtractionRule {
  return {
    name,
    description,
    find(text) {
      const plain = withoutMarkup(text)
      for (const place of places(plain, text)) {
        const found = fractionIn(text, place) ?? numberOf(plain, place)
        if (found !== undefined) return found
      }
      return undefined
    },
  }
}

interface Place {
  readonly start: number
  readonly end: number
}

/** Longer texts are read by their end, where answers stand. */
const longest = 20_000
const longestSentence = 2000

/** The text with its marks of emphasis and mathematics as spaces, so that every place stays where it was. */
const withoutMarkup = (text: string): string =>
  text
    .replaceAll(/<<[^<>\n]{0,200}>>/g, blank)
    .replaceAll(/\\(?:boxed|text|mathbf|mathrm)\s?\{|\\[()[\],;!]|\\(?=\$)|\*\*|__|[`{}"“”]/g, blank)
    .replaceAll(/\$(?=[\s\\]|$)|\$(?=[a-z])/gi, blank)
    .replaceAll(/\\times|\\cdot/g, found => '*'.padEnd(found.length))
    .replaceAll(/\*\*?(?=\S[^*\n]*\*)/g, blank)

const blank = (found: string) => ' '.repeat(found.length)

const announced =
  /\banswers?\b(?:\s+(?:to|for|of|here)\b[^.:=\n]{0,60}?)?[\s_]*(?:\bis\b|\bwould be\b|\bwill be\b|\bshould be\b|\bequals\b|[:=])[\s:]*/gi

function hashPlaces(plain: string): Place[] {
  const hash = plain.indexOf('####')
  return hash === -1 ? [] : [lineAt(plain, hash + 4)]
}

function* answerPlaces(plain: string, text: string): Generator<Place> {
  const box = text.lastIndexOf('\\boxed{')
  if (box !== -1) yield { start: box, end: Math.max(box, text.indexOf('}', box)) }
  const from = Math.max(0, plain.length - longest)
  const phrase = [...plain.slice(from).matchAll(announced)].at(-1)
  if (phrase === undefined) return
  const sentences = sentencesOf(plain, from + phrase.index + phrase[0].length)
  const [first] = sentences
  // A solution may begin behind "Answer:"; it ends where it says so.
  if (first !== undefined && !beginsWithNumber(plain, first)) {
    const concluding = sentences.findLast(place => concludes(plain, place))
    if (concluding !== undefined) yield concluding
  }
  yield* sentences
}

function lastPlaces(plain: string): Place[] {
  const sentences = sentencesOf(plain, Math.max(0, plain.length - longest))
  const told = sentences.filter(place => !checks(plain, place)).reverse()
  return [...told.filter(({ start, end }) => /\d/.test(plain.slice(start, end))), ...told]
}

const lineAt = (text: string, start: number): Place => {
  const from = start + /^\s*/.exec(text.slice(start))![0].length
  const end = text.indexOf('\n', from)
  return { start: from, end: end === -1 ? text.length : end }
}

/** Sentences end at a line, or at a full stop that no digit follows. */
function sentencesOf(text: string, start: number): Place[] {
  const found: Place[] = []
  let from = start
  for (const { 0: mark, index } of text.slice(start).matchAll(/\n+|[.!?]+(?=\s|$)(?<!\b[ap]\.m\.)/g)) {
    const end = start + index
    if (text.slice(from, end).trim() !== '') found.push({ start: from, end })
    from = end + mark.length
  }
  if (text.slice(from).trim() !== '') found.push({ start: from, end: text.length })
  return found
}

const concludes = (text: string, { start, end }: Place) =>
  /^\W*(?:so|therefore|thus|hence|altogether|in total|in all|finally|total)\b.*\d/is.test(text.slice(start, end))
const checks = (text: string, { start, end }: Place) =>
  /^\W*(?:to (?:check|verify)|check|verify|verification|proof|since|because)\b/i.test(text.slice(start, end))
const beginsWithNumber = (text: string, { start, end }: Place) =>
  /^[^\p{L}\d]*(?:(?:about|approximately|around|exactly|only|just|a total of|roughly)\s+)?[^\p{L}\d]*\d/iu.test(
    text.slice(start, end),
  )

interface Found extends Place {
  readonly value: string
}

const scales: Readonly<Record<string, number>> = { thousand: 3, million: 6, billion: 9, k: 3 }
const numbers = new RegExp(`(${number})(?:\\s*(thousand|million|billion)\\b|(k)\\b)?`, 'dgui')

/** All numbers of a place in their normal form. */
function numbersIn(text: string, { start, end }: Place): Found[] {
  return [...text.slice(start, end).matchAll(numbers)].flatMap(found => {
    const value = normalNumber(found[1]!)
    if (value === undefined) return []
    const span = spanOf(found, 0)
    const scale = scales[(found[2] ?? found[3] ?? '').toLowerCase()] ?? 0
    return [{ value: scaled(value, scale), start: start + span.start, end: start + span.end }]
  })
}

/** A decimal number times ten to a power, digit by digit. */
function scaled(value: string, power: number): string {
  if (power === 0) return value
  const [whole = '', fraction = ''] = value.split('.')
  const digits = fraction.padEnd(power, '0')
  return normalNumber(`${whole}${digits.slice(0, power)}.${digits.slice(power)}0`)!
}

/** What stands between two numbers, or before one. */
const isNear = /^\s*[-+*/×÷x−]\s*[($€£]*\s*$/i
const concluding =
  /(?:=|≈|→|=>|\b(?:equals?|is equal to|gives?|gets?|makes?|making|comes (?:out )?to|amounts to|adds up to|totals|leaves?|leaving|yields|results in|that is|that's|i\.e\.|which is|which equals|which means|meaning|so|now)\b)[\s,:]*(?:(?:it|he|she|they|we|there)\b\s*(?:is|are|has|have|need|needs|get|gets)?\s*)?(?:(?:you|us|him|her|them|a total of|about|only|exactly)\s+)*[$€£(]*\s*$/i

/** `, they need 32`: a clause of its own behind a condition. */
const goesOn = /,\s*(?:it|he|she|they|we|there|this|that)\s+(?:\p{L}+\s+){1,2}[$€£]?$/iu

function numberOf(text: string, { start: from, end: to }: Place): Match | undefined {
  const place = { start: Math.max(from, to - longestSentence), end: to }
  const all = numbersIn(text, place)
  if (all.length === 0) return inWords(text, place)
  const chosen = chosenOf(text, place, all)
  const { value, start, end } = chosen
  return { value, start, end }
}

function chosenOf(text: string, place: Place, all: readonly Found[]): Found {
  const before = (found: Found) => text.slice(place.start, found.start)
  const after = (found: Found) => text.slice(found.end, place.end)
  const [first] = all as [Found]
  // An equation: what stands behind its last sign, or before it when a calculation does.
  const sign = text.slice(place.start, place.end).search(/[=≈](?=[^=≈]*\d[^=≈]*$)/)
  if (sign !== -1) {
    const at = place.start + sign
    const clause = { start: at + 1, end: endOfClause(text, at + 1, place.end) }
    const right = numbersIn(text, clause)
    const left = all.filter(({ end }) => end <= at)
    const later = all.filter(({ start }) => start >= clause.end)
    const [leading] = right
    if (leading !== undefined) {
      const isCalculation = right.length > 1 && isNear.test(text.slice(leading.end, right[1]!.start))
      if (isCalculation && left.length === 1) return left[0]!
      if (isCalculation) return computed(text, right)
      if (later.length > 0 && /^\W*(?:so|and so|therefore|thus)\b/i.test(text.slice(clause.end, later[0]!.start)))
        return chosenOf(text, { start: clause.end, end: place.end }, later)
      return leading
    }
  }
  const denied = (found: Found) =>
    /(?:\bnot|n['’]t|\bnever|\binstead of|\brather than|\bunlike)\s+(?:just |only )?[$€£]?\s*$/i.test(before(found))
  const open = (found: Found) => (before(found).match(/\(/g)?.length ?? 0) > (before(found).match(/\)/g)?.length ?? 0)
  const kept = keep(
    keep(all, found => !denied(found)),
    found => !open(found),
  )
  const [leading] = kept as [Found]
  const starts = /^[^\p{L}\d]*(?:(?:about|approximately|around|exactly|only|just|a total of|roughly)\s+)*[^\p{L}\d]*$/iu
  const calculation = runOf(text, kept)
  // "7 times 8 is 56", "the sum of 6 and 9 is 15": what is said of a calculation stands behind it.
  const said = kept.filter(
    (found, i) =>
      i > 0 &&
      /\b(?:is|are|was|be|has|equals?|makes?|gives?|leaves?)\s+(?:a total of |about |only )?[$€£]?\s*$/i.test(before(found)) &&
      operates.test(text.slice(place.start, found.start)),
  )
  if (said.length > 0) return said.at(-1)!
  if (starts.test(before(leading)) && calculation.length === 1) {
    // A number alone, unless it is the beginning of a quantity in several units that is then said in one.
    const next = kept[1]
    const isCompound = next !== undefined && /^\s*\p{L}+\s*(?:,|and)?\s*$/u.test(text.slice(leading.end, next.start))
    const isPacked = /^\s*dozens?\b/i.test(after(leading))
    const restated = kept.find(
      found => found !== leading && /(?:\bthat is|\bwhich is|\bi\.e\.|\bor|=)\s*(?:about |only )?[$€£]?\s*$/i.test(before(found)),
    )
    if ((isCompound || isPacked) && restated !== undefined) return restated
    return leading
  }
  const concluded = kept.filter((found, i) => i > 0 && (concluding.test(before(found)) || goesOn.test(before(found))))
  const last = concluded.at(-1)
  if (last !== undefined && !/\bwho\s*(?:has|had)\s*$/i.test(before(last))) {
    const own = runOf(text, kept.slice(kept.indexOf(last)))
    return own.length > 1 ? computed(text, own) : last
  }
  if (calculation.length > 1 && calculation.length === kept.length) return computed(text, calculation)
  // "3 hours, or 180 minutes": the same once more.
  const [only, again] = kept
  if (kept.length === 2 && only && again && /,\s*or\s+(?:about )?[$€£]?$/i.test(before(again))) return only
  const main = keep(
    keep(kept, found => !isLabel(before(found), after(found))),
    found => !inPassing(before(found), after(found)),
  )
  const money = main.filter(found => /[$€£]/.test(text.slice(Math.max(place.start, found.start - 1), found.end)))
  if (money.length > 0) return money.at(-1)!
  return main.at(-1) ?? first
}

const operates =
  /\b(?:times|plus|minus|divided by|multiplied by|sum|product|difference|average|half|twice|double|of)\b|\d\s*[-+*/×÷]\s*\d/i

/** The members that pass, or all when none does. */
const keep = (all: readonly Found[], passes: (found: Found) => boolean): readonly Found[] => {
  const kept = all.filter(passes)
  return kept.length > 0 ? kept : all
}

/** `Step 3`, `day 5`, `the 3rd`: a name, not an amount. */
const isLabel = (before: string, after: string) =>
  /\b(?:step|day|week|month|year|page|question|problem|part|number|chapter|case|age|grade|room)\s*#?\s*$/i.test(before) ||
  /^(?:st|nd|rd|th)\b/i.test(after) ||
  (/^\s*\.\s/.test(after) && before.trim() === '')

/** What a sentence says in passing: when, for what, out of what, of whom. */
const inPassing = (before: string, after: string) => {
  const told = before.replace(/[$€£(]\s*$/, '')
  if (/\b(?:total|sum|cost|price|amount|average|rest|profit|maximum|minimum|most|least)\s+of\s+$/i.test(told)) return false
  return (
    /\b(?:in|after|for|per|of|from|by|every|within|over|at|on|with|under|during|than|if each of|if|since there are|when|among|between|and his|and her|the|these|those|all|to earn|to make|to reach|to buy|will take|who (?:has|had|is|was))\s+$/i.test(
      told,
    ) || /^\s*(?:of (?:them|these|those|which)|times as|years older|(?:\p{L}+\s)?(?:each|later|ago|earlier))\b/iu.test(after)
  )
}

/** The numbers that stand together with operators between them, from the first on. */
function runOf(text: string, numbers: readonly Found[]): readonly Found[] {
  const run = numbers.slice(0, 1)
  for (const next of numbers.slice(1)) {
    if (!isNear.test(text.slice(run.at(-1)!.end, next.start))) break
    run.push(next)
  }
  return run
}

/** What a calculation without its result comes to, products first. */
function computed(text: string, run: readonly Found[]): Found {
  const terms: number[] = [Number(run[0]!.value)]
  let isExact = true
  for (const [i, { value, start }] of run.entries()) {
    if (i === 0) continue
    const operator = /[-+*/×÷x−]/i.exec(text.slice(run[i - 1]!.end, start))![0].toLowerCase()
    if (operator === '+') terms.push(Number(value))
    else if (operator === '-' || operator === '−') terms.push(-Number(value))
    else if (operator === '/' || operator === '÷') terms.push(terms.pop()! / Number(value))
    else terms.push(terms.pop()! * Number(value))
  }
  const sum = terms.reduce((a, b) => a + b, 0)
  isExact = Number.isFinite(sum)
  const value = isExact ? normalNumber(plainDecimal(sum)) : undefined
  return value === undefined ? run.at(-1)! : { value, start: run[0]!.start, end: run.at(-1)!.end }
}

const plainDecimal = (value: number) => (Number.isInteger(value) ? BigInt(value).toString() : Number(value.toFixed(9)).toString())

const endOfClause = (text: string, start: number, end: number): number => {
  const comma = /,(?!\d{3})|;/.exec(text.slice(start, end))
  return comma === null ? end : start + comma.index
}

/** `1/2`, `1 1/2`, `\frac{1}{2}`: a fraction that a place holds alone, as a decimal number. */
function fractionIn(text: string, { start, end }: Place): Match | undefined {
  const part = text.slice(start, end)
  if (/=/.test(part)) return undefined
  const found =
    /\\d?frac\{(?<top>\d{1,9})\}\{(?<bottom>\d{1,9})\}/.exec(part) ??
    /(?<![\d./])(?:(?<whole>\d{1,9})\s+)?(?<top>\d{1,9})\/(?<bottom>\d{1,9})(?![\d/]|\.\d)/.exec(part)
  if (found === null) return undefined
  const { whole = '0', top, bottom } = found.groups!
  const value = Number(whole) + Number(top) / Number(bottom)
  if (!Number.isFinite(value)) return undefined
  return { value: normalNumber(plainDecimal(value))!, start: start + found.index, end: start + found.index + found[0].length }
}

const small =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'
const units = new Map(small.split(' ').map((name, value) => [name, value]))
for (const [i, name] of 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ').entries()) units.set(name, 20 + 10 * i)
const powers = new Map([
  ['thousand', 1000],
  ['million', 1_000_000],
])
const names = [...units.keys(), 'hundred', ...powers.keys()].sort((a, b) => b.length - a.length).join('|')
const words = new RegExp(`(?<![\\p{L}-])(?:${names})(?:(?:\\s+and\\s+|[\\s-]+)(?:${names}))*(?![\\p{L}])`, 'giu')

/** The last number that a place writes in words. */
function inWords(text: string, { start, end }: Place): Match | undefined {
  const found = [...text.slice(start, end).matchAll(words)].at(-1)
  if (found === undefined) return undefined
  let [total, part] = [0, 0]
  for (const name of found[0].toLowerCase().split(/[\s-]+/)) {
    const power = powers.get(name)
    if (power !== undefined) [total, part] = [total + Math.max(1, part) * power, 0]
    else if (name === 'hundred') part = Math.max(1, part) * 100
    else part += units.get(name) ?? 0
  }
  return { value: String(total + part), start: start + found.index, end: start + found.index + found[0].length }
}
