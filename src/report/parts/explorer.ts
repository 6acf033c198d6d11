import { html, type Markup, type Part } from './html.js'

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
}

/** A table of rows with buttons that choose among them, and a field that searches them. */
export function explorer({ id, heads, rows, filters, chosen = '', search }: ExplorerOptions): Markup {
  const counted = filters.map(filter => ({ ...filter, count: rows.filter(({ tags }) => tags.includes(filter.tag)).length }))
  const there = counted.filter(({ count }) => count > 0)
  const first = there.some(({ tag }) => tag === chosen) ? chosen : ''
  const button = ({ tag, name, count }: Filter & { readonly count: number }) =>
    html`<button type="button" data-tag="${tag}" aria-pressed="${tag === first ? 'true' : 'false'}">${name} <span>${count}</span></button>`
  const cell = ({ content, kind }: Cell, i: number) =>
    html`<td${kind !== undefined && html` class="${kind}"`} data-name="${heads[i]!}">${content}</td>`
  return html`<div class="explorer" id="${id}">
<div class="controls" role="group" aria-label="which rows are shown">${button({ tag: '', name: 'all', count: rows.length })}${there.map(button)}<button type="button" class="clear" hidden></button>
<label><span class="visually-hidden">search ${search}</span><input type="search" placeholder="search ${search}"></label><output aria-live="polite"></output></div>
<div class="wide" tabindex="0"><table class="stacks"><thead><tr>${heads.map((head, i) => html`<th${rows[0]?.cells[i]?.kind === 'number' && html` class="number"`}>${head}</th>`)}</tr></thead>
<tbody>${rows.map(({ tags, cells }) => html`<tr data-tags="${tags.join(' ')}">${cells.map(cell)}</tr>\n`)}</tbody></table>
<button type="button" class="more" hidden>show more</button></div></div>`
}
