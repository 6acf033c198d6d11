import { calibrationBin, calibrationBins } from '../../evaluate/metrics.js'
import type { RowResult } from '../../evaluate/row-results.js'
import { percent } from './figures.js'
import { html, type Markup, type Part } from './html.js'

interface Bin {
  readonly rows: number
  readonly accuracy: number
  readonly confidence: number
}

/** Rows by how sure the model was of its answer; undefined where rows do not say it. */
export function reliabilityBins(rows: readonly RowResult[]): Bin[] | undefined {
  if (rows.length === 0 || rows.some(({ confidence, correct }) => confidence === undefined || correct === undefined))
    return undefined
  return Array.from({ length: calibrationBins }, (_, bin) => {
    const own = rows.filter(({ confidence }) => calibrationBin(confidence!) === bin)
    const mean = (of: (row: RowResult) => number) => own.reduce((sum, row) => sum + of(row), 0) / Math.max(1, own.length)
    return { rows: own.length, accuracy: mean(row => Number(row.correct)), confidence: mean(row => row.confidence!) }
  })
}

export interface CalibrationPanel {
  readonly name: string
  readonly rows: readonly RowResult[]
  readonly main?: boolean
}

const [size, left, bottom, counts] = [200, 40, 34, 30]

/** Reliability diagrams side by side: of the rows of each confidence, the share that is right. */
export function calibration(panels: readonly CalibrationPanel[]): Markup | undefined {
  const drawn = panels.flatMap(({ name, rows, main }) => {
    const bins = reliabilityBins(rows)
    return bins === undefined ? [] : [panel(name, bins, main === true)]
  })
  if (drawn.length === 0) return undefined
  return html`<p class="small quiet">Bars: of the rows that the model is this sure of, the share it gets right. On the dashed line confidence is what it promises; red is what is missing to it, pale what is above. Below: how many rows.</p><div class="panels">${drawn}</div>`
}

function panel(name: string, bins: readonly Bin[], main: boolean): Markup {
  const total = bins.reduce((sum, { rows }) => sum + rows, 0)
  const error = bins.reduce((sum, { rows, accuracy, confidence }) => sum + (rows / total) * Math.abs(accuracy - confidence), 0)
  const most = Math.max(...bins.map(({ rows }) => rows))
  const width = size / bins.length
  const y = (share: number) => (counts + size * (1 - share)).toFixed(1)
  const bars = bins.flatMap(({ rows, accuracy, confidence }, i): Part[] => {
    if (rows === 0) return []
    const x = (left + i * width + 1).toFixed(1)
    const [low, high] = [Math.min(accuracy, confidence), Math.max(accuracy, confidence)]
    const tall = (22 * rows) / most
    return [
      html`<rect class="bar" x="${x}" y="${y(low)}" width="${width - 2}" height="${(size * low).toFixed(1)}"><title>${percent(confidence)} sure, ${percent(accuracy)} right, ${rows} rows</title></rect>`,
      html`<rect class="${accuracy > confidence ? 'under' : 'over'}" x="${x}" y="${y(high)}" width="${width - 2}" height="${(size * (high - low)).toFixed(1)}"/>`,
      html`<rect class="rows" x="${x}" y="${(counts + size + bottom + 22 - tall).toFixed(1)}" width="${width - 2}" height="${tall.toFixed(1)}"/>`,
    ]
  })
  const ticks = [0, 0.5, 1].map(
    share =>
      html`<line class="grid" x1="${left}" x2="${left + size}" y1="${y(share)}" y2="${y(share)}"/><text x="${left - 6}" y="${Number(y(share)) + 3}" text-anchor="end">${100 * share} %</text><text x="${left + size * share}" y="${counts + size + 14}" text-anchor="middle">${100 * share} %</text>`,
  )
  return html`<div class="panel${!main && ' control-panel'}"><b>${name}</b> <span class="quiet small">calibration error ${percent(error)}, ${total} rows</span>
<svg class="reliability" viewBox="0 0 ${left + size + 24} ${counts + size + bottom + 24}" role="img" aria-label="reliability of ${name}: calibration error ${percent(error)}">${ticks}${bars}<line class="ideal" x1="${left}" y1="${y(0)}" x2="${left + size}" y2="${y(1)}"/><text x="${left}" y="14">right</text><text x="${left + size}" y="${counts + size + 27}" text-anchor="end">how sure</text></svg></div>`
}
