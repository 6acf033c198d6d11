import { GradpromptError } from '../../errors.js'
import { isRecord } from '../../json.js'
import { valueOfText } from '../readers/json-text.js'
import type { DataNotice } from '../readers/reader.js'
import { columnValue, type DataRecord, originOf, shorten } from '../readers/records.js'
import { conversationTurns, isConversation } from './conversation.js'
import { compileMessages } from './rendering.js'
import { compileTemplate, type Template } from './template.js'

/**
 * What people preferred, as data have it: two answers to one text, of which they chose one and rejected the other, or single answers with
 * a thumb up or down. It says which columns hold these, and which rows cannot be used; what is learned from them is unknown here.
 */

/** Where a task has preferences. */
export interface Preferences {
  /** The answer that was not chosen, with `{column}` placeholders: rows are pairs. */
  readonly rejected?: string | undefined
  /** The column that says whether the answer was liked: rows are single answers. */
  readonly thumbs?: string | undefined
}

/** The columns that preference data usually have. */
export const usualColumns = { prompt: 'prompt', chosen: 'chosen', rejected: 'rejected', thumbs: 'label' } as const

/** The answer beside one that names the column `chosen`: the same with `rejected`. Undefined where it names no such column. */
export function rejectedBeside(answer: string): string | undefined {
  const placeholder = new RegExp(`(?<!\\{)\\{${usualColumns.chosen}(?=[.[}])`, 'g')
  return placeholder.test(answer) ? answer.replaceAll(placeholder, `{${usualColumns.rejected}`) : undefined
}

const [ups, downs] = [
  ['true', '1', 'up', 'yes'],
  ['false', '0', 'down', 'no'],
]

/** Whether people liked a record's answer. @throws GradpromptError `invalid-thumb`, `missing-column`, `null-value` */
export function isLiked(record: DataRecord, column: string, index: number): boolean {
  const value = columnValue(record, column, index)
  const word = value.trim().toLowerCase()
  if (ups!.includes(word)) return true
  if (downs!.includes(word)) return false
  throw new GradpromptError('invalid-thumb', `${originOf(record, index)} does not say whether its answer was liked`, {
    found: `${column}: ${shorten(value)}`,
    expected: `${ups!.join(', ')}; or ${downs!.join(', ')}`,
  })
}

interface Texts extends Preferences {
  readonly template: Template
  readonly answer: string
}

/**
 * The records that preferences can be learned from or scored on, and what is to be said of the others. Pairs whose sides are equal say
 * nothing and are left out.
 * @param path what messages call the file
 * @param both whether thumbs of one kind alone are refused
 * @throws GradpromptError `missing-side`, `mixed-formats`, `different-prompts`, `equal-sides` where no pair is left, `one-kind-of-thumbs`,
 *   `invalid-thumb`
 */
export function usablePreferences<Row extends DataRecord>(
  records: readonly Row[],
  texts: Texts,
  path: string,
  { both = false }: { readonly both?: boolean } = {},
): { readonly records: readonly Row[]; readonly notices: readonly DataNotice[] } {
  if (texts.thumbs !== undefined) {
    const { thumbs } = texts
    const liked = records.filter((record, i) => isLiked(record, thumbs, i)).length
    if (both && (liked === 0 || liked === records.length)) throw oneKind(path, thumbs, liked > 0, records.length)
    return { records, notices: [] }
  }
  if (texts.rejected === undefined) return { records, notices: [] }
  const sides = [texts.answer, texts.rejected].map(text => compileTemplate(text))
  const { conversations } = compileMessages(texts.template)
  const equal: string[] = []
  const usable = records.filter((record, i) => {
    requireSides(
      record,
      i,
      sides.map(({ columns }) => columns),
    )
    requireOnePrompt(
      record,
      i,
      sides.map(({ columns }) => columns),
      conversations,
    )
    const [chosen, rejected] = sides.map(side => side.render(record, i))
    if (chosen !== rejected) return true
    equal.push(originOf(record, i))
    return false
  })
  if (records.length > 0 && usable.length === 0) throw equalSides(path, texts, records.length)
  if (equal.length === 0) return { records: usable, notices: [] }
  const shown = `${equal.slice(0, 3).join(', ')}${equal.length > 3 ? ', …' : ''}`
  return {
    records: usable,
    notices: [
      {
        code: 'equal-sides',
        message: `${equal.length} of ${records.length} pairs in ${path} have equal sides, which say nothing: left out (${shown})`,
      },
    ],
  }
}

/** Both answers are there, and both are texts or both conversations. */
function requireSides(record: DataRecord, index: number, sides: readonly (readonly string[])[]): void {
  const heads = sides.map(columns => columns.map(headOf).find(head => Object.hasOwn(record, head)))
  const kinds = heads.map(head => head !== undefined && isConversation(valueOfText(record[head]!)))
  if (heads.every(head => head !== undefined) && kinds[0] !== kinds[1])
    throw new GradpromptError(
      'mixed-formats',
      `${originOf(record, index)} has a text on one side and a conversation on the other`,
      {
        found: heads.map((head, i) => `${head}: ${kinds[i] ? 'a conversation' : 'a text'}`).join(', '),
        expected: 'two texts, or two lists of turns',
      },
    )
  for (const columns of sides)
    for (const column of columns) {
      const head = headOf(column)
      const isPath = column !== head && Object.hasOwn(record, head)
      if (
        isPath &&
        !Object.hasOwn(record, column) &&
        !isRecord(valueOfText(record[head]!)) &&
        !record[head]!.trimStart().startsWith('[')
      )
        throw new GradpromptError('mixed-formats', `${originOf(record, index)} has a text where other rows have conversations`, {
          found: `${head}: ${shorten(record[head]!)}`,
          expected: 'a list of turns in every row, or a text in every row',
        })
      if (columnValue(record, column, index).trim() === '')
        throw new GradpromptError('missing-side', `${originOf(record, index)} has an empty answer`, {
          found: `${column}: ${shorten(columnValue(record, column, index))}`,
          expected: 'two answers that differ',
          hint: 'fill it in, or drop the row',
        })
    }
}

/** Two conversations are a pair when they differ in their last turn alone. */
function requireOnePrompt(
  record: DataRecord,
  index: number,
  sides: readonly (readonly string[])[],
  conversations: readonly string[],
): void {
  const heads = sides.map(columns => columns.map(headOf)[0]!)
  if (!conversations.some(column => heads.includes(column))) return
  const origin = originOf(record, index)
  const prompts = heads.map(head =>
    Object.hasOwn(record, head) && isConversation(valueOfText(record[head]!))
      ? conversationTurns(record[head]!, origin)
      : undefined,
  )
  const [first, second] = prompts.map(turns => JSON.stringify(turns))
  if (first === second || second === undefined || first === undefined) return
  const turn = prompts[0]!.findIndex((one, i) => JSON.stringify(one) !== JSON.stringify(prompts[1]![i]))
  throw new GradpromptError('different-prompts', `${origin} has two conversations that differ before their last turn`, {
    found: `turn ${(turn < 0 ? prompts[0]!.length : turn) + 1} of ${heads.join(' and ')}`,
    expected: 'two answers to the same turns',
  })
}

const headOf = (column: string) => /^[^.[]+/.exec(column)?.[0] ?? column

const equalSides = (path: string, { answer, rejected }: Texts, rows: number) =>
  new GradpromptError('equal-sides', `${path} has no pair whose sides differ`, {
    found: `${rows} ${rows === 1 ? 'row' : 'rows'} in which ${shorten(answer)} and ${shorten(rejected!)} are the same text`,
    expected: 'answers that differ',
    hint: 'name the columns of both: answer, and rejected',
  })

const oneKind = (path: string, column: string, liked: boolean, rows: number) =>
  new GradpromptError('one-kind-of-thumbs', `${path} has ${liked ? 'liked' : 'disliked'} answers alone`, {
    found: `${column}: ${liked ? 'up' : 'down'} in all ${rows} ${rows === 1 ? 'row' : 'rows'}`,
    expected: 'thumbs of both kinds',
    hint: liked ? 'liked answers alone are learned without a loss over preferences' : 'add answers that people liked',
  })
