import { deviceWords } from '../../program/devices.js'
import type { CommandOption } from '../terminal/command.js'

/** Options that several commands have. */

export const json: CommandOption = {
  name: 'json',
  description: 'one JSON object a line on standard output; text for people on standard error',
}
export const force: CommandOption = { name: 'force', description: 'use a prompt of another model, if the width is the same' }
export const strength: CommandOption = {
  name: 'strength',
  value: 'x',
  type: 'number',
  description:
    'how strongly a prompt with a slider acts, such as a steering vector: 1 as learned, 0 the model alone, -1 the other way',
}
export const quiet: CommandOption = { name: 'quiet', description: 'no progress, results only' }

const devices = `${deviceWords.slice(0, -1).join(', ')} or ${deviceWords.at(-1)}`

export const family: CommandOption = {
  name: 'family',
  value: 'path',
  repeats: true,
  description: 'the module of a model family of your own; may be given several times',
}

/** What a prompt may be named by. */
export const promptNamed = 'a run of either kind, a prompt.safetensors, or the folder of a PEFT adapter'

export const modelName = 'a folder, a .gguf file, or a model of the Hugging Face Hub: owner/name[@revision][:file.gguf]'

const keepWeights =
  'fp32; compact, in 16 bits or blocks of 8 with the same values; or auto, the default: fp32 where that takes half of the memory at most'

const precision =
  'in which width products are computed: fp32, the default; fp16 or bf16, with weights rounded to it, for graphics processors (docs/gpu.md)'

export const machine: readonly CommandOption[] = [
  family,
  { name: 'device', value: 'name', description: devices },
  { name: 'threads', value: 'n', type: 'integer', description: 'CPU threads; by default one a core' },
  { name: 'memory', value: 'GB', type: 'number', description: 'memory budget; by default what the machine has free' },
  { name: 'keep-weights', value: 'form', description: keepWeights },
  { name: 'precision', value: 'name', description: precision },
]

export const config: readonly CommandOption[] = [
  { name: 'config', value: 'file', description: 'a YAML or JSON file with options; flags win over it' },
  { name: 'model', value: 'name', config: 'model', description: modelName },
  { name: 'family', value: 'path', config: 'families', description: 'the module of a model family of your own' },
  { name: 'train', value: 'file', config: 'data.train', description: 'training rows: .tsv .csv .jsonl .json .parquet' },
  { name: 'dev', value: 'file', config: 'data.dev', description: 'rows that choose the best checkpoint' },
  { name: 'test', value: 'file', config: 'data.test', description: 'rows that are scored once, at the end' },
  { name: 'template', value: 'text', config: 'template', description: 'the text before the answer, with {column} placeholders' },
  { name: 'answer', value: 'text', config: 'answer', description: 'the text that is learned, with {column} placeholders' },
  {
    name: 'answer-end',
    value: 'text',
    config: 'answerEnd',
    description: "what ends an answer: a text such as '###', auto (the default: the model's own end), or none",
  },
  {
    name: 'answer-type',
    value: 'name',
    config: 'answerType',
    description: 'whether answers are classes or text; auto, the default: judged by the training rows, and said',
  },
  { name: 'rejected', value: 'text', config: 'rejected', description: 'the answer that people did not choose, as --answer' },
  { name: 'thumbs', value: 'column', config: 'thumbs', description: 'the column that says whether people liked the answer' },
  {
    name: 'method',
    value: 'name',
    config: 'method.type',
    description: 'what is learned: see gradprompt methods; or the path of a module',
  },
  { name: 'steps', value: 'n', config: 'train.steps', description: 'optimiser steps' },
  { name: 'epochs', value: 'n', config: 'train.epochs', description: 'passes over the training rows, instead of steps' },
  { name: 'batch-size', value: 'n', config: 'train.batchSize', description: 'rows of a batch' },
  { name: 'learning-rate', value: 'x', config: 'train.learningRate', description: "the schedule's highest learning rate" },
  { name: 'truncate', config: 'train.truncate', description: 'cut the text of rows that are longer than the context' },
  { name: 'seed', value: 'n', config: 'seed', description: 'decides every random choice' },
  { name: 'device', value: 'name', config: 'device', description: `${devices}; see gradprompt doctor` },
  { name: 'threads', value: 'n', config: 'threads', description: 'CPU threads; by default one a core' },
  { name: 'memory', value: 'GB', config: 'memory', description: 'memory budget; by default what the machine has free' },
  { name: 'keep-weights', value: 'form', config: 'keepWeights', description: keepWeights },
  { name: 'precision', value: 'name', config: 'precision', description: precision },
  {
    name: 'track',
    value: 'a,b',
    config: 'track',
    description: 'where figures are followed as well: csv, tensorboard, mlflow, or the path of a module',
  },
  { name: 'out', value: 'folder', config: 'out', description: 'the run folder; by default a new name under runs/' },
]

/** Of `tune`, what a search has as well; the rest is its own. */
export const searchConfig: readonly CommandOption[] = [
  ...config.filter(({ config: path = '' }) => !/^(?:template|answer|rejected|thumbs|method|train)(?:\.|$)/.test(path)),
  { name: 'template', value: 'text', config: 'template', description: 'the text before the answer, with {prompt} and {column}s' },
  { name: 'answer', value: 'text', config: 'answer', description: 'the text that the prompt is to bring about' },
  { name: 'method', value: 'name', config: 'search.type', description: 'how it is searched; or the path of a module' },
  { name: 'prompt', value: 'text', config: 'search.prompt', description: 'where the search begins' },
  { name: 'steps', value: 'n', config: 'search.steps', description: 'optimisation steps' },
  { name: 'questions', value: 'n', config: 'search.questions', description: 'training rows that prompts are scored on' },
  { name: 'batch-size', value: 'n', config: 'search.batchSize', description: 'of these, how many each step takes' },
]

export const noPromptLookup: CommandOption = {
  name: 'no-prompt-lookup',
  description: 'one token a step, without guesses at those that follow: slower, and the same but for rounding',
}

export const weightsDescription =
  'of the products that write: auto, the default, is exact (fp32) wherever that fits comfortably; stored (8 bits or less) is faster, ' +
  'and a third of short greedy answers come out otherwise'

/** What answers are limited to. */
export const limits = [
  {
    name: 'choices',
    value: 'a,b',
    description:
      'the only answers that may be given, or a JSON list of them: chosen token by token, where predict compares them as a whole',
  },
  { name: 'regex', value: 'pattern', description: 'a regular expression that each answer matches as a whole' },
  {
    name: 'json-schema',
    value: 'file',
    description: 'a JSON Schema, or a file with one, that each answer is JSON for; true for any JSON',
  },
  { name: 'rejected-mass', description: 'tell how likely each answer would have left such a limit without it' },
] as const

/** Answers that are chosen against those of another prompt. */
export const contrast = [
  {
    name: 'against',
    value: 'path',
    description: 'a run learned on what answers should not be: each token is chosen under --prompt against it',
  },
  {
    name: 'contrast',
    value: 'g',
    type: 'number',
    description: 'how much, from 0; 0.5 with --against, without it against the model alone',
  },
] as const

/** Several calls for an answer. */
export const strategy = [
  {
    name: 'strategy',
    value: 'name',
    description: 'several calls for an answer: self-consistency, retries, …, or the path of a module (docs/strategies.md)',
  },
  {
    name: 'strategy-option',
    value: 'name=value',
    repeats: true,
    description: 'an option of it: samples=8, turns=3, …',
  },
] as const

/** Several prompts in the place of one. */
export const ensemble: CommandOption = {
  name: 'ensemble',
  value: 'n',
  type: 'integer',
  description:
    'so many prompts in its place, moved as the inputs of its run differ (domain); the shares of the classes are averaged',
}

/** Code that a model writes, which is run. */
export const running = [
  {
    name: 'allow-running-code',
    description: 'run the code of answers, which a model wrote, in a sandbox: what the scorer passes needs (docs/code.md)',
  },
  { name: 'interpreter', value: 'command', description: 'the Python 3 that runs it; python3 by default' },
  {
    name: 'program-seconds',
    value: 'n',
    type: 'integer',
    description: 'of a processor, for a program, up to 3600; 10 by default, and twice as many and two more by the clock',
  },
  { name: 'program-memory', value: 'n', type: 'integer', description: 'MiB that a program may have, from 64; 1024 by default' },
] as const

/** A prompt that is tuned on the rows that it answers. */
export const testTime = [
  {
    name: 'test-time',
    description: 'tune the prompt on views of each row before it answers it, without its label, and forget it behind it',
  },
  { name: 'test-time-views', value: 'n', type: 'integer', description: 'views of a row, with the row itself; 16 by default' },
  {
    name: 'test-time-dropout',
    value: 'x',
    type: 'number',
    description: 'chance of each word to be left out of a view; 0.15 by default',
  },
  {
    name: 'test-time-template',
    value: 'text',
    repeats: true,
    description: "a further template, under which a row is seen as well; by default the run's train.templates",
  },
  { name: 'test-time-paraphrases', value: 'n', type: 'integer', description: 'views that the model writes in other words' },
  {
    name: 'test-time-similar',
    value: 'x',
    type: 'number',
    description: 'share of the views that is looked at, the most similar ones; 0.8 with paraphrases, otherwise 1',
  },
  {
    name: 'test-time-keep',
    value: 'x',
    type: 'number',
    description: 'share of them that is tuned on, the surest ones; 0.25 by default',
  },
  { name: 'test-time-steps', value: 'n', type: 'integer', description: 'steps for each row; 1 by default' },
  { name: 'test-time-rate', value: 'x', type: 'number', description: 'learning rate of these steps; 0.005 by default' },
  {
    name: 'test-time-batch',
    value: 'n',
    type: 'integer',
    description: 'tune on so many rows together, in place of views of each',
  },
] as const

export const columns = {
  name: 'columns',
  value: 'a,b',
  description: "names of a headless file's columns; or template=data pairs where names differ: text=review",
} as const

export const labels = {
  name: 'labels',
  value: '0=no,1=yes',
  description: 'value in the label column = word in the answer, or a JSON object of them',
} as const

export const answerType = {
  name: 'answer-type',
  value: 'name',
  description: 'whether answers are classes or text, where neither the prompt nor --labels says it; auto: judged, and said',
} as const

/** What the texts of rows are, where the prompt does not say it. */
export const texts = [
  { name: 'template', value: 'text', description: "the text before the answer; by default the run's" },
  { name: 'answer', value: 'text', description: "the answer, with {column} placeholders; by default the run's" },
  labels,
] as const
