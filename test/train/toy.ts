import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConfigInput } from '../../src/train/config.js'

export const toyModel = 'test/fixtures/models/llama-gqa'

/** A folder of its own for a test's files, and the way to remove it. */
export function temporaryFolder(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-'))
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** A text and the answer that its word decides, a line each: learnable by a small random model. */
export function toyRows(count: number): string[] {
  const openings = ['the', 'on', 'at', 'it']
  const words = [
    ['wine', '0'],
    ['stone', '1'],
  ] as const
  return Array.from({ length: count }, (_, i) => {
    const [word, label] = words[i % 2]!
    return `${openings[(i >> 1) % openings.length]} ${word}\t${label}`
  })
}

/** A config of the toy task, its data written into `folder`. `train` is laid over the defaults. */
export function toyConfig(folder: string, { train, ...options }: Partial<ConfigInput> = {}): ConfigInput {
  const path = join(folder, 'toy.tsv')
  writeFileSync(path, `${toyRows(48).join('\n')}\n`)
  return {
    model: toyModel,
    data: {
      train: path,
      split: { dev: 12, test: 4 },
      columns: ['text', 'label'],
      labels: { 0: 'the', 1: 'of' },
    },
    template: '{text} -',
    answer: ' {label}',
    // What the tests know of it was recorded without an end.
    answerEnd: 'none',
    method: { type: 'prompt-tuning', numVirtualTokens: 4 },
    train: { steps: 30, batchSize: 8, learningRate: 0.1, ...train },
    out: join(folder, 'run'),
    ...options,
  }
}
