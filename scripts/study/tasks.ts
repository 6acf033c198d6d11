import { methodSchemas } from '../../src/prompts/methods/index.js'

/** What is learned in a study: data, and the words around it. */
export interface Task {
  readonly title: string
  /** Training and dev rows, by seed. */
  readonly data: (seed: number) => { readonly train: string; readonly dev: string; readonly columns?: string[] }
  /** Rows that are scored once; `rows` of them, drawn with seed 13 for all runs alike. By default the whole file. */
  readonly test: { readonly file: string; readonly rows?: number }
  /** The text's column. */
  readonly column: string
  readonly template: string
  readonly instruction: string
  readonly labels: Readonly<Record<string, string>>
  readonly steps: number
  readonly evaluateEvery: number
  /** Dev rows that are scored; by default all. */
  readonly devRows?: number
  readonly seeds: readonly number[]
  /** Examples of each class in the in-context control. */
  readonly shots: number
}

const sentiment = {
  instruction: 'Classify the sentiment of the movie review as negative or positive.',
  labels: { 0: 'negative', 1: 'positive' },
  shots: 4,
}

const fewShots = (folder: string) => (seed: number) => ({
  train: `examples/${folder}/16-shot/seed-${seed}/train.tsv`,
  dev: `examples/${folder}/16-shot/seed-${seed}/dev.tsv`,
})

/** In the order in which they are run. */
export const tasks = {
  'sst2-16': {
    title: 'SST-2, 16-shot',
    data: fewShots('sst2'),
    test: { file: 'examples/sst2/16-shot/test.tsv', rows: 600 },
    column: 'sentence',
    template: 'Review: {sentence}\nSentiment:',
    ...sentiment,
    steps: 150,
    evaluateEvery: 25,
    seeds: [13, 21, 42],
  },
  'agnews-16': {
    title: 'AG News, 16-shot',
    data: fewShots('agnews'),
    test: { file: 'examples/agnews/test.tsv', rows: 600 },
    column: 'text',
    template: 'Article: {text}\nTopic:',
    instruction: 'Classify the topic of the news article as world, sports, business or technology.',
    labels: { 0: 'world', 1: 'sports', 2: 'business', 3: 'technology' },
    steps: 150,
    evaluateEvery: 25,
    seeds: [13, 21, 42],
    shots: 2,
  },
  sst2: {
    title: 'SST-2',
    data: () => ({ train: 'examples/sst2/train.tsv', dev: 'examples/sst2/dev.tsv', columns: ['sentence', 'label'] }),
    test: { file: 'examples/sst2/test.tsv' },
    column: 'sentence',
    template: 'Review: {sentence}\nSentiment:',
    ...sentiment,
    steps: 400,
    evaluateEvery: 200,
    devRows: 200,
    seeds: [13],
  },
} as const satisfies Readonly<Record<string, Task>>

export type TaskName = keyof typeof tasks

/** Methods whose rows may start by words start from the instruction. */
export function startingText(method: string, text: string): object {
  const schema = methodSchemas.find(({ shape }) => shape.type.value === method)!
  const init = { type: 'text', text }
  return schema.safeParse({ type: method, init }).success ? { init } : {}
}
