import type { MetricValue } from '../../evaluate/intervals.js'
import { html, type Markup } from './html.js'
import { shares } from './presentation.js'

/** How the values of a figure are written, and where an axis for it would end. */
export interface Scale {
  readonly format: (value: number) => string
  readonly from: number
  readonly to: number
}

const compact = (value: number): string => {
  if (!Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(2)
  return size >= 100 ? value.toFixed(1) : size >= 10 ? value.toFixed(2) : value.toFixed(3)
}

export const percent = (value: number): string => `${(100 * value).toFixed(1)} %`

/** Shares on an axis from 0 to 100 %, anything else on one that holds all intervals. */
export function scaleOf(name: string, values: readonly MetricValue[]): Scale {
  if (shares.has(name)) return { format: percent, from: 0, to: 1 }
  const from = Math.min(...values.map(({ low }) => low))
  const to = Math.max(...values.map(({ high }) => high))
  const margin = (to - from || Math.abs(to) || 1) * 0.08
  return { format: compact, from: from - margin, to: to + margin }
}

/** A figure with its 95 % interval, in words. */
export const withInterval = ({ value, low, high }: MetricValue, { format }: Pick<Scale, 'format'>): Markup =>
  html`<b>${format(value)}</b> <span class="quiet">[${bare(format(low))}, ${bare(format(high))}]</span>`

const bare = (text: string) => text.replace(' %', '')

/** A figure as a dot on its interval. */
export function intervalBar({ value, low, high }: MetricValue, { from, to }: Scale, kind = ''): Markup {
  const place = (x: number) => (100 * Math.min(1, Math.max(0, (x - from) / (to - from)))).toFixed(2)
  return html`<span class="interval ${kind}" aria-hidden="true" style="--low:${place(low)}%;--value:${place(value)}%;--width:${(Number(place(high)) - Number(place(low))).toFixed(2)}%"></span>`
}

export const number = compact

export const count = (value: number): string => value.toLocaleString('en-US')

export const probability = (p: number): string => (p < 0.0001 ? 'p < 0.0001' : `p = ${p.toFixed(4)}`)

export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)]
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${Math.round(seconds % 60)} s`
}

export const bytes = (value: number): string =>
  value >= 1e9
    ? `${(value / 1e9).toFixed(1)} GB`
    : value >= 1e6
      ? `${Math.round(value / 1e6)} MB`
      : `${Math.round(value / 1e3)} kB`
