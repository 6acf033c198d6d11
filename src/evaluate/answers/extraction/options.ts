import { type ExtractionRule, escapePattern, pick, spanOf, type Which, wordEnd } from './rule.js'

/** Lettered options of a question, by their letters or their words. */

/** The lettered options of a question: `(A) a quail`, one a line. */
export function optionsOf(question: string): { readonly letter: string; readonly text: string }[] {
  return [...question.matchAll(/^[ \t]*\(([A-Z])\)[ \t]*(.*)$/gm)].map(([, letter, text]) => ({
    letter: letter!,
    text: text!.trim(),
  }))
}

/** Whether a question offers a letter; one without options offers all. */
function offers(question: string): (letter: string) => boolean {
  const letters = new Set(optionsOf(question).map(({ letter }) => letter))
  return letter => letters.size === 0 || letters.has(letter)
}

export const optionLetter = (name: string, which: Which): ExtractionRule => ({
  name,
  description: `the ${which} letter in parentheses that is among the options`,
  find(text, question) {
    const isOffered = offers(question)
    return pick(text, /\(([A-Z])\)/dg, which, found =>
      isOffered(found[1]!) ? { value: found[0], ...spanOf(found, 0) } : undefined,
    )
  },
})

export const bareLetter: ExtractionRule = {
  name: 'bare-letter',
  description: 'a capital letter that the text begins with, followed by punctuation or nothing: "B." or "**B**"',
  find(text, question) {
    const found = /^[^\p{L}\p{N}(]*(?:(?:option|choice)\s+)?([A-Z])(?=[).:,;*\]"'`]|\s*$|\s*\n)/du.exec(text)
    if (found === null || !offers(question)(found[1]!)) return undefined
    return { value: `(${found[1]})`, ...spanOf(found, 1) }
  },
}

export const optionText: ExtractionRule = {
  name: 'option-text',
  description: "an option's own words, when those of exactly one option occur",
  find(text, question) {
    const options = optionsOf(question).filter(option => option.text !== '')
    if (options.length === 0) return undefined
    const byText = new Map(options.map(option => [option.text.toLowerCase(), option.letter]))
    if (byText.size < options.length) return undefined
    // The longest first: an option may be the beginning of another.
    const choices = [...byText.keys()].sort((a, b) => b.length - a.length).map(escapePattern)
    const pattern = new RegExp(`(?<![\\p{L}\\p{N}_])(?:${choices.join('|')})${wordEnd}`, 'dgiu')
    const found = [...text.matchAll(pattern)]
    const letters = new Set(found.map(match => byText.get(match[0].toLowerCase())))
    const [letter] = letters
    if (letters.size !== 1 || letter === undefined) return undefined
    return { value: `(${letter})`, ...spanOf(found[0]!, 0) }
  },
}
