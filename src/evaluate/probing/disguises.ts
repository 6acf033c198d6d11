/**
 * Ways to write the same text otherwise, so far from what a prompt has learned on that it may no longer take it for its task (conjugate
 * prompting, Kotha, Springer and Raghunathan 2024, arXiv 2309.10105). What a disguise writes, it reads back.
 */
export interface Disguise {
  /** The text in its writing; marks and spaces stay. */
  write(text: string): string
  /** What was written as `written`, as it was; words that were not written are left as they are. */
  read(text: string, written: string): string
}

const identity: Disguise = { write: text => text, read: text => text }

/** Digits and the letters that look like them change places, so that writing twice is reading. */
const leet = new Map([...['a4', 'e3', 'i1', 'o0', 's5', 't7']].flatMap(([letter, digit]) => [[letter!, digit!], [digit!, letter!]])) // biome-ignore format: pairs
const leetspeak: Disguise = {
  write: text => text.replace(/[aeiost013457]/g, character => leet.get(character)!),
  read: text => leetspeak.write(text),
}

/** The consonants that a word begins with go to its end, and "ay" behind them; behind a word that begins with a vowel "way". */
const pigLatin: Disguise = {
  write: text =>
    text.replace(/[A-Za-z]+/g, word => {
      const [, head, rest] = /^([^aeiouAEIOU]*)(.*)$/.exec(word)!
      return head === '' ? `${word}way` : `${rest}${head}ay`
    }),
  /** Which word a written one was hangs on the text: "ingstray" is "string" or "ringst". */
  read(text, original) {
    const words = new Map((original.match(/[A-Za-z]+/g) ?? []).map(word => [pigLatin.write(word), word]))
    return text.replace(/[A-Za-z]+/g, word => words.get(word) ?? word)
  },
}

export const disguises = { plain: identity, leetspeak, 'pig-latin': pigLatin } as const satisfies Record<string, Disguise>

export type DisguiseName = keyof typeof disguises
