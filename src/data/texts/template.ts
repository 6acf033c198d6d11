import { didYouMean, GradpromptError, listWord } from '../../errors.js'
import { columnValue, type DataRecord, headerHint, mayLackHeader, shorten } from '../readers/records.js'

// A type, not an interface: it then fits where a message may have further fields.
export type ChatMessage = {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

/** A message of a template; under the role `conversation` its content is one `{column}`, and that column's turns stand in its place. */
export type TemplateMessage = ChatMessage | { readonly role: 'conversation'; readonly content: string }

/** The text before the answer: one text, or chat messages that the model's own chat template joins. */
export type Template = string | readonly TemplateMessage[]

export interface CompiledTemplate {
  /** The columns it names, each once. */
  readonly columns: readonly string[]
  /** Its soft tokens, in their order. */
  readonly soft: readonly SoftPiece[]
  /**
   * Fills the placeholders in. Values go in as they are: a `{` in one is text. `index` counts from 0, for messages. `softTexts` stand
   * for the soft tokens; by default the words that they start from do.
   */
  render(record: DataRecord, index?: number, softTexts?: readonly string[]): string
}

/** `{soft:3}`: so many soft tokens; `{soft:"It was"}`: as many as the words have tokens. */
export interface SoftPiece {
  /** As the template writes it. */
  readonly text: string
  /** 0 where words say how many. */
  readonly count: number
  readonly words?: string
}

type Piece = { readonly text: string } | { readonly column: string } | { readonly soft: number }

/**
 * Compiles a template: `{column}` stands for a column's value, `{soft:3}` and `{soft:"It was"}` for soft tokens, `{{` and `}}` for braces.
 * @throws GradpromptError `invalid-template`; from `render`, `missing-column`
 */
export function compileTemplate(template: string): CompiledTemplate {
  const pieces: Piece[] = []
  const soft: SoftPiece[] = []
  let end = 0
  for (const { 0: found, 1: column, index } of template.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    if (index > end) pieces.push({ text: template.slice(end, index) })
    end = index + found.length
    if (found === '{{' || found === '}}') pieces.push({ text: found.slice(1) })
    else if (column?.startsWith('soft:')) {
      pieces.push({ soft: soft.length })
      soft.push(softPiece(found, column.slice('soft:'.length)))
    } else if (column !== undefined && column.trim() !== '') pieces.push({ column })
    else throw invalidTemplate(template, index, found)
  }
  pieces.push({ text: template.slice(end) })
  return {
    columns: [...new Set(pieces.flatMap(piece => ('column' in piece ? [piece.column] : [])))],
    soft,
    render: (record, index = 0, softTexts) =>
      pieces
        .map(piece => {
          if ('column' in piece) return columnValue(record, piece.column, index)
          return 'soft' in piece ? (softTexts?.[piece.soft] ?? soft[piece.soft]!.words ?? '') : piece.text
        })
        .join(''),
  }
}

/** @throws GradpromptError `invalid-template` */
function softPiece(text: string, inner: string): SoftPiece {
  if (/^[1-9]\d{0,4}$/.test(inner)) return { text, count: Number(inner) }
  const words = inner.startsWith('"') ? parsedText(inner) : undefined
  if (words !== undefined && words !== '') return { text, count: 0, words }
  throw new GradpromptError('invalid-template', 'a soft token of the template is not a number or a quoted text', {
    found: text,
    expected: '{soft:3}, or {soft:"words to start from"}',
  })
}

/** What a JSON string says; undefined when it is none. */
function parsedText(json: string): string | undefined {
  try {
    return String(JSON.parse(json))
  } catch {
    return undefined
  }
}

/** A text as a template that renders to it. */
export const escapeTemplate = (text: string) => text.replaceAll(/[{}]/g, '$&$&')

/**
 * A template with a plain instruction before it: a line of its own before a text, the system message (or the beginning of the one
 * that is there) before chat messages.
 */
export function prependInstruction(template: Template, instruction: string): Template {
  const escaped = escapeTemplate(instruction)
  if (typeof template === 'string') return `${escaped}\n${template}`
  const [first, ...rest] = template
  if (first?.role === 'system') return [{ role: 'system', content: `${escaped}\n${first.content}` }, ...rest]
  return [{ role: 'system', content: escaped }, ...template]
}

/**
 * Checks that the columns a template names are among those of a file.
 * @param hint what mends it, where a caller knows that
 * @throws GradpromptError `missing-column`, listing those that are there
 */
export function requireColumns(
  named: readonly string[],
  there: readonly string[],
  what: string,
  hint: (column: string) => string | undefined = () => undefined,
): void {
  for (const column of named) {
    if (there.includes(column)) continue
    throw new GradpromptError('missing-column', `${what} names a column that the data does not have`, {
      found: `{${column}}`,
      expected: `one of ${there.map(shorten).join(', ')}`,
      hint:
        hint(column) ??
        didYouMean(column, there, name => `{${name}}`) ??
        bracedHint(there) ??
        (mayLackHeader(what) ? `${headerHint}; {{ and }} are braces` : '{{ and }} are braces'),
    })
  }
}

/** Of columns that no template can name. */
function bracedHint(there: readonly string[]): string | undefined {
  const braced = there.find(name => /[{}]/.test(name))
  return braced === undefined ? undefined : `${bracesInName}: ${listWord([`name=${braced}`])} for ${shorten(braced)}`
}

const bracesInName =
  'a column with braces in its name takes another one: in the file, or by --columns of evaluate, predict and generate'

function invalidTemplate(template: string, index: number, found: string): GradpromptError {
  return new GradpromptError('invalid-template', `a placeholder of the template is not closed, not opened or empty`, {
    found: `${found} at character ${index + 1} of ${shorten(template)}`,
    expected: '{column}',
    hint: `write {{ and }} for braces; ${bracesInName}: name=column`,
  })
}
