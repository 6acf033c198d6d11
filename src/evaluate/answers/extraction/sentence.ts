import { computed, inWords, numbersIn, runOf } from './amounts.js'
import type { Span } from './plain-text.js'
import type { Match } from './rule.js'

/**
 * The number that a sentence comes to: of a calculation its result, of a sentence the number that it is about, not one that it denies, puts
 * in brackets or says in passing ("in 3 days"). Texts have single spaces (`plainText`).
 */

/** Of a longer sentence the end is read. */
const longest = 2000

export function numberOf(text: string, { start, end }: Span): Match | undefined {
  const sentence = { start: Math.max(start, end - longest), end }
  const all = numbersIn(text, sentence)
  return all.length === 0 ? inWords(text, sentence) : chosenOf(text, sentence, all)
}

/** What may stand before a number that begins a sentence: no words but such as `about`. */
const opening = /^[^\p{L}\d]*(?:(?:about|approximately|around|exactly|only|just|a total of|roughly)[^\p{L}\d]+)*$/iu
const isOpening = (before: string) => opening.test(`${before} `)

export function beginsWithNumber(text: string, { start, end }: Span): boolean {
  const sentence = text.slice(start, end)
  const digit = sentence.search(/\d/)
  return digit !== -1 && isOpening(sentence.slice(0, digit))
}

/** What stands before a number that a sentence comes to, and between both. */
const concluding =
  /(?:=>?|[≈→]|\b(?:equals?|is equal to|gives?|gets?|makes?|making|comes (?:out )?to|amounts to|adds up to|totals|leaves?|leaving|yields|results in|that is|that's|i\.e\.|which is|which means|meaning|so|now))(?:[ ,:]+(?:it|he|she|they|we|there)(?: (?:is|are|has|have|needs?|gets?))?)?(?: (?:you|us|him|her|them|a total of|about|only|exactly))*[,:]?$/i

/** `, they need 32`: a clause of its own behind a condition. */
const goesOn = /, (?:it|he|she|they|we|there|this|that)(?: \p{L}+){1,2}$/iu

/** What is said of a calculation: `7 times 8 is 56`, `the sum of 6 and 9 is 15`. */
const says = /\b(?:is|are|was|be|has|equals?|makes?|gives?|leaves?)(?: a total of| about| only)?$/i
const calculates =
  /\b(?:times|plus|minus|divided by|multiplied by|sum|product|difference|average|half|twice|double|of)\b|\d ?[-+*/×÷] ?\d/i

const denies = /(?:\bnot|n['’]t|\bnever|\binstead of|\brather than|\bunlike)(?: just| only)?$/i
const restates = /(?:\b(?:that is|which is|or|i\.e\.)|=)(?: about| only)?,?$/i

function chosenOf(text: string, sentence: Span, all: readonly Match[]): Match {
  const result = resultOfEquation(text, sentence, all)
  if (result !== undefined) return result
  /** The words before a number, without the sign of a currency or a bracket that belongs to it. */
  const before = (found: Match) => text.slice(sentence.start, found.start).replace(/[ ($€£]+$/, '')
  const after = (found: Match) => text.slice(found.end, sentence.end)
  const inBrackets = (found: Match) => /\([^()]*$/.test(text.slice(sentence.start, found.start))
  const stated = keep(all, found => !denies.test(before(found)))
  const kept = keep(stated, found => !inBrackets(found))
  const [leading, second] = kept as [Match, Match | undefined]
  const later = kept.slice(1)
  const said = later.findLast(found => says.test(before(found)) && calculates.test(before(found)))
  if (said !== undefined) return said
  const calculation = runOf(text, kept)
  if (isOpening(before(leading)) && calculation.length === 1) {
    // A number alone, unless it is the beginning of a quantity in several units that is then said in one.
    const isCompound = second !== undefined && /^ ?\p{L}+(?:,| and)? $/u.test(text.slice(leading.end, second.start))
    const isPacked = /^ ?dozens?\b/i.test(after(leading))
    return ((isCompound || isPacked) && later.find(found => restates.test(before(found)))) || leading
  }
  const concluded = later.findLast(found => concluding.test(before(found)) || goesOn.test(before(found)))
  if (concluded !== undefined) return total(text, kept.slice(kept.indexOf(concluded)))
  if (calculation.length === kept.length) return total(text, kept)
  // "3 hours, or 180 minutes": the same once more.
  if (/, or(?: about)?$/i.test(before(second!))) return leading
  const amounts = keep(kept, found => !isLabel(before(found), after(found)))
  const main = keep(amounts, found => !isInPassing(before(found), after(found)))
  return main.findLast(found => /[$€£]/.test(text.slice(found.start - 1, found.end + 1))) ?? main.at(-1)!
}

/** A number, or what the calculation that it begins comes to. */
function total(text: string, all: readonly Match[]): Match {
  const run = runOf(text, all)
  return run.length === 1 ? run[0]! : computed(text, run)
}

/** What stands behind the last sign of equality, or before it when a calculation stands behind it. */
function resultOfEquation(text: string, sentence: Span, all: readonly Match[]): Match | undefined {
  const sign = text.slice(sentence.start, sentence.end).search(/[=≈][^=≈]*\d[^=≈]*$/)
  if (sign === -1) return undefined
  const at = sentence.start + sign
  const end = at + (/,(?!\d{3})|;|$/.exec(text.slice(at, sentence.end))!.index as number)
  const right = all.filter(found => found.start > at && found.end <= end)
  const left = all.filter(found => found.end <= at)
  const later = all.filter(found => found.start >= end)
  if (runOf(text, right).length > 1) return left.length === 1 ? left[0]! : total(text, right)
  const goesOnWith = later.length > 0 && /^\W*(?:and )?(?:so|therefore|thus)\b/i.test(text.slice(end, later[0]!.start))
  return goesOnWith ? chosenOf(text, { start: end, end: sentence.end }, later) : right[0]
}

/** The members that pass, or all when none does. */
const keep = (all: readonly Match[], passes: (found: Match) => boolean): readonly Match[] => {
  const kept = all.filter(passes)
  return kept.length > 0 ? kept : all
}

/** `Step 3`, `day 5`, `the 3rd`: a name, not an amount. */
const isLabel = (before: string, after: string) =>
  /\b(?:step|day|week|month|year|page|question|problem|part|number|chapter|case|age|grade|room)(?: ?#)?$/i.test(before) ||
  /^(?:st|nd|rd|th)\b/i.test(after)

/** What a sentence says in passing: when, for what, out of what, of whom. */
const isInPassing = (before: string, after: string) =>
  !/\b(?:total|sum|cost|price|amount|average|rest|profit|maximum|minimum|most|least) of$/i.test(before) &&
  (/\b(?:in|after|for|per|of|from|by|every|within|over|at|on|with|under|during|than|if|since there are|when|among|between|and his|and her|the|these|those|all|to earn|to make|to reach|to buy|will take|who (?:has|had|is|was))$/i.test(
    before,
  ) ||
    /^ ?(?:of (?:them|these|those|which)|times as|years older|(?:\p{L}+ )?(?:each|later|ago|earlier))\b/iu.test(after))
