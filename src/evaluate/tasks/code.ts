import { codeBlock } from '../answers/extraction/code.js'
import { asGenerated } from './harness-filters.js'
import { benchmarkColumns, type GenerationTask } from './task.js'

/** Text to code, judged by running it: `humaneval` and `mbpp` for models that go on with a text, `…-chat` for those that answer. */

const common = {
  description: '',
  separator: '\n\n',
  shots: 0,
  answer: '{answer}',
  maxNewTokens: 512,
  scorer: 'passes',
  filters: [{ name: 'code', rules: [codeBlock, asGenerated], score: (found, answer) => found.trim() === answer.trim() }],
  ...benchmarkColumns,
} as const satisfies Partial<GenerationTask>

/** The head of a function that is gone on with (Chen et al. 2021, arXiv 2107.03374); what begins anew at the margin ends it. */
export const humaneval: GenerationTask = {
  ...common,
  name: 'humaneval',
  template: '{question}',
  example: '{answer}',
  stop: ['\nclass', '\ndef', '\n#', '\nif', '\nprint'],
}

const user = (content: string): GenerationTask['template'] => [{ role: 'user', content }]

export const humanevalChat: GenerationTask = {
  ...common,
  name: 'humaneval-chat',
  template: user(
    'Complete this Python function. Answer with the whole function in one block of code, and with nothing else.\n\n```python\n{question}\n```',
  ),
  example: '```python\n{question}{answer}\n```',
  stop: [],
}

/** A sentence and its tests (Austin et al. 2021, arXiv 2108.07732), in the words of that paper. */
export const mbpp: GenerationTask = {
  ...common,
  name: 'mbpp',
  template:
    'You are an expert Python programmer, and here is your task: {question} Your code should pass these tests:\n\n{shown}\n[BEGIN]\n',
  example: '{answer}\n[DONE]',
  shots: 3,
  stop: ['[DONE]'],
}

export const mbppChat: GenerationTask = {
  ...common,
  name: 'mbpp-chat',
  template: user(
    '{question}\n\nThe code should pass these tests:\n\n```python\n{shown}\n```\n\nAnswer with Python in one block of code, and with nothing else.',
  ),
  example: '```python\n{answer}\n```',
  stop: [],
}
