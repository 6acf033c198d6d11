import type { Chart } from '../../report/parts/charts.js'
import { html, inScript, type Markup } from '../../report/parts/html.js'
import { everyHead, type Page, pageFrame } from '../../report/parts/page.js'

/** What stands around every page: where one can go, and the scripts, which are files of their own so that no text of a page can be one. */

const links = [
  ['/', 'Runs'],
  ['/new', 'New'],
  ['/data', 'Data'],
  ['/speak', 'Playground'],
] as const

export interface Framed {
  readonly page: Page
  /** The address among `links` that this page belongs to. */
  readonly at: string
  /** What the page's own script does: `data-page` of the body. */
  readonly script: string
  /** What that script is told. */
  readonly about?: unknown
}

export function framed({ page, at, script, about = {} }: Framed): string {
  return html`<!doctype html>
<html lang="en">
<head>
${everyHead}
<link rel="icon" href="data:,">
<title>${page.title} · gradprompt</title>
<link rel="stylesheet" href="/assets/ui.css">
</head>
<body data-page="${script}">
<a class="skip" href="#content">to the content</a>
<div class="top" role="navigation" aria-label="gradprompt"><b>gradprompt</b>${links.map(([href, name]) => html`<a href="${href}"${href === at && html` aria-current="page"`}>${name}</a>`)}<span id="connection" role="status"></span></div>
${content(page)}
<script type="application/json" id="about">${inScript(about)}</script>
<script src="/assets/ui.js"></script>
</body>
</html>
`.text
}

/** A page and its curves: what is put anew into a page that is open. */
export const content = (page: Page): Markup =>
  html`<div id="page">${pageFrame(page)}<script type="application/json" id="charts">${inScript((page.charts ?? {}) satisfies Readonly<Record<string, Chart>>)}</script></div>`

/** A page that says what went wrong. */
export const problemPage = (title: string, message: string): Page => ({
  kind: 'gradprompt ui',
  title,
  lead: message,
  tiles: [],
  sections: [],
})
