import { html, type Markup } from '../parts/html.js'
import { wide } from '../parts/page.js'

/** Parallel coordinates: an axis for each option, a line for each trial across all of them, the better the stronger. */

const [width, height, margin] = [150, 260, 34]

export interface ParallelLine {
  readonly name: string
  readonly values: readonly unknown[]
}

/** @param lower whether less is better on the last axis */
export function parallelCoordinates(axes: readonly string[], lines: readonly ParallelLine[], lower: boolean): Markup {
  const scales = axes.map((_, i) => scaleOf(lines.map(({ values }) => values[i])))
  const x = (i: number) => 70 + i * width
  const y = (place: number) => margin + (1 - place) * (height - 2 * margin)
  const good = ({ values }: ParallelLine) => {
    const place = scales.at(-1)!.place(values.at(-1)) ?? 0
    return lower ? 1 - place : place
  }
  const drawn = [...lines]
    .sort((a, b) => good(a) - good(b))
    .map(line => {
      const points = line.values.flatMap((value, i) => {
        const place = scales[i]!.place(value)
        return place === undefined ? [] : [`${x(i)},${y(place).toFixed(1)}`]
      })
      const share = good(line)
      return html`<polyline points="${points.join(' ')}" fill="none" stroke="var(--main)" stroke-width="${(0.75 + 1.75 * share ** 4).toFixed(2)}" stroke-opacity="${(0.12 + 0.8 * share ** 3).toFixed(3)}"><title>${line.name}</title></polyline>`
    })
  const axis = (name: string, i: number) =>
    html`<line x1="${x(i)}" x2="${x(i)}" y1="${margin}" y2="${height - margin}" stroke="var(--line)"/><text x="${x(i)}" y="16" text-anchor="middle" fill="var(--ink)">${name.split('.').at(-1)}</text>${scales[i]!.marks.map(({ text, place }) => html`<text x="${x(i) - 6}" y="${(y(place) + 4).toFixed(1)}" text-anchor="end" fill="var(--quiet)">${text}</text>`)}`
  const full = 110 + (axes.length - 1) * width
  const summary = `${lines.length} trials over ${axes.join(', ')}; the stronger a line, the better the trial`
  return html`${wide(html`<svg role="img" aria-label="${summary}" width="${full}" height="${height}" viewBox="0 0 ${full} ${height}" font-size="12">${axes.map(axis)}${drawn}</svg>`)}<p class="small quiet">A line is a trial: the stronger, the better.</p>`
}

interface Scale {
  /** From 0 to 1; undefined where a trial has no value. */
  place(value: unknown): number | undefined
  readonly marks: readonly { readonly text: string; readonly place: number }[]
}

/** Numbers over more than a factor of 20 stand as logarithms; what are no numbers, as places of a list. */
function scaleOf(values: readonly unknown[]): Scale {
  const there = values.filter(value => value !== undefined)
  const text = (value: unknown) => {
    const whole =
      typeof value === 'string' ? value : typeof value === 'number' ? String(Number(value.toPrecision(3))) : JSON.stringify(value)
    return whole.length > 12 ? `${whole.slice(0, 11)}…` : whole
  }
  if (there.length > 0 && there.every(value => typeof value === 'number' && Number.isFinite(value))) {
    const numbers = there as number[]
    const [low, high] = [numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b))]
    const isLog = low > 0 && high / low > 20
    const scale = (value: number) => (isLog ? Math.log(value) : value)
    const range = scale(high) - scale(low) || 1
    const middle = isLog ? Math.sqrt(low * high) : (low + high) / 2
    const place = (value: unknown) =>
      typeof value === 'number' ? (low === high ? 0.5 : (scale(value) - scale(low)) / range) : undefined
    return {
      place,
      marks: (low === high ? [low] : [low, middle, high]).map(value => ({ text: text(value), place: place(value)! })),
    }
  }
  const distinct = [...new Set(there.map(value => JSON.stringify(value)))].sort()
  const place = (value: unknown) =>
    value === undefined
      ? undefined
      : distinct.length === 1
        ? 0.5
        : distinct.indexOf(JSON.stringify(value)) / (distinct.length - 1)
  return { place, marks: distinct.slice(0, 12).map(json => ({ text: text(JSON.parse(json)), place: place(JSON.parse(json))! })) }
}
