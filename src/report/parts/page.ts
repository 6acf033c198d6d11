import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type Verdict, verdictTexts } from '../../evaluate/verdict.js'
import { replaceText } from '../../store/atomic.js'
import type { Chart } from './charts.js'
import { html, inScript, type Markup, type Part, trusted } from './html.js'
import { chartScript, explorerScript, savingScript } from './scripts.js'
import { pageStyle } from './style.js'

export interface Section {
  /** Of its heading, for links. */
  readonly id: string
  readonly title: string
  readonly body: Part
}

export interface Page {
  readonly title: string
  /** What kind of thing this is, above the title. */
  readonly kind: string
  readonly lead?: Part
  /** What all of it comes to, in words. */
  readonly verdict?: Verdict | undefined
  /** The few figures that matter, at the top. */
  readonly tiles: readonly Tile[]
  readonly sections: readonly (Section | undefined)[]
  /** By the id of the element that each is drawn in. */
  readonly charts?: Readonly<Record<string, Chart>>
}

export interface Tile {
  readonly name: string
  readonly value: Part
  readonly note?: Part
  readonly kind?: 'main' | undefined
}

/** The script and the style sheet that draw curves. */
export interface Plotting {
  readonly script: string
  readonly style: string
}

/** Writes a page: one file that needs neither network nor server. */
export async function writePage(path: string, page: Page): Promise<void> {
  await replaceText(path, pageHtml(page, await plotting()))
}

/** uPlot, as it is installed. */
export async function plotting(): Promise<Plotting> {
  const require = createRequire(import.meta.url)
  const [script, style] = await Promise.all([
    readFile(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'),
    readFile(require.resolve('uplot/dist/uPlot.min.css'), 'utf8'),
  ])
  return { script, style }
}

/** What every page's head begins with. */
export const everyHead = html`<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">`

/** A page as text. Everything that comes from data is escaped, and nothing is ever loaded. */
export function pageHtml(page: Page, plotting: Plotting): string {
  const { title, charts = {} } = page
  const hasCharts = Object.keys(charts).length > 0
  return html`<!doctype html>
<html lang="en">
<head>
${everyHead}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>${title} · gradprompt</title>
<style>${hasCharts && trusted(plotting.style)}${trusted(pageStyle)}</style>
</head>
<body>
<a class="skip" href="#content">to the content</a>
${pageFrame(page)}
${hasCharts && html`<script>${trusted(plotting.script)}</script>\n<script>const charts = ${inScript(charts)}\n${trusted(chartScript)}</script>\n`}
<script>${trusted(explorerScript)}</script>
<script>${trusted(savingScript)}</script>
</body>
</html>
`.text
}

/** What a page shows, with the list of its sections beside it. */
export function pageFrame({ title, kind, lead, verdict, tiles, sections }: Page): Markup {
  const shown = sections.filter(section => section !== undefined)
  return html`<div class="frame">
<nav aria-label="sections"><ol>${shown.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ol></nav>
<main id="content">
<header>
<p class="kind">${kind}</p>
<h1>${title}</h1>
${lead !== undefined && html`<p class="lead">${lead}</p>`}
</header>
${verdict && html`<div class="verdict ${verdict.outcome.split(' ')[0]}"><b>${verdict.outcome}</b>${verdictTexts(verdict).map(text => html`<p>${text}.</p>`)}</div>`}
${tiles.length > 0 && html`<dl class="tiles">${tiles.map(tileMarkup)}</dl>`}
${shown.map(({ id, title, body }) => html`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>\n${body}</section>\n`)}
</main>
</div>`
}

const tileMarkup = ({ name, value, note, kind }: Tile): Markup =>
  html`<div${kind === 'main' && html` class="main"`}><dt>${name}</dt><dd>${value}${note !== undefined && html`<span class="note">${note}</span>`}</dd></div>`

/** A table that may be wider than the window, and then moves by itself. */
export const wide = (table: Markup): Markup => html`<div class="wide" tabindex="0">${table}</div>`
