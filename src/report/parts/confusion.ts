import { type MetricValue, wilsonInterval } from '../../evaluate/intervals.js'
import { count, percent, withInterval } from './figures.js'
import { html, type Markup } from './html.js'
import { wide } from './page.js'

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
    const cells = counts.map((own, predicted) => {
      const tone = target === predicted ? 'right-cell' : 'wrong-cell'
      const style = `--share:${(own / total).toFixed(3)}`
      if (own === 0 || rowsId === undefined)
        return html`<td class="${tone}"><span class="zero" style="${style}">${own}</span></td>`
      const pair = `${name(target)} → ${name(predicted)}`
      return html`<td class="${tone}"><button type="button" style="${style}" data-explorer="${rowsId}" data-shows="${cellTags(target, predicted).join(' ')}" data-name="${pair}" aria-label="${own} rows, ${pair}">${own}</button></td>`
    })
    return html`<tr><th scope="row">${name(target)}</th>${cells}</tr>`
  })
  const heads = labels.map(label => html`<th scope="col">${label}</th>`)
  return html`<p class="small quiet">Down: what a row is; across: what was predicted.${rowsId !== undefined && ' A number shows its rows below.'}</p>
<div class="wide fit" tabindex="0"><table class="confusion"><thead><tr><td></td>${heads}</tr></thead><tbody>${lines}</tbody></table></div>
${classTable(confusion, labels)}`
}

export interface ClassFigures {
  readonly rows: number
  readonly predicted: number
  readonly right: number
  /** Of the rows that were taken for it, the share that are of it; undefined where there are none. */
  readonly precision: MetricValue | undefined
  /** Of its rows, the share that were taken for it; undefined where there are none. */
  readonly recall: MetricValue | undefined
  /** 0 where none is right. */
  readonly f1: number
}

/** What each class comes to, with Wilson's intervals. */
export function classFigures(confusion: readonly (readonly number[])[]): ClassFigures[] {
  const share = (right: number, of: number) => (of === 0 ? undefined : { value: right / of, ...wilsonInterval(right, of) })
  return confusion.map((counts, label) => {
    const right = counts[label] ?? 0
    const rows = counts.reduce((sum, count) => sum + count, 0)
    const predicted = confusion.reduce((sum, row) => sum + (row[label] ?? 0), 0)
    const f1 = rows + predicted === 0 ? 0 : (2 * right) / (rows + predicted)
    return { rows, predicted, right, precision: share(right, predicted), recall: share(right, rows), f1 }
  })
}

function classTable(confusion: readonly (readonly number[])[], labels: readonly string[]): Markup {
  const figure = (value: MetricValue | undefined) =>
    value === undefined ? html`<span class="quiet">none</span>` : withInterval(value, { format: percent })
  const lines = classFigures(confusion).map(
    ({ rows, predicted, precision, recall, f1 }, label) =>
      html`<tr><th scope="row">${labels[label] ?? label}</th><td class="figure" data-name="precision">${figure(precision)}</td><td class="figure" data-name="recall">${figure(recall)}</td><td class="number" data-name="F1">${percent(f1)}</td><td class="number" data-name="rows">${count(rows)}</td><td class="number" data-name="predicted">${count(predicted)}</td></tr>`,
  )
  return wide(
    html`<table class="classes stacks"><caption>each class, with 95 % intervals</caption><thead><tr><th></th><th>precision</th><th>recall</th><th class="number">F1</th><th class="number">rows</th><th class="number">predicted</th></tr></thead><tbody>${lines}</tbody></table>`,
  )
}
