/** A piece of a page: text that is markup, and so already safe. */
export class Markup {
  constructor(readonly text: string) {}
}

export type Part = Markup | string | number | undefined | false | null | readonly Part[]

/** Markup with parts in it: whatever is not markup itself is escaped; `undefined`, `null` and `false` come to nothing. */
export const html = (strings: TemplateStringsArray, ...parts: readonly Part[]): Markup =>
  new Markup(strings.map((text, i) => text + (i < parts.length ? escaped(parts[i]!) : '')).join(''))

/** What this program itself has written: style sheets, scripts. Never anything from data. */
export const trusted = (text: string): Markup => new Markup(text)

function escaped(part: Part): string {
  if (part === undefined || part === null || part === false) return ''
  if (part instanceof Markup) return part.text
  if (Array.isArray(part)) return part.map(escaped).join('')
  return escapeText(String(part))
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

export const escapeText = (text: string): string => text.replace(/[&<>"']/g, character => entities[character]!)

/** A token as people can tell it from others: line breaks escaped, a space at its beginning as a dot. */
export function tokenText(text: string): Markup {
  const [, spaces, rest] = /^( *)(.*)$/s.exec(JSON.stringify(text).slice(1, -1))!
  return html`<span class="token">${spaces !== '' && html`<span class="space">${'·'.repeat(spaces!.length)}</span>`}${rest}</span>`
}

/** JSON that can stand in a script element. */
export const inScript = (value: unknown): Markup =>
  trusted(
    JSON.stringify(value).replace(
      /[<>\u2028\u2029]/g,
      character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    ),
  )
