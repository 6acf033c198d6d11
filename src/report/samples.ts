import type { StoredEvent } from '../store/events.js'
import type { Sample } from '../train/events.js'
import { html, type Markup } from './parts/html.js'
import { wide } from './parts/page.js'

/** What a prompt made of a few dev rows at each evaluation, while free text was learned. */

/** More evaluations than this say nothing more. */
const mostSteps = 6
const longest = 600

/** Undefined where a run has none. */
export function samplesTable(events: readonly StoredEvent[]): Markup | undefined {
  const all = events.flatMap(({ event, step, samples }) =>
    event === 'samples' && step !== undefined && Array.isArray(samples) ? [{ step, samples: samples as readonly Sample[] }] : [],
  )
  const [first] = all
  if (first === undefined) return undefined
  // The first and the last, and some between them.
  const shown =
    all.length <= mostSteps
      ? all
      : Array.from({ length: mostSteps }, (_, i) => all[Math.round((i * (all.length - 1)) / (mostSteps - 1))]!)
  const lines = first.samples.flatMap(({ input, answer }, i) => [
    html`<tr class="group"><th rowspan="${shown.length + 1}" scope="rowgroup" class="text">${cut(input)}</th><td class="quiet">wanted</td><td class="text">${cut(answer)}</td></tr>`,
    ...shown.map(
      ({ step, samples }) =>
        html`<tr class="follows"><td class="quiet">step ${step}</td><td class="text">${cut(samples[i]?.text ?? '')}</td></tr>`,
    ),
  ])
  return html`<p class="small quiet">Greedy answers to the first dev rows, by the prompt as it stood. Nothing is scored by them.</p>${wide(html`<table class="stacks"><tbody>${lines}</tbody></table>`)}`
}

const cut = (text: string) => (text.length <= longest ? text : `${text.slice(0, longest - 1)}…`)
