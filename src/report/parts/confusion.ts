import { html, type Markup } from './html.js'

/** `t0 p1`: the tags of a row by which a cell of the matrix finds it. */
export const cellTags = (target: number, predicted: number): string[] => [`t${target}`, `p${predicted}`]

/**
 * How often each label was taken for each; a cell chooses its rows in the table of rows.
 * @param rowsId the id of that table; without it, cells are only numbers
 */
export function confusionMatrix(
  confusion: readonly (readonly number[])[],
  labels: readonly string[],
  rowsId: string | undefined,
): Markup {
  const name = (label: number) => labels[label] ?? String(label)
  const lines = confusion.map((counts, target) => {
    const total = Math.max(
      1,
      counts.reduce((a, b) => a + b, 0),
    )
    const cells = counts.map((count, predicted) => {
      const tone = target === predicted ? 'right-cell' : 'wrong-cell'
      const style = `--share:${(count / total).toFixed(3)}`
      if (count === 0 || rowsId === undefined)
        return html`<td class="${tone}"><span class="zero" style="${style}">${count}</span></td>`
      const pair = `${name(target)} → ${name(predicted)}`
      return html`<td class="${tone}"><button type="button" style="${style}" data-explorer="${rowsId}" data-shows="${cellTags(target, predicted).join(' ')}" data-name="${pair}" aria-label="${count} rows, ${pair}">${count}</button></td>`
    })
    return html`<tr><th scope="row">${name(target)}</th>${cells}</tr>`
  })
  const heads = labels.map(label => html`<th scope="col">${label}</th>`)
  return html`<p class="small quiet">Down: what a row is; across: what was predicted.${rowsId !== undefined && ' A number shows its rows below.'}</p>
<div class="wide fit" tabindex="0"><table class="confusion"><thead><tr><td></td>${heads}</tr></thead><tbody>${lines}</tbody></table></div>`
}
