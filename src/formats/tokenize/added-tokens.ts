/**
 * Finds added tokens in a text, before and after it is normalised, as the Rust `tokenizers` does: at every place the longest one, from
 * left to right, each with the white space it takes and only where its conditions hold.
 */
import type { AddedToken } from './definition.js'

/** A stretch of the text: an added token, or what stands between two. */
export type Section = { readonly id: number } | { readonly text: string; readonly start: number }

/** A tree of characters (units of UTF-16). */
interface Node {
  token: AddedToken | undefined
  children: Map<number, Node> | undefined
}

export class AddedTokenFinder {
  readonly #root: Node = { token: undefined, children: undefined }
  #count = 0

  /** `spell`: how the token reads in the texts that will be searched. */
  constructor(tokens: readonly AddedToken[], spell: (content: string) => string) {
    for (const token of tokens) {
      const content = spell(token.content)
      if (content === '') continue
      let node = this.#root
      for (let i = 0; i < content.length; i++) {
        node.children ??= new Map()
        const code = content.charCodeAt(i)
        let child = node.children.get(code)
        if (child === undefined) {
          child = { token: undefined, children: undefined }
          node.children.set(code, child)
        }
        node = child
      }
      // Of tokens that read alike the last is found.
      node.token = token
      this.#count++
    }
  }

  split(text: string): readonly Section[] {
    if (this.#count === 0) return text === '' ? [] : [{ text, start: 0 }]
    const sections: Section[] = []
    let open = 0
    for (let at = 0; at < text.length; ) {
      const found = this.#longest(text, at)
      if (found === undefined) {
        at++
        continue
      }
      const { token, end } = found
      const begin = at
      at = end
      if (token.single_word === true && (endsWithWord(text, begin) || startsWithWord(text, end))) continue
      const start = token.lstrip === true ? Math.max(open, spaceBefore(text, begin, open)) : begin
      const stop = token.rstrip === true ? spaceAfter(text, end) : end
      if (open < start) sections.push({ text: text.slice(open, start), start: open })
      sections.push({ id: token.id })
      open = stop
    }
    if (open < text.length) sections.push({ text: text.slice(open), start: open })
    return sections
  }

  #longest(text: string, at: number): { token: AddedToken; end: number } | undefined {
    let node: Node | undefined = this.#root
    let best: { token: AddedToken; end: number } | undefined
    for (let i = at; i < text.length; i++) {
      node = node.children?.get(text.charCodeAt(i))
      if (node === undefined) break
      if (node.token !== undefined) best = { token: node.token, end: i + 1 }
    }
    return best
  }
}

const word = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u
const whiteSpace = /\p{White_Space}/u

function startsWithWord(text: string, at: number): boolean {
  return at < text.length && word.test(String.fromCodePoint(text.codePointAt(at)!))
}

function endsWithWord(text: string, at: number): boolean {
  if (at === 0) return false
  const low = text.charCodeAt(at - 1)
  const pair = low >= 0xdc00 && low < 0xe000 && at > 1
  return word.test(pair ? String.fromCodePoint(text.codePointAt(at - 2)!) : text[at - 1]!)
}

function spaceBefore(text: string, at: number, least: number): number {
  let start = at
  while (start > least && whiteSpace.test(text[start - 1]!)) start--
  return start
}

function spaceAfter(text: string, at: number): number {
  let end = at
  while (end < text.length && whiteSpace.test(text[end]!)) end++
  return end
}
