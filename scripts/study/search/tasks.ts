import type { SearchConfigInput } from '../../../src/search/config.js'

/** A task of the study: how it is asked, answered, and what the search begins with. */
export interface StudyTask {
  readonly title: string
  readonly data: SearchConfigInput['data']
  readonly template: SearchConfigInput['template']
  readonly answer: string
  readonly extractor: string
  readonly prompt: string
  readonly maxNewTokens: number
}

const careful = ' proper logical reasoning and think step by step. Finally give the actual correct answer.'
const asked = (question: string): SearchConfigInput['template'] => [{ role: 'user', content: `${question} Use{prompt}` }]

/** Of a BBH file: a part of its rows for dev, a part for test, the rest to search on. */
export const bbhTask = (file: string, title = file): StudyTask => ({
  title,
  data: { train: file, task: 'bbh', split: { dev: 60, test: 100 }, splitSeed: null },
  template: asked('{question}'),
  answer: ' {answer}',
  extractor: '\nTherefore, the final answer is',
  prompt: careful,
  maxNewTokens: 64,
})

export const searchTasks = {
  sst2: {
    title: 'SST-2',
    data: {
      train: 'examples/sst2/train.tsv',
      test: 'examples/sst2/test.tsv',
      columns: ['text', 'label'],
      labels: { 0: 'negative', 1: 'positive' },
      split: { dev: 60 },
      splitSeed: null,
      limit: { test: 200 },
    },
    template: asked('Is this movie review negative or positive? Review: {text}'),
    answer: ' {label}',
    extractor: '\nTherefore, among negative and positive, the sentiment is',
    prompt: careful,
    maxNewTokens: 32,
  },
  agnews: {
    title: 'AG News',
    data: {
      train: 'examples/agnews/16-shot/seed-13/train.tsv',
      dev: 'examples/agnews/16-shot/seed-13/dev.tsv',
      test: 'examples/agnews/test.tsv',
      labels: { 0: 'world', 1: 'sports', 2: 'business', 3: 'technology' },
      limit: { test: 200 },
    },
    template: asked('Is this news about world, sports, business or technology? News: {text}'),
    answer: ' {label}',
    extractor: '\nTherefore, among world, sports, business and technology, the topic is',
    prompt: careful,
    maxNewTokens: 32,
  },
  'boolean-expressions': bbhTask('examples/bbh/boolean_expressions.json', 'BBH boolean expressions'),
  navigate: bbhTask('examples/bbh/navigate.json', 'BBH navigate'),
} as const satisfies Record<string, StudyTask>
export type SearchTaskName = keyof typeof searchTasks

/** Continuations of "Use" that a person might write. */
export const handWritten = [
  careful,
  ' your own knowledge to answer.',
  ' logic.',
  ' short reasoning, then give the answer.',
  ' common sense and answer with one word.',
  ' the given options only.',
  ' careful step by step thinking and check every step.',
  ' elimination of wrong options, one after the other.',
  ' an example like this one and answer the same way.',
  ' no explanation. Answer at once.',
]
