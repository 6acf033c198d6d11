import { bytes, count, duration } from './figures.js'
import { html, type Markup, type Part } from './html.js'

/** A part of the time that something took. */
export interface Spent {
  readonly name: string
  readonly seconds: number
}

export type Fact = readonly [name: string, value: Part]

const colors = ['--series-1', '--series-2', '--series-3', '--series-4', '--series-5']

/** Where the time went, and what else was used. */
export function cost(parts: readonly Spent[], facts: readonly (Fact | undefined)[]): Markup {
  const spent = parts.filter(({ seconds }) => seconds > 0)
  const color = (i: number) => `--color:var(${colors[i % colors.length]})`
  const bar =
    spent.length > 1 &&
    html`<div class="spent" aria-hidden="true">${spent.map(({ seconds }, i) => html`<span style="--part:${seconds.toFixed(2)};${color(i)}"></span>`)}</div><ul class="legend">${spent.map(({ name, seconds }, i) => html`<li style="${color(i)}">${name} <b>${duration(seconds)}</b></li>`)}</ul>`
  return html`${bar}${factList(facts)}`
}

export const factList = (facts: readonly (Fact | undefined)[]): Markup =>
  html`<dl class="facts">${facts.map(fact => fact !== undefined && html`<dt>${fact[0]}</dt><dd>${fact[1]}</dd>`)}</dl>`

export const memoryFact = (peakMemory: number | undefined): Fact | undefined =>
  peakMemory === undefined ? undefined : ['memory', `${bytes(peakMemory)} at most`]

export const tokenFact = (name: string, tokens: number, seconds: number): Fact => [
  name,
  `${count(tokens)} (${count(Math.round(tokens / Math.max(seconds, 1e-6)))} a second)`,
]
