import type { SearchStepEvent, SwapReport } from '../../search/run/events.js'
import { type ExplorerRow, explorer } from '../parts/explorer.js'
import { number } from '../parts/figures.js'
import { html, type Markup, type Part, tokenText } from '../parts/html.js'

/** More steps than this make a page slow. */
const mostSteps = 2000

/** Every swap that a search tried last in its steps: what stood there, what came, what the gradient said and what was true. */
export function swapTable(steps: readonly SearchStepEvent[]): Markup {
  const shown = steps.slice(-mostSteps)
  const rows = shown.map(step => rowOf(step))
  const cut = steps.length > shown.length && html`<p class="small quiet">The last ${shown.length} of ${steps.length} steps.</p>`
  return html`<p class="small quiet">The candidate of each step that was moved to, or the best that was not. The gradient says by how much the loss would change; the exact score is the loss by forward passes.</p>
${explorer({
  id: 'swaps-table',
  heads: ['step', 'position', 'swap', 'gradient', 'exact', 'best so far', 'outcome', 'runners-up'],
  rows,
  filters: [
    { tag: 'accepted', name: 'accepted' },
    { tag: 'rejected', name: 'not accepted' },
    { tag: 'best', name: 'new best' },
  ],
  search: 'tokens and prompts',
})}${cut}`
}

function rowOf(step: SearchStepEvent): ExplorerRow {
  const { swap, best, objective, shortlist } = step
  const isBest = best.objective === objective && swap?.accepted === true && best.prompt === step.prompt
  const tags = swap === null ? ['rejected'] : [swap.accepted ? 'accepted' : 'rejected', ...(isBest ? ['best'] : [])]
  const others = shortlist.filter(
    ({ position, to, exactScore }) => position !== swap?.position || to !== swap?.to || exactScore !== swap?.exactScore,
  )
  return {
    tags,
    cells: [
      { content: step.step, kind: 'number' },
      { content: swap === null || swap.position < 0 ? '' : swap.position + 1, kind: 'number' },
      { content: swap === null ? 'no candidate' : tokens(swap), kind: 'short' },
      { content: swap?.gradientScore == null ? '' : number(swap.gradientScore), kind: 'number' },
      { content: swap === null ? '' : number(swap.exactScore), kind: 'number' },
      { content: number(best.objective), kind: 'number' },
      { content: outcome(swap, isBest) },
      { content: others.length > 0 && runnersUp(step.prompt, others), kind: 'text' },
    ],
  }
}

function tokens({ from, to, changed }: SwapReport): Part {
  if (changed === 0) return html`<span class="quiet">unchanged</span>`
  const swap =
    from === ''
      ? html`${tokenText(to)} put in`
      : to === ''
        ? html`${tokenText(from)} dropped`
        : html`${tokenText(from)} → ${tokenText(to)}`
  return html`${swap}${changed > 1 && html` <span class="quiet small">and ${changed - 1} more</span>`}`
}

function outcome(swap: SwapReport | null, isBest: boolean): Part {
  if (!swap?.accepted) return html`<span class="quiet">not accepted</span>`
  return html`<span class="right-text">accepted</span>${isBest && html` <span class="tag right-text">best</span>`}`
}

const runnersUp = (prompt: string, others: readonly SwapReport[]): Markup =>
  html`<details><summary>${others.length} more, and the prompt</summary>${others.map(
    other =>
      html`<div class="small">${other.position + 1}: ${tokens(other)} ${other.gradientScore !== null && `gradient ${number(other.gradientScore)}, `}exact ${number(other.exactScore)}</div>`,
  )}<div class="small quiet">${prompt}</div></details>`
