import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SearchConfigInput } from '../../src/search/config.js'
import { toyModel } from '../train/toy.js'

/** Tokens of the toy model that never merge with each other. */
export const words = [' t', ' a', ' the', ' s', ' w', ' o', ' of', ' and']

/** Rows that differ, each with the answer that its word decides. */
export function toySearchRows(count: number): string[] {
  const wordsOf = [
    ['wine', '0'],
    ['stone', '1'],
  ] as const
  return Array.from({ length: count }, (_, i) => {
    const [word, label] = wordsOf[i % 2]!
    return `${word} ${i}\t${label}`
  })
}

/** The toy model with room for what a critic is asked: its positions are rotations, which go on for ever. */
export function longToyModel(folder: string): string {
  const long = join(folder, 'long-toy')
  cpSync(toyModel, long, { recursive: true })
  const path = join(long, 'config.json')
  const config = JSON.parse(readFileSync(path, 'utf8')) as object
  writeFileSync(path, JSON.stringify({ ...config, max_position_embeddings: 4096 }))
  return long
}

/** A search on the toy task, its data written into `folder`. `search` is laid over the defaults. */
export function toySearch(
  folder: string,
  { search, ...options }: { search?: Record<string, unknown>; [option: string]: unknown } = {},
): SearchConfigInput {
  const path = join(folder, 'toy.tsv')
  writeFileSync(path, `${toySearchRows(40).join('\n')}\n`)
  return {
    model: toyModel,
    // The rows on which the tests know how far each method gets.
    data: {
      train: path,
      split: { dev: 12, test: 8 },
      splitSeed: null,
      columns: ['text', 'label'],
      labels: { 0: 'the', 1: 'of' },
    },
    template: '{text}{prompt} -',
    answer: ' {label}',
    answerEnd: 'none',
    threads: 1,
    out: join(folder, 'run'),
    ...options,
    search: { type: 'gcg', prompt: ' t t t', vocabulary: words, questions: 8, steps: 12, ...search },
  } as SearchConfigInput
}
