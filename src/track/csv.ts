import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceText } from '../store/atomic.js'
import { wholeLines } from '../store/whole-lines.js'
import type { Tracker } from './tracker.js'

const head = 'step,name,value'

/** `metrics.csv` in the run's folder: a line for each figure of each step. */
export const csv: Tracker = {
  name: 'csv',
  description: 'metrics.csv in the run folder',
  async open({ folder, step }) {
    const path = join(folder, 'metrics.csv')
    // A run that goes on tells the steps behind its checkpoint again.
    const kept = wholeLines(path).filter(line => Number(line.split(',')[0]) <= step)
    await replaceText(path, [head, ...kept].map(line => `${line}\n`).join(''))
    return {
      scalars: scalars => appendFile(path, scalars.map(({ step, name, value }) => `${step},${name},${value}\n`).join('')),
      close() {},
    }
  },
}
