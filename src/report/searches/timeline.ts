import type { SearchStepEvent } from '../../search/run/events.js'
import { count, number } from '../parts/figures.js'
import { html, type Markup } from '../parts/html.js'

/** How the best prompt of a search came to be: every time that it changed, what went and what came, word by word. */

/** More changes than this make a page slow; the last say most. */
const mostChanges = 200
/** Of two texts, in words times words: beyond it they are shown whole. */
const mostCells = 1_000_000

/** @param first the prompt that the search began with */
export function promptTimeline(first: string | undefined, steps: readonly SearchStepEvent[]): Markup | undefined {
  let last = first
  const changes = steps.flatMap(({ step, best }) => {
    if (best.prompt === last) return []
    const change = { step, objective: best.objective, before: last ?? '', after: best.prompt }
    last = best.prompt
    return [change]
  })
  if (changes.length === 0) return undefined
  const shown = changes.slice(-mostChanges)
  const cut = changes.length - shown.length
  return html`${cut > 0 && html`<p class="small quiet">${count(cut)} earlier changes are left out.</p>`}<ol class="timeline">${shown.map(
    ({ step, objective, before, after }) =>
      html`<li><span class="quiet small">step ${count(step)}, loss ${number(objective)}</span><div class="prompt">${difference(before, after)}</div></li>`,
  )}</ol>`
}

/** A text as it came of another: what went is struck out, what came is marked. */
export function difference(before: string, after: string): Markup {
  const [a, b] = [wordsOf(before), wordsOf(after)]
  if (before === '' || a.length * b.length > mostCells) return html`${after}`
  const parts: { kind: 'same' | 'del' | 'ins'; text: string }[] = []
  const add = (kind: 'same' | 'del' | 'ins', text: string) => {
    const end = parts.at(-1)
    if (end?.kind === kind) end.text += text
    else parts.push({ kind, text })
  }
  const lengths = commonLengths(a, b)
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add('same', a[i]!)
      i++
      j++
    } else if (j >= b.length || (i < a.length && lengths[i + 1]![j]! >= lengths[i]![j + 1]!)) add('del', a[i++]!)
    else add('ins', b[j++]!)
  }
  return html`${parts.map(({ kind, text }) => (kind === 'same' ? text : kind === 'del' ? html`<del>${text}</del>` : html`<ins>${text}</ins>`))}`
}

/** Words with the white space behind them. */
const wordsOf = (text: string): string[] => text.match(/^\s+|\S+\s*/g) ?? []

/** `[i][j]`: how many words the rests of both texts from there have in common, in order. */
function commonLengths(a: readonly string[], b: readonly string[]): Uint32Array[] {
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1))
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i]![j] = a[i] === b[j] ? lengths[i + 1]![j + 1]! + 1 : Math.max(lengths[i + 1]![j]!, lengths[i]![j + 1]!)
  return lengths
}
