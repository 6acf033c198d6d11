import type { MovedTokens, NearestToken } from '../../evaluate/nearest-tokens.js'
import { number } from './figures.js'
import { html, type Markup, tokenText } from './html.js'
import { wide } from './page.js'

/** What each vector of a soft prompt reads as, where it began, and how far it went. */
export function vectors(moved: readonly MovedTokens[]): Markup {
  const began = moved.some(({ start }) => start !== undefined)
  const tokens = (list: readonly NearestToken[]) =>
    html`<span class="tokens">${list.map(({ text, cosine }) => html`<span>${tokenText(text)} <span class="quiet">${cosine.toFixed(2)}</span></span>`)}</span>`
  const lines = moved.map(({ row, start, end, cosine }) => {
    const way =
      start !== undefined &&
      html`<td data-name="at first">${tokens(start.tokens)}</td><td class="number" data-name="cosine to it">${cosine!.toFixed(2)}</td>`
    const norm = start === undefined ? number(end.norm) : `${number(start.norm)} → ${number(end.norm)}`
    return html`<tr><td class="number" data-name="vector">${row + 1}</td>${way}<td data-name="at the end">${tokens(end.tokens)}</td><td class="number" data-name="norm">${norm}</td></tr>`
  })
  const heads = began
    ? html`<th>nearest tokens at first</th><th class="number">first · last</th><th>nearest tokens at the end</th><th class="number">norm</th>`
    : html`<th>nearest tokens</th><th class="number">norm</th>`
  return html`<p class="small quiet">The vocabulary's closest rows, with their cosine${began && ', for each vector where it began and where it ended; between them the cosine of both'}. A vector far from all words still has a closest one: look at the cosine.</p>
${wide(html`<table class="stacks"><thead><tr><th class="number">vector</th>${heads}</tr></thead><tbody>${lines}</tbody></table>`)}`
}
