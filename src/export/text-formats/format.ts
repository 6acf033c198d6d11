import { compileTemplate, type Template } from '../../data/texts/template.js'

/** What is written: words and the text around them. */
export interface Words {
  readonly found: {
    readonly prompt: string
    /** Null: nothing is promised of words of a private search. */
    readonly privacy?: Readonly<Record<string, number>> | null | undefined
    readonly config: { readonly model: string; readonly search?: { readonly type: string } | undefined }
  }
  /** With the words in their place. */
  readonly template: Template
  readonly answer: string
  readonly labels: readonly string[] | undefined
  readonly rows: readonly { readonly values: Readonly<Record<string, string>>; readonly answer: string }[]
}

/** One more file beside found words, for one tool: what is written, and how that tool takes it. */
export interface TextFormat {
  /** The file's name. */
  readonly file: string
  /** How it is used: Markdown. */
  readonly usage: string
  /** @returns undefined where the tool has no place for what this text needs */
  content(words: Words): string | undefined
}

/** Chat messages without a column of turns, which few tools have a place for. */
export type PlainMessage = { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }

export const isText = (template: Template): template is string => typeof template === 'string'

/** The messages of a chat template; undefined: one of them stands for a column's turns. */
export const plainMessages = (template: Exclude<Template, string>): readonly PlainMessage[] | undefined => {
  const plain = template.flatMap(({ role, content }) => (role === 'conversation' ? [] : [{ role, content }]))
  return plain.length === template.length ? plain : undefined
}

export const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`

/**
 * A template with other marks around its columns.
 * @param literal what becomes of the text between them, whose braces are single here
 */
export function marked(
  template: string,
  mark: (column: string) => string,
  literal: (text: string) => string = text => text,
): string {
  const pieces: string[] = []
  let between = ''
  const end = () => {
    if (between !== '') pieces.push(literal(between))
    between = ''
  }
  for (const [found, column] of template.matchAll(/\{\{|\}\}|\{([^{}]+)\}|[^{}]+/g)) {
    if (column === undefined) between += found === '{{' || found === '}}' ? found[0]! : found
    else {
      end()
      pieces.push(mark(column))
    }
  }
  end()
  return pieces.join('')
}

/** The columns that a template names. */
export const columnsOf = (template: Template): string[] => [
  ...new Set(
    (isText(template) ? [template] : template.map(({ content }) => content)).flatMap(text => [...compileTemplate(text).columns]),
  ),
]

/** Names that other languages have for a value. */
export const isIdentifier = (name: string): boolean => /^[A-Za-z_]\w*$/.test(name)
