import { downloads } from './explorer.js'
import { html, type Markup } from './html.js'

/** A curve, or the points of one. */
export interface Line {
  readonly label: string
  /** The colour, by its name in the style sheet. */
  readonly color: 'main' | 'soft' | 'control' | `series-${number}`
  readonly width?: number
  readonly points?: boolean
  /** Dashes. */
  readonly dashed?: boolean
}

/** What the script draws: lines over one axis of steps. */
export interface Chart {
  readonly x: string
  readonly lines: readonly Line[]
  /** `[x, line, line, …]`; null where a line has no value. */
  readonly data: readonly (readonly (number | null)[])[]
  /** Lines that a band is filled between, from 1. */
  readonly bands?: readonly (readonly [high: number, low: number])[]
  readonly percent?: boolean
}

/** Where a chart is drawn. `summary` says in words what it shows. */
export const chartPlace = (id: string, title: string, summary: string): Markup =>
  html`<figure class="chart"><figcaption>${title} ${downloads(id)}</figcaption><div id="${id}" class="plot" role="img" aria-label="${summary}"></div></figure>`

/** Several lines of points, each at steps of its own, over all of these steps together. */
export function overlaid(
  lines: readonly { readonly x: readonly number[]; readonly y: readonly (number | null)[] }[],
): (number | null)[][] {
  const steps = [...new Set(lines.flatMap(({ x }) => x))].sort((a, b) => a - b)
  const place = new Map(steps.map((step, i) => [step, i]))
  const columns = lines.map(({ x, y }) => {
    const column: (number | null)[] = steps.map(() => null)
    x.forEach((step, i) => {
      column[place.get(step)!] = y[i] ?? null
    })
    return column
  })
  return [steps, ...columns]
}
