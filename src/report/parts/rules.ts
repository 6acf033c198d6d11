import type { RowResult } from '../../evaluate/row-results.js'
import { percent } from './figures.js'
import { html, type Markup } from './html.js'
import { wide } from './page.js'

/** A way in which a task reads answers: its rules, tried in order. */
export interface FilterRules {
  readonly name: string
  readonly rules: readonly { readonly name: string; readonly description: string }[]
}

/** Which rule found how many answers, and how many of these are right. The first filter is the one that decides. */
export function ruleTable(filters: readonly FilterRules[], rows: readonly RowResult[]): Markup {
  const [main, ...others] = filters
  const line = (name: string, description: string, own: readonly RowResult[], kind = '') => {
    const right = own.filter(({ correct }) => correct).length
    const known = own.some(({ correct }) => correct !== undefined)
    const share = (own.length / Math.max(1, rows.length)).toFixed(3)
    return html`<tr><th scope="row" class="${kind}">${name}</th><td>${description}</td><td class="number" data-name="found"><span class="share" style="--share:${share}"></span>${own.length}</td><td class="number" data-name="right">${known && own.length > 0 && `${right} (${percent(right / own.length)})`}</td></tr>`
  }
  const known = new Set(main?.rules.map(({ name }) => name))
  const foreign = [...new Set(rows.flatMap(({ rule }) => (rule === undefined || known.has(rule) ? [] : [rule])))]
  const lines = [
    ...(main?.rules ?? []).map(({ name, description }) =>
      line(
        name,
        description,
        rows.filter(({ rule }) => rule === name),
      ),
    ),
    ...foreign.map(name =>
      line(
        name,
        '',
        rows.filter(({ rule }) => rule === name),
      ),
    ),
    line(
      'no rule',
      'no answer was found: the row counts 0',
      rows.filter(({ rule }) => rule === undefined),
      'wrong-text',
    ),
  ]
  const further = others.map(
    ({ name, rules }) =>
      html`<p class="small quiet"><b>${name}</b> reads by: ${rules.map((rule, i) => html`${i > 0 && ', then '}${rule.name} (${rule.description})`)}</p>`,
  )
  return html`<p class="small quiet">Rules are tried in this order; the first that finds something gives the answer.</p>
${wide(html`<table class="stacks"><thead><tr><th>rule</th><th>what it takes</th><th class="number">found</th><th class="number">right</th></tr></thead><tbody>${lines}</tbody></table>`)}${further}`
}
