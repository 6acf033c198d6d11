import type { RowResult } from '../../evaluate/row-results.js'
import { type ExplorerRow, explorer } from './explorer.js'
import { number } from './figures.js'
import { html, type Markup, type Part } from './html.js'
import { saved } from './rows.js'

const mostRows = 2000
const longestText = 6000

/** Every row with the text that was generated, what was read out of it, and by which rule. */
export function answerTable(id: string, all: readonly RowResult[]): Markup {
  const rank = ({ error, rule, correct, score }: RowResult) =>
    error !== undefined ? 0 : rule === undefined ? 1 : correct === undefined ? 2 + score : correct ? 3 : 2
  const sorted = [...all].sort((a, b) => rank(a) - rank(b) || a.index - b.index)
  const shown = sorted.slice(0, mostRows)
  const rules = [...new Set(all.flatMap(({ rule }) => rule ?? []))]
  const filters = [
    { tag: 'wrong', name: 'wrong' },
    { tag: 'unread', name: 'no answer found' },
    { tag: 'failed', name: 'not scored' },
    { tag: 'budget', name: 'ended by the token budget' },
    { tag: 'right', name: 'right' },
    ...(rules.length > 1 ? rules.map((rule, i) => ({ tag: `rule${i}`, name: `by ${rule}` })) : []),
  ]
  const rows = shown.map((row): ExplorerRow => {
    const { index, rule, correct, error, finishReason } = row
    const tags = [
      ...(correct === undefined ? [] : [correct ? 'right' : 'wrong']),
      ...(rule === undefined ? ['unread'] : [`rule${rules.indexOf(rule)}`]),
      ...(error === undefined ? [] : ['failed']),
      ...(finishReason === 'length' ? ['budget'] : []),
    ]
    return {
      tags,
      cells: [
        { content: index + 1, kind: 'number' },
        { content: asked(row), kind: 'text' },
        { content: generated(row), kind: 'text' },
        { content: row.answer ?? '', kind: 'short' },
        { content: verdict(row), kind: 'short' },
      ],
    }
  })
  const cut =
    all.length > shown.length &&
    html`<p class="small quiet">${shown.length} of ${all.length} rows: those that went wrong first.</p>`
  const heads = ['row', 'question', 'generated, with what was read marked', 'right answer', 'read as']
  return html`${explorer({ id, heads, rows, filters, search: 'questions and answers', data: saved(all) })}${cut}`
}

function asked({ input, prompt }: RowResult): Part {
  const text = input ?? prompt ?? ''
  const whole =
    prompt !== undefined &&
    prompt !== text &&
    html`<details><summary>as it was asked</summary><pre>${prompt.slice(-longestText)}</pre></details>`
  return html`${text.slice(0, longestText)}${whole}`
}

function generated({ text = '', span, finishReason }: RowResult): Part {
  if (text === '') return html`<span class="quiet">nothing</span>`
  const [start, end] = span ?? [0, 0]
  const cut = text.slice(0, Math.max(longestText, end))
  const marked = end > start && html`<mark>${cut.slice(start, end)}</mark>`
  return html`${cut.slice(0, start)}${marked}${cut.slice(end)}${finishReason === 'length' && html` <span class="tag quiet">ended by the budget</span>`}`
}

function verdict({ extracted, rule, correct, score, error }: RowResult): Part {
  const tone = correct === undefined ? '' : correct ? 'right-text' : 'wrong-text'
  const sign = correct === undefined ? number(score) : correct ? '✓' : '✗'
  const read = extracted === undefined ? html`<span class="quiet">no answer found</span>` : extracted
  return html`<span class="${tone}">${sign}</span> ${read}${rule !== undefined && html`<br><span class="quiet small">${rule}</span>`}${error !== undefined && html`<br><span class="wrong-text small">${error}</span>`}`
}
