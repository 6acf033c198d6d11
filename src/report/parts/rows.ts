import type { RowResult } from '../../evaluate/row-results.js'
import { cellTags } from './confusion.js'
import { type Cell, type ExplorerRow, explorer, type Filter } from './explorer.js'
import { number } from './figures.js'
import { html, type Markup, type Part } from './html.js'

/** More rows than this make a page slow; those that say most are kept. */
const mostRows = 2000
const longestText = 4000
const mostSaved = 10_000

export interface RowsOptions {
  readonly id: string
  readonly after: readonly RowResult[]
  /** The same rows in the condition that it is compared with; empty when there is none. */
  readonly before: readonly RowResult[]
  readonly names: { readonly before: string; readonly after: string }
  readonly labels?: readonly string[] | undefined
}

/** Every row with what was predicted, those that are wrong or changed sides first. */
export function rowTable({ id, after, before, names, labels }: RowsOptions): Markup {
  const others = new Map(before.map(row => [row.index, row]))
  const isClassified = after.some(({ correct }) => correct !== undefined)
  const all = after.map(row => ({ row, other: others.get(row.index), tags: tagsOf(row, others.get(row.index), labels) }))
  const surprise = ({ row, other }: (typeof all)[number]) =>
    isClassified ? (row.correct ? -1 : 1) * (row.confidence ?? 0.5) : other === undefined ? row.score : row.score - other.score
  const changed = ({ tags }: (typeof all)[number]) => Number(tags.includes('gained') || tags.includes('lost'))
  // Of right and wrong the surest wrong ones, then what changed sides; of likelihoods what lost most.
  all.sort((a, b) =>
    isClassified
      ? Number(a.row.correct) - Number(b.row.correct) || changed(b) - changed(a) || surprise(b) - surprise(a)
      : surprise(a) - surprise(b),
  )
  const shown = all.slice(0, mostRows)
  const hasOthers = before.length > 0
  const filters: Filter[] = [
    { tag: 'wrong', name: 'wrong' },
    { tag: 'gained', name: 'gained' },
    { tag: 'lost', name: 'lost' },
    { tag: 'both', name: 'wrong in both' },
    { tag: 'right', name: 'right' },
  ]
  const verdict = isClassified ? classified : likelihood
  const heads = ['text', isClassified ? 'label' : 'answer', names.after, ...(hasOthers ? [names.before] : [])]
  const rows = shown.map(({ row, other, tags }): ExplorerRow => {
    const cells: Cell[] = [
      { content: (row.input ?? `row ${row.index + 1}`).slice(0, longestText), kind: 'text' },
      { content: row.tokens === undefined ? (row.answer ?? '') : weighed(row.tokens), kind: 'short' },
      { content: verdict(row, other), kind: 'short' },
      ...(hasOthers ? [{ content: other === undefined ? '' : verdict(other), kind: 'short' as const }] : []),
    ]
    return { tags, cells }
  })
  const cut =
    all.length > shown.length &&
    html`<p class="small quiet">Of ${all.length} rows the ${shown.length} that are wrong or changed most.</p>`
  const data = saved(
    all.map(({ row }) => row),
    others,
  )
  return html`${explorer({ id, heads, rows, filters, chosen: 'wrong', search: 'texts and labels', data })}${cut}`
}

/** Rows as they are downloaded, in the order of the data; more than a page can hold are left to the run's own files. */
export function saved(
  rows: readonly RowResult[],
  others: ReadonlyMap<number, RowResult> = new Map(),
): Readonly<Record<string, unknown>>[] {
  return [...rows]
    .sort((a, b) => a.index - b.index)
    .slice(0, mostSaved)
    .map(({ index, input, answer, extracted, text, correct, score, confidence }) => {
      const other = others.get(index)
      const before = other && { before: other.extracted ?? other.text, beforeCorrect: other.correct, beforeScore: other.score }
      return { row: index + 1, text: input, answer, predicted: extracted, generated: text, correct, score, confidence, ...before }
    })
}

function tagsOf(row: RowResult, other: RowResult | undefined, labels: readonly string[] | undefined): string[] {
  if (row.correct === undefined) return []
  const tags = [row.correct ? 'right' : 'wrong']
  if (other?.correct !== undefined) {
    if (row.correct && !other.correct) tags.push('gained')
    if (!row.correct && other.correct) tags.push('lost')
    if (!row.correct && !other.correct) tags.push('both')
  }
  const [target, predicted] = [row.answer, row.extracted].map(label => labels?.indexOf(label ?? '') ?? -1)
  if (target! >= 0 && predicted! >= 0) tags.push(...cellTags(target!, predicted!))
  return tags
}

function classified({ extracted, correct, confidence }: RowResult, other?: RowResult): Part {
  const change = other?.correct === undefined || other.correct === correct ? undefined : correct ? 'gained' : 'lost'
  return html`<span class="${correct ? 'right-text' : 'wrong-text'}">${correct ? '✓' : '✗'}\u00a0${extracted ?? (correct ? 'right' : 'wrong')}</span>${change && html` <span class="tag ${correct ? 'right-text' : 'wrong-text'}">${change}</span>`}${confidence !== undefined && html`<br><span class="quiet small sure"><span class="share" style="--share:${confidence.toFixed(3)}"></span>${Math.round(100 * confidence)} %</span>`}`
}

/** An answer token by token: the less likely one is, the more it is marked. */
const weighed = (tokens: NonNullable<RowResult['tokens']>): Part =>
  tokens.map(
    ({ token, logProbability }) =>
      html`<span class="weighed" style="--doubt:${(1 - Math.exp(logProbability)).toFixed(3)}" title="${Math.exp(logProbability).toPrecision(3)}">${token}</span>`,
  )

function likelihood({ score }: RowResult, other?: RowResult): Part {
  const difference = other && score - other.score
  return html`${number(score)} nats${difference !== undefined && html` <span class="${difference >= 0 ? 'right-text' : 'wrong-text'} small">${difference >= 0 && '+'}${number(difference)}</span>`}`
}
