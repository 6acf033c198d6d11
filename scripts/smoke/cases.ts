import { join } from 'node:path'
import { commands } from '../../src/cli/commands.js'
import { alternatives, type OptionSchema, schemasAt } from '../../src/config/options.js'
import { losses } from '../../src/losses/index.js'
import { bundledModel, packageRoot } from '../../src/package-root.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { searchConfigJsonSchema } from '../../src/search/config.js'
import { searchMethods } from '../../src/search/methods/index.js'
import { configJsonSchema } from '../../src/train/config.js'
import { type KnownValues, trials } from './values.js'

/**
 * What `npm run smoke` tries, out of the registries and the schemas: a new method, search or option is a case without a line here, unless
 * its schema does not tell a value; then the case fails, and says so.
 */

export type SmokeCase = { readonly name: string } & (
  | {
      readonly kind: 'tune' | 'search'
      readonly config: Readonly<Record<string, unknown>>
      /** What it is evaluated on, where that is not `testFile`. */
      readonly test?: string
    }
  | { readonly kind: 'evaluate'; readonly flags: readonly string[] }
  | { readonly kind: 'unknown' }
)

const sst2 = (part: string) => join(packageRoot(), 'examples', 'sst2', `${part}.tsv`)
const pairs = (part: string) => join(packageRoot(), 'examples', 'preferences', `${part}.jsonl`)
export const testFile = sst2('test')

const task = {
  model: bundledModel,
  data: {
    train: sst2('train'),
    dev: sst2('dev'),
    limit: { train: 8, dev: 4 },
    columns: ['text', 'label'],
    labels: { '0': 'negative', '1': 'positive' },
  },
  template: 'Review: {text}\nSentiment:',
  answer: ' {label}',
}

const learning = { ...task, method: { type: 'prompt-tuning', numVirtualTokens: 4 }, train: { steps: 2, batchSize: 2 } }
export const teacherCase = { name: 'a run to learn from', kind: 'tune', config: learning } as const

/** For losses over pairs of answers. */
const pairTask = {
  data: { train: pairs('train'), dev: pairs('dev'), limit: { train: 8, dev: 4 } },
  template: '{prompt}\n',
  answer: '{chosen}',
}

/** What methods need beside their type. */
export const methodNeeds: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  personal: { method: { type: 'personal', users: ['0', '1'], userColumn: 'label' } },
  'soft-template': { template: 'Review: {text}{soft:3}\nSentiment:' },
}

/** Values that a schema does not tell. @param teacher a run that has ended */
const trainValues = (teacher: string): KnownValues => ({
  'train.templates': [['Text: {text}\nOpinion:']],
  'train.distillation.from': [teacher],
  'train.distillation.model': [bundledModel],
  'train.meta.tasks': ['label'],
  'train.epochs': [0.5],
  'train.warmup': [0.5],
  'train.loss.context': ['Say whether the review is positive or negative.\n'],
})

/** Of these one of two options has to be given: what else is tried of them stands beside one. */
const trainNeeds = (teacher: string): Readonly<Record<string, (value: object) => object>> => ({
  privacy: value => ('epsilon' in value ? {} : { noise: 1 }),
  distillation: value => ('model' in value ? {} : { from: teacher }),
})

/** So small that two steps take seconds. A search that is not here runs with its own sizes. */
const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  gcg: { searchWidth: 8, topk: 8 },
  greater: { topk: 4 },
  autoprompt: { candidates: 4 },
  arca: { candidates: 4 },
  gbda: { samples: 2, candidates: 4 },
  categorical: { samples: 4 },
  rlprompt: { prompts: 4, topk: 8, hidden: 32 },
  promptquine: { population: 4, offspring: 4 },
  'random-shortlist': { candidates: 4 },
  ape: { proposals: 2, keep: 1, maxWrittenTokens: 12 },
  apo: { beam: 1, maxWrittenTokens: 12 },
  pe2: { beam: 1, expand: 1, maxWrittenTokens: 12 },
  textgrad: { examples: 1, maxWrittenTokens: 12 },
  gepa: { minibatch: 1, maxWrittenTokens: 12 },
  miprov2: { candidates: 2, labelled: 1, bootstrapped: 1, minibatch: 1, maxWrittenTokens: 12 },
  capo: { population: 2, children: 1, demos: 1, block: 1, maxWrittenTokens: 12 },
  opro: { proposals: 2, exemplars: 1, maxWrittenTokens: 12 },
  evoprompt: { population: 4, maxWrittenTokens: 12 },
  promptagent: { width: 1, batch: 1, depth: 2, minDepth: 1, maxWrittenTokens: 12 },
  spo: { samples: 1, maxWrittenTokens: 12 },
  'bootstrap-demos': { sets: 2, labelled: 1, bootstrapped: 1 },
  snippets: { cells: 2 },
  'best-of-n': { proposals: 2, maxWrittenTokens: 12 },
  'dp-opt': { members: 4, demonstrations: 1, maxWrittenTokens: 2, retries: 0, epsilon: 1e5, delta: 0.1, tokenEpsilon: 50 },
}

const searching = (search: Readonly<Record<string, unknown>>) => {
  const { limit, dev, ...data } = task.data
  // A private search takes all rows of its file.
  const isPrivate = searchMethods.get(String(search.type)).isPrivate === true
  const rows = isPrivate ? { ...data, train: join(packageRoot(), 'examples', 'private', 'dev.tsv') } : { ...data, limit, dev }
  const options = { steps: 2, rerank: 2, ...(!isPrivate && { questions: 2 }), ...small[String(search.type)], ...search }
  return {
    ...task,
    data: rows,
    template: '{prompt}\nReview: {text}\nSentiment:',
    search: { prompt: 'Is it good or bad?', ...options },
  }
}

const searchValues: KnownValues = {
  'search.prompt': ['Is it good?', [{ frozen: 'Say' }, ' which it is']],
  'search.extractor': ['\nSo it is'],
  'search.vocabulary': ['words', 'any', [' good', ' bad', ' is', ' it']],
  'search.batchSize': [2],
  'search.steps': [2],
  'search.probe.draft': [bundledModel],
  // What pays for two steps.
  'search.budget.computedTokens': [10_000_000],
  'search.budget.generatedTokens': [10_000_000],
  'search.budget.seconds': [3600],
}

/** What options of a search have an effect beside. */
const searchNeeds: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  maxNewTokens: { extractor: '\nSo it is' },
  weights: { extractor: '\nSo it is', maxNewTokens: 4 },
  extractor: { maxNewTokens: 4 },
  preflight: { extractor: '\nSo it is', maxNewTokens: 4 },
}

const evaluateValues = (teacher: string): Readonly<Record<string, readonly (readonly string[])[]>> => ({
  config: [],
  model: [[bundledModel]],
  data: [[testFile]],
  prompt: [[join(teacher, 'prompt.safetensors'), '--columns', 'text,label', '--model', bundledModel]],
  template: [['{text} =>']],
  answer: [[' {label}']],
  'answer-end': [['none'], ['auto'], ['###']],
  columns: [['text,label']],
  labels: [['0=bad,1=good']],
  instruction: [['Say whether it is good.']],
  choose: [['plain'], ['length'], ['unconditional']],
  threshold: [['0']],
  interpreter: [['python3']],
  rows: [[join(teacher, 'rows.jsonl')]],
  report: [[join(teacher, 'page.html')]],
  task: [],
  examples: [[sst2('train'), '--shots', '1']],
  shots: [['1', '--examples', sst2('train')]],
  scorer: [['exact-match', '--answer', ' {label}']],
  // What limits answers that are generated.
  choices: [['negative,positive', '--generate']],
  regex: [['negative|positive', '--generate']],
  'json-schema': [['true', '--generate', '--max-new-tokens', '8']],
  'rejected-mass': [['--choices', 'negative,positive', '--generate']],
  weights: [['stored'], ['fp32']],
  device: [['cpu']],
  precision: [['fp16']],
  threads: [['1']],
  memory: [['4']],
  'keep-weights': [['compact'], ['fp32']],
  family: [],
})

const optionsAt = (root: OptionSchema, path: string): [string, OptionSchema][] =>
  schemasAt(root, [path]).flatMap(schema =>
    Object.entries(schema.properties ?? {}).filter((entry): entry is [string, OptionSchema] => typeof entry[1] !== 'boolean'),
  )

/** @param teacher the folder of a run that has ended */
export function smokeCases(teacher: string): SmokeCase[] {
  const ofMethods = promptMethods.keys().map(
    (type): SmokeCase => ({
      name: `method ${type}`,
      kind: 'tune',
      config: { ...learning, method: { type }, ...methodNeeds[type] },
    }),
  )
  const ofTrain = optionsAt(configJsonSchema(), 'train').flatMap(([name, schema]) =>
    trials(`train.${name}`, schema, trainValues(teacher)).map(({ path, value }): SmokeCase => {
      const title = `${path} = ${JSON.stringify(value)}`
      if (value === undefined) return { name: title, kind: 'unknown' }
      const { steps, ...rest } = learning.train
      const need = trainNeeds(teacher)[name]
      const whole = need ? { ...need(value as object), ...(value as object) } : value
      const isOverPairs = name === 'loss' && losses.find((value as { type?: string }).type ?? '')?.preferences !== undefined
      return {
        name: title,
        kind: 'tune',
        config: {
          ...{ ...learning, ...(isOverPairs && pairTask) },
          train: { ...rest, ...(name !== 'epochs' && { steps }), [name]: whole },
        },
        ...(isOverPairs && { test: pairs('test') }),
      }
    }),
  )
  const ofSearches = searchMethods
    .keys()
    .map((type): SmokeCase => ({ name: `search ${type}`, kind: 'search', config: searching({ type }) }))
  const gcg = alternatives(schemasAt(searchConfigJsonSchema(), ['search'])[0]!, { type: 'gcg' })[0]!
  const ofSearch = Object.entries(gcg.properties ?? {}).flatMap(([name, schema]) =>
    typeof schema === 'boolean' || schema.const !== undefined
      ? []
      : trials(`search.${name}`, schema, searchValues).map(({ path, value }): SmokeCase => {
          const title = `${path} = ${JSON.stringify(value)}`
          if (value === undefined) return { name: title, kind: 'unknown' }
          return { name: title, kind: 'search', config: searching({ type: 'gcg', ...searchNeeds[name], [name]: value }) }
        }),
  )
  const values = evaluateValues(teacher)
  const ofEvaluate = commands
    .find(({ name }) => name === 'evaluate')!
    .options.flatMap(({ name, value, type }): SmokeCase[] => {
      const given = values[name] ?? (value === undefined ? [[]] : type === undefined ? undefined : [['2']])
      if (given === undefined) return [{ name: `evaluate --${name}`, kind: 'unknown' }]
      return given.map(one => ({
        name: `evaluate --${[name, ...one].join(' ')}`,
        kind: 'evaluate',
        flags: [`--${name}`, ...one],
      }))
    })
  return [...ofMethods, ...ofSearches, ...ofTrain, ...ofSearch, ...ofEvaluate]
}
