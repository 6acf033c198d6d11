import { batchOrder } from '../../data/batches.js'
import { type AnswerSpace, answerSpace, answerSpaceNotices } from '../../data/describe/answer-space.js'
import { type DataDescription, describeData } from '../../data/describe/describe.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { originOf } from '../../data/readers/records.js'
import type { Segment, TrainingRow } from '../../data/rows/rows.js'
import { exampleRows, readTask, taskRows } from '../../data/task.js'
import { type AnswerEnd, answerEndNotices, resolveAnswerEnd } from '../../data/texts/answer-end.js'
import { softName } from '../../data/texts/soft-tokens.js'
import { loadTokenizer, type Tokenizer } from '../../formats/tokenizer.js'
import { chooseDevices } from '../../model/devices/choose.js'
import { comparedPairs, keepingOn, MemoryPlan } from '../../model/memory.js'
import { type Checkpoint, openCheckpoint, shortName } from '../../model/weights/checkpoint.js'
import { weightBytes } from '../../model/weights/weight-file.js'
import type { WeightKeeping } from '../../program/keeping.js'
import { mostVirtualTokens } from '../../prompts/method.js'
import { promptMethods } from '../../prompts/methods/index.js'
import { numSoftTokens, softVocabulary } from '../../prompts/soft-rows.js'
import { refuseOccupied } from '../../store/run-folder.js'
import { checkMethod, learnedNumbers } from '../../train/check-method.js'
import { refuseOversizedRows, refuseUnfitData } from '../../train/data-limits.js'
import { checkUnlabelled } from '../../train/domain/task-domain.js'
import { chosenLoss, learnedAnswers } from '../../train/losses.js'
import { stepRows } from '../../train/meta/words.js'
import { rowNotices } from '../../train/notices.js'
import { referenceNotices } from '../../train/preferences.js'
import { checkTeachers } from '../../train/regularisers/distillation.js'
import { totalSteps } from '../../train/schedule.js'
import { resolveConfig } from '../computing/config-input.js'
import type { ConfigRequest } from '../computing/messages.js'
import { bytes, count, type Output, plural, quoted, table } from '../terminal/output.js'
import { dataTable } from './data-table.js'

export const SHOWN_ROWS = 3
/** Of a list of tokens, at its beginning and at its end. */
const SHOWN_TOKENS = 16

/**
 * Shows what `tune` would do with a config: everything that can be known from the model's header, its tokenizer and the data. No weights
 * are read.
 */
export async function dryRun(request: ConfigRequest, output: Output): Promise<void> {
  const config = await resolveConfig(request)
  if (config.out !== undefined) await refuseOccupied(config.out)
  const task = await readTask(config)
  const checkpoint = await openCheckpoint(config.model)
  await checkpoint.file.close()
  const tokenizer = await loadTokenizer(checkpoint.tokenizer)
  const { config: model } = checkpoint
  await checkMethod(config.method, checkpoint)
  await checkTeachers(config.train.distillation, checkpoint)
  await refuseUnfitData(config, task, checkpoint, () => Promise.resolve(tokenizer))
  await checkUnlabelled(config)
  const method = promptMethods.get(config.method.type)
  const contextLength = model.maxPositionEmbeddings
  const examples = exampleRows(config, task, { tokenizer, contextLength })
  const { template } = config
  const options = method.resolve?.(config.method, { tokenizer, exampleRows: examples, template }) ?? config.method
  const numVirtualTokens = mostVirtualTokens(method, options, model)
  const tasks = method.tasks?.(options)
  const soft = softVocabulary(options, model)
  const learned = learnedAnswers(config)
  const { builder, builders, truncated } = taskRows(config, task, {
    tokenizer,
    contextLength,
    numVirtualTokens,
    tasks,
    soft,
    learned,
  })

  const { batchSize, accumulate, bucket, recompute } = config.train
  const order = batchOrder({ rows: task.train.length, batchSize, seed: config.seed, bucket: false })
  const batch = order.at(0).flatMap(i => builders.slice(0, learned.length).map(one => one.training(task.train[i]!, i)))
  const devices = await chooseDevices(config.device, weightBytes(checkpoint))
  const memory = new MemoryPlan(
    checkpoint,
    config.memory === undefined ? undefined : config.memory * 1e9,
    keepingOn(devices[0], config.keepWeights, config.precision),
    devices,
  )
  const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0)
  const labelTokens = (row: TrainingRow) => row.labels.filter(label => label !== -100).length
  const lengths = batch.map(row => row.ids.length)
  refuseOversizedRows(memory, { records: task.train, builders, together: learned.length, numVirtualTokens, recompute })
  const compared = comparedPairs(lengths.length, Math.max(...lengths), numVirtualTokens)
  const needed = memory.estimate(numVirtualTokens + sum(lengths), sum(batch.map(labelTokens)), true, compared, recompute)
  const together = Array.from({ length: batch.length / learned.length }, () => learned.length)
  const parts = memory.split(lengths, { headRows: batch.map(labelTokens), training: true, recompute, together })

  const end = resolveAnswerEnd(config, tokenizer)
  const space = answerSpace(config, task.train[0]!, tokenizer)
  const rowsOfParts = { train: task.train, dev: task.dev, test: task.test }
  const data = describeData({
    template,
    answer: config.answer,
    labels: task.labels,
    parts: rowsOfParts,
    lengthOf: (record, i) => {
      const row = builder.training(record, i)
      return { tokens: row.ids.length, answerTokens: labelTokens(row), truncated: row.truncated }
    },
  })

  const summary = {
    event: 'dry-run',
    model: modelFacts(checkpoint),
    method: method.type,
    parameters: learnedNumbers(method.parameters(options, model)),
    numVirtualTokens,
    softTokens: numSoftTokens(options),
    rows: { train: task.train.length, dev: task.dev.length, scored: task.scored.length, test: task.test.length, truncated },
    labels: task.labels?.candidates ?? null,
    answerEnd: builder.learnedEnd ?? null,
    data: { ...data, answerSpace: space },
    warnings: [
      ...rowNotices(config, task, { method, options, model, tokenizer, builder }),
      ...referenceNotices(chosenLoss(config.train)),
      ...task.notices,
      ...answerSpaceNotices(space, config.answer),
      ...answerEndNotices(config, end, builder.overlap),
    ],
    steps: totalSteps(config.train, task.train.length),
    batchSize,
    accumulate,
    stepRows: stepRows(config.train),
    bucket,
    memory: {
      budget: memory.budget,
      keeping: memory.keeping,
      weights: memory.weights,
      firstBatch: needed,
      parts: parts.length,
      recompute,
    },
    examples: task.train.slice(0, SHOWN_ROWS).flatMap((record, i) =>
      builders.slice(0, learned.length).map(one => {
        const { ids, segments, truncated, liked, task: number } = one.training(record, i)
        return {
          origin: originOf(record, i),
          tokens: ids.length,
          truncated,
          ...(liked !== undefined && { liked }),
          ...(number !== undefined && tasks !== undefined && { task: tasks.names[number] }),
          segments: segments.map(segment => ({
            ...segment,
            pieces: segment.ids.map(id => (id < model.vocabSize ? tokenizer.token(id) : softName(id - model.vocabSize))),
          })),
        }
      }),
    ),
  }
  output.object(summary)
  for (const { code, message } of summary.warnings) output.note(`warning[${code}]: ${message}`)
  output.text(describe(summary, tokenizer))
}

/** How weights are kept, in words. */
export const kept = (keeping: WeightKeeping): string =>
  keeping === 'compact' ? 'kept compact, with the same values' : `kept in ${keeping}`

/** What a model's header says. */
export function modelFacts(checkpoint: Checkpoint) {
  const { config, family } = checkpoint
  return {
    name: shortName(checkpoint),
    family: family.name,
    layers: config.numLayers,
    hiddenSize: config.hiddenSize,
    vocabulary: config.vocabSize,
    contextLength: config.maxPositionEmbeddings,
  }
}

export const describeModel = ({ name, family, layers, hiddenSize, vocabulary, contextLength }: ReturnType<typeof modelFacts>) =>
  `${name}: ${family}, ${layers} layers, hidden size ${hiddenSize}, vocabulary ${count(vocabulary)}, context ${count(contextLength)}`

/** How answers end, in words. */
export const endOf = (end: AnswerEnd | null): string =>
  end === null ? 'with nothing' : `with ${quoted(end.text)} (${plural(end.ids.length, 'token')}: ${end.ids.join(', ')})`

/** A part of a row: its text, and below that its tokens. */
export function pieceLines(
  { role, text, ids, pieces }: { role: string; text: string; ids: readonly number[]; pieces: readonly string[] },
  width: number,
  remark = '',
): [string, string] {
  const named = ids.map((id, i) => `${id} ${quoted(pieces[i] ?? '', 24)}`)
  const left = named.length - 2 * SHOWN_TOKENS
  const tokens = (
    left > 0 ? [...named.slice(0, SHOWN_TOKENS), `… ${count(left)} more …`, ...named.slice(-SHOWN_TOKENS)] : named
  ).join('  ')
  return [`  ${role.padEnd(width)}  ${quoted(text, 110)}${remark}`, `${' '.repeat(width + 4)}${tokens}`]
}

interface Summary {
  readonly model: ReturnType<typeof modelFacts>
  readonly method: string
  readonly parameters: number
  readonly numVirtualTokens: number
  /** In the template. */
  readonly softTokens: number
  readonly rows: { train: number; dev: number; scored: number; test: number; truncated: number }
  readonly labels: readonly string[] | null
  readonly answerEnd: AnswerEnd | null
  readonly data: DataDescription & { readonly answerSpace: AnswerSpace }
  readonly warnings: readonly DataNotice[]
  readonly steps: number
  readonly batchSize: number
  readonly accumulate: number
  /** Rows that a step computes. */
  readonly stepRows: number
  readonly memory: {
    budget: number
    keeping: WeightKeeping
    weights: number
    firstBatch: number
    parts: number
    recompute: boolean
  }
  readonly examples: readonly {
    origin: string
    tokens: number
    truncated: boolean
    /** Where the data have preferences. */
    liked?: boolean
    task?: string | undefined
    segments: readonly (Segment & { pieces: readonly string[] })[]
  }[]
}

function describe(summary: Summary, tokenizer: Tokenizer): string {
  const { model, rows, memory, labels, numVirtualTokens, softTokens } = summary
  const soft = softTokens > 0 ? ` and ${plural(softTokens, 'soft token')} of the template` : ''
  const scored = rows.scored < rows.dev ? ` (${count(rows.scored)} of them scored)` : ''
  const split = memory.parts > 1 ? `, computed in ${memory.parts} parts` : ''
  const head = table([
    ['model', describeModel(model)],
    [
      'learned',
      `${plural(summary.parameters, 'number')} in ${plural(numVirtualTokens, 'virtual token')}${soft} (${summary.method})`,
    ],
    [
      'rows',
      `${count(rows.train)} train, ${count(rows.dev)} dev${scored}, ${count(rows.test)} test; ${count(rows.truncated)} cut to fit`,
    ],
    ['labels', labels === null ? 'none: free-text answers' : labels.map(label => quoted(label, 30)).join(', ')],
    ['answers end', endOf(summary.answerEnd)],
    ['steps', `${count(summary.steps)} of ${plural(summary.stepRows, 'row')}`],
    [
      'memory',
      `${bytes(memory.firstBatch)} for the first batch, ${bytes(memory.weights)} of it weights (${kept(memory.keeping)}); ` +
        `${bytes(memory.budget)} to use${split}${memory.recompute ? '; layers are computed again in the backward pass' : ''}`,
    ],
  ])
  const about = `data\n${dataTable(summary.data)}`
  const examples = summary.examples.map(({ origin, tokens, truncated, liked, task, segments }) => {
    const { bosTokenId } = tokenizer
    const lines = segments.flatMap(segment => {
      const begins = segment.role === 'context' && bosTokenId !== undefined && segment.ids[0] === bosTokenId
      return pieceLines(segment, 'context'.length, begins ? ' (BOS first)' : '')
    })
    const cut = truncated ? ', text cut to fit' : ''
    const of = task === undefined ? '' : `, of ${task}`
    const side = liked === undefined ? '' : liked ? ', preferred' : ', not preferred'
    return [`${origin}${of}${side}: ${numVirtualTokens} virtual + ${plural(tokens, 'token')}${cut}`, ...lines].join('\n')
  })
  return [head, about, ...examples].join('\n\n')
}
