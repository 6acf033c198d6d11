import { type DataRecord, originOf } from '../data/readers/records.js'
import { RowBuilder } from '../data/rows/rows.js'
import { sideOf, type Task } from '../data/task.js'
import { resolveAnswerEnd } from '../data/texts/answer-end.js'
import type { Encoder } from '../data/texts/encoder.js'
import { softPlaceholders } from '../data/texts/soft-tokens.js'
import { GradpromptError } from '../errors.js'
import { losses } from '../losses/index.js'
import { comparedPairs, type MemoryPlan } from '../model/memory.js'
import type { Checkpoint } from '../model/weights/checkpoint.js'
import { promptMethods } from '../prompts/methods/index.js'
import type { Config } from './config.js'
import { metaTasks } from './meta/tasks.js'
import { privacyOf } from './privacy/options.js'
import { regulariserLosses } from './regularisers/index.js'
import { totalSteps } from './schedule.js'
import { refuseLongText } from './study/context-teacher.js'

/** The longest rows by their bytes are looked at, and no more than this many: the longest by tokens are among them. */
const looked = 1000
/** A tokenizer gives at most one id a byte; besides, it may add BOS, EOS and a leading space. */
const addedIds = 4

/**
 * Refuses training rows that are fewer or longer than a method's options provide for, before any weight is read.
 * @throws GradpromptError `invalid-config`, naming the option, the data and the values that fit; `text-too-long`; and as making the row does
 */
export async function refuseUnfitData(
  config: Config,
  task: Pick<Task, 'train' | 'labels'>,
  { config: model }: Pick<Checkpoint, 'config'>,
  loadTokenizer: () => Promise<Encoder>,
): Promise<void> {
  const method = promptMethods.get(config.method.type)
  refuseUnclassed(config, task)
  refuseUnprivate(config, task, model)
  refuseUnfitMeta(config, task, model)
  const examples = method.examples?.(config.method) ?? 0
  if (examples > task.train.length) throw tooFewRows(examples, task.train.length)
  const { loss } = config.train
  const before = loss && losses.get(loss.type).textBefore?.(loss)
  if (before !== undefined) {
    const { length: text } = (await loadTokenizer()).encode(before, { addSpecialTokens: true })
    refuseLongText({ text, row: 1 }, model.maxPositionEmbeddings)
  }
  const limit = method.textLimit?.(config.method)
  if (limit === undefined) return
  const { template, answer, train } = config
  const tokenizer = await loadTokenizer()
  const builder = new RowBuilder(tokenizer, {
    template,
    answer,
    labels: task.labels,
    contextLength: model.maxPositionEmbeddings,
    numVirtualTokens: 0,
    truncate: train.truncate,
    ...sideOf(config),
    end: resolveAnswerEnd(config, tokenizer),
    soft: { placeholders: softPlaceholders(template, tokenizer), firstId: model.vocabSize },
  })
  const long = task.train
    .map((record, index) => ({ record, index, bytes: builder.byteLength(record, index) }))
    .filter(({ bytes }) => bytes + addedIds > limit.tokens)
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, looked)
    .map(({ record, index }) => {
      const { ids, labels } = builder.training(record, index)
      // The last token is never fed.
      const tokens = limit.answers ? ids.length - 1 : labels.findIndex(label => label !== -100)
      return { tokens, origin: originOf(record, index) }
    })
  const longest = long.reduce((most, row) => (row.tokens > most.tokens ? row : most), { tokens: 0, origin: '' })
  if (longest.tokens > limit.tokens)
    throw new GradpromptError(
      'invalid-config',
      `${limit.option} (${limit.tokens}) is below the length of the data (data.train: ${longest.tokens} tokens in ${longest.origin})`,
      { found: String(limit.tokens), expected: `at least ${longest.tokens}`, hint: limit.hint },
    )
}

/**
 * What a loss over classes cannot be beside.
 * @throws GradpromptError `invalid-config`
 */
function refuseUnclassed({ train, verbalizer }: Config, { labels }: Pick<Task, 'labels'>): void {
  if (train.loss === undefined || losses.get(train.loss.type).ofClasses === undefined) return
  const refuse = (message: string, hint: string): never => {
    throw new GradpromptError('invalid-config', message, { hint })
  }
  const name = `train.loss.type: ${train.loss.type}`
  if (labels === undefined) refuse(`${name} needs answers of a closed set`, 'name them in data.labels')
  if (labels!.verbalizer !== undefined || verbalizer?.learned)
    refuse(`${name} has one word for each class`, 'leave the other words out of data.labels')
  if (regulariserLosses(train).length > 0)
    refuse(
      `${name} is learned without a teacher or a prior`,
      'leave train.regularization, train.distillation and train.prior out, or take the cross entropy',
    )
}

/**
 * What would show training records beside the noise, or past the account of it.
 * @throws GradpromptError `breaks-privacy`, `privacy-unreachable`
 */
function refuseUnprivate(
  { train, data, method, domain, precision, verbalizer }: Config,
  task: Pick<Task, 'train' | 'labels'>,
  model: Checkpoint['config'],
): void {
  const { privacy, batchSize } = train
  if (privacy === undefined) return
  const refuse = (found: string, why: string, hint: string): never => {
    throw new GradpromptError('breaks-privacy', `train.privacy does not hold with this: ${why}`, { found, hint })
  }
  const records = task.train.length
  const { init } = method as { readonly init?: { readonly type?: string } }
  const own = promptMethods.get(method.type)
  const loss = train.loss && losses.get(train.loss.type)
  if (batchSize > records)
    refuse(`train.batchSize: ${batchSize} of ${records} rows`, 'a step takes each record by chance', `take at most ${records}`)
  if (train.accumulate > 1)
    refuse(
      'train.accumulate',
      'a step is one sample of the records',
      'raise train.batchSize instead: records are computed one by one',
    )
  if (train.bucket) refuse('train.bucket', 'which records a step has would depend on the other records', 'leave it out')
  if (precision === 'fp16') refuse('precision: fp16', 'which steps are left out would depend on the records', 'take bf16 or fp32')
  if (init?.type === 'runs')
    refuse('method.init.type: runs', 'what an earlier run learned of the same records is not accounted for', 'start from a text')
  if (domain !== undefined)
    refuse('domain', 'particles begin as training records, without noise, and are kept with the prompt', 'leave it out')
  if (init?.type === 'pairs')
    refuse('method.init.type: pairs', 'the vectors begin as means of training records, without noise', 'start from zero')
  if (train.distillation)
    refuse('train.distillation', 'what a teacher learned of the same records is not accounted for', 'leave it out')
  if (own.examples?.(method) !== undefined)
    refuse(`method.type: ${method.type}`, 'the prompt begins as training records', 'take a method that starts from a text')
  if (verbalizer?.learned) refuse('verbalizer.learned', 'weights of words are learned without noise', 'leave it out')
  if (own.parameters(method, model).some(({ heldOut }) => heldOut))
    refuse('held-out parameters', 'they are learned on records without noise', 'leave the option out')
  if (loss?.leastBatch !== undefined)
    refuse(`train.loss.type: ${train.loss!.type}`, 'it compares a record with others', 'take a loss of single records')
  if (task.labels !== undefined && data.labels === undefined)
    refuse('classes that were found in the records', 'which classes there are would show records', 'name them in data.labels')
  privacyOf(privacy, { records, batchSize, steps: totalSteps(train, records) })
}

/** @throws GradpromptError as `metaTasks`; `invalid-config` */
function refuseUnfitMeta({ train, method }: Config, task: Pick<Task, 'train'>, model: Checkpoint['config']): void {
  if (train.meta === undefined) return
  metaTasks(task.train, train.meta.tasks)
  if (
    promptMethods
      .get(method.type)
      .parameters(method, model)
      .some(({ heldOut }) => heldOut)
  )
    throw new GradpromptError('invalid-config', 'train.meta has no rows for parameters that are learned on rows held out', {
      found: `method.type: ${method.type}, with its options`,
      hint: 'leave the option of the method out, or train.meta',
    })
}

/** In the place of example rows where records are private: a method that begins by looking at some would keep them without noise. */
export const noExamples =
  ({ method }: Pick<Config, 'method'>) =>
  (): never => {
    throw new GradpromptError(
      'breaks-privacy',
      'train.privacy does not hold with this: the prompt begins by looking at training records',
      {
        found: `method.type: ${method.type}, with its options`,
        hint: 'leave out the option that looks at them, or take a method that starts from a text',
      },
    )
  }

const tooFewRows = (examples: number, rows: number) =>
  new GradpromptError('invalid-config', `method.examples (${examples}) is beyond the training rows (${rows})`, {
    hint: `take method.examples from 1 to ${rows}`,
  })

/** Of these a batch may have to be computed alone, so that each has to fit. */
interface RowsToLearn {
  readonly records: readonly DataRecord[]
  /** Of every template, and for each of them of every text that is learned of a record. */
  readonly builders: readonly RowBuilder[]
  /** Texts that are learned of a record: their rows are computed together. */
  readonly together: number
  readonly numVirtualTokens: number
  readonly recompute: boolean
}

/** Records whose rows are weighed: the longest by their bytes. */
const weighed = 8

/**
 * Refuses training rows that are too long for the memory budget even when they are computed alone.
 * @throws GradpromptError `not-enough-memory`, with what would fit
 */
export function refuseOversizedRows(
  memory: MemoryPlan,
  { records, builders, together, numVirtualTokens, recompute }: RowsToLearn,
): void {
  const [builder] = builders
  const longest = [...records.keys()]
    .map(index => ({ index, bytes: builder!.byteLength(records[index]!, index) }))
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, weighed)
  const runs = longest.flatMap(({ index }) =>
    Array.from({ length: builders.length / together }, (_, template) => {
      const record = records[index]!
      const rows = builders.slice(template * together, (template + 1) * together).map(one => one.training(record, index))
      const lengths = rows.map(({ ids }) => ids.length)
      return {
        what: `the longest training row, ${Math.max(...lengths)} tokens (${originOf(record, index)})`,
        rows: numVirtualTokens + lengths.reduce((a, b) => a + b, 0),
        headRows: rows.reduce((sum, { labels }) => sum + labels.filter(label => label !== -100).length, 0),
        compared: comparedPairs(rows.length, Math.max(...lengths), numVirtualTokens),
      }
    }),
  )
  const largest = runs.reduce((a, b) => (b.rows > a.rows ? b : a))
  memory.requireTrainingRun(largest, recompute)
}
