import type { JudgedPrompt } from '../../search/run/events.js'
import { intervalBar, number, scaleOf, withInterval } from './figures.js'
import { html, type Markup } from './html.js'
import { wide } from './page.js'
import { metricNames } from './presentation.js'

/** The best prompts of a search as they were ranked at the end, with their figures on dev. */
export function promptTable(ranking: readonly JudgedPrompt[], initial: JudgedPrompt): Markup {
  const names = Object.keys(ranking[0]?.metrics ?? {}).slice(0, 2)
  const scales = names.map(name =>
    scaleOf(
      name,
      ranking.flatMap(({ metrics }) => metrics[name] ?? []),
    ),
  )
  const lines = ranking.map(({ prompt, objective, metrics }, i) => {
    const figures = names.map((name, n) => {
      const value = metrics[name]
      return html`<td class="figure" data-name="${metricNames[name] ?? name}">${value && html`${withInterval(value, scales[n]!)}${intervalBar(value, scales[n]!, i === 0 ? 'main' : '')}`}</td>`
    })
    const note = prompt === initial.prompt && html`<br><span class="tag quiet">first prompt</span>`
    return html`<tr${i === 0 && html` class="best"`}><td class="number" data-name="rank">${i + 1}</td><td class="text" data-name="prompt">${prompt}${note}${copyButton(prompt)}</td><td class="number" data-name="loss">${number(objective)}</td>${figures}</tr>`
  })
  const heads = names.map(name => html`<th>${metricNames[name] ?? name} on dev</th>`)
  return wide(
    html`<table class="stacks"><thead><tr><th class="number">rank</th><th>prompt</th><th class="number">loss</th>${heads}</tr></thead><tbody>${lines}</tbody></table>`,
  )
}

export const promptText = (prompt: string, kind = ''): Markup =>
  html`<div class="prompt ${kind}">${prompt}</div>${copyButton(prompt)}`

/** Copies a text exactly, spaces at its ends included. */
const copyButton = (text: string): Markup => html`<button type="button" class="copy" data-copy="${text}">copy</button>`
