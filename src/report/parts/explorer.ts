import { html, inScript, type Markup, type Part } from './html.js'

/** A set of rows that can be chosen. */
export interface Filter {
  readonly tag: string
  readonly name: string
}

export interface ExplorerRow {
  /** By which filters it is shown: words without spaces. */
  readonly tags: readonly string[]
  readonly cells: readonly Cell[]
}

export interface Cell {
  readonly content: Part
  readonly kind?: 'text' | 'short' | 'number' | undefined
  /** By what a column is sorted, where that is not the text. */
  readonly sort?: string | number | undefined
}

export interface ExplorerOptions {
  readonly id: string
  readonly heads: readonly string[]
  readonly rows: readonly ExplorerRow[]
  readonly filters: readonly Filter[]
  /** The filter that is on at first. */
  readonly chosen?: string
  /** What the search field looks for, such as `text or label`. */
  readonly search: string
  /** Whether a head sorts by its column. */
  readonly sorts?: boolean
  /** The rows as they are downloaded: values by the names of their columns. */
  readonly data?: readonly Readonly<Record<string, unknown>>[] | undefined
}

/** Rows that are shown at once. The others are there, and hidden from the first moment on: a browser would otherwise lay out thousands only to hide them. */
export const rowsAtOnce = 100

/** Buttons that save rows, which stand as JSON in the element of an id, or the curve of one. */
export const downloads = (id: string): Markup =>
  html`<span class="downloads">${['csv', 'json'].map(kind => html`<button type="button" data-save="${id}" data-kind="${kind}" aria-label="save as ${kind.toUpperCase()}">${kind.toUpperCase()}</button>`)}</span>`

/** A table of rows with buttons that choose among them, and a field that searches them. */
export function explorer({ id, heads, rows, filters, chosen = '', search, sorts = false, data = [] }: ExplorerOptions): Markup {
  const counted = filters.map(filter => ({ ...filter, count: rows.filter(({ tags }) => tags.includes(filter.tag)).length }))
  const there = counted.filter(({ count }) => count > 0)
  const first = there.some(({ tag }) => tag === chosen) ? chosen : ''
  const button = ({ tag, name, count }: Filter & { readonly count: number }) =>
    html`<button type="button" data-tag="${tag}" aria-pressed="${tag === first ? 'true' : 'false'}">${name} <span>${count}</span></button>`
  const cell = ({ content, kind, sort }: Cell, i: number) =>
    html`<td${kind !== undefined && html` class="${kind}"`}${sort !== undefined && html` data-sort="${sort}"`} data-name="${heads[i]!}">${content}</td>`
  let shown = 0
  const line = ({ tags, cells }: ExplorerRow) => {
    const isShown = (first === '' || tags.includes(first)) && shown++ < rowsAtOnce
    return html`<tr data-tags="${tags.join(' ')}"${!isShown && html` hidden`}>${cells.map(cell)}</tr>\n`
  }
  const whole = html`<noscript><style>.explorer tr[hidden] { display: table-row !important }</style></noscript>`
  return html`<div class="explorer" id="${id}">${rows.length > rowsAtOnce && whole}
<div class="controls" role="group" aria-label="which rows are shown">${button({ tag: '', name: 'all', count: rows.length })}${there.map(button)}<button type="button" class="clear" hidden></button>
<label><span class="visually-hidden">search ${search}</span><input type="search" placeholder="search ${search}"></label>${data.length > 0 && downloads(`${id}-data`)}<output aria-live="polite"></output></div>
<div class="wide" tabindex="0"><table class="stacks"><thead><tr>${heads.map((head, i) => html`<th${rows[0]?.cells[i]?.kind === 'number' && html` class="number"`}>${sorts ? html`<button type="button" class="sort">${head}</button>` : head}</th>`)}</tr></thead>
<tbody>${rows.map(line)}</tbody></table>
<button type="button" class="more" hidden>show more</button></div>${data.length > 0 && html`<script type="application/json" id="${id}-data">${inScript(data)}</script>`}</div>`
}
