import { basename } from 'node:path'
import { type ColumnsGiven, columnsGiven, withMeant } from '../data/columns-given.js'
import { type MemoryRows, readMemoryRows } from '../data/memory-rows.js'
import { readRecords } from '../data/read.js'
import type { DataNotice } from '../data/readers/reader.js'
import { type DataRecord, originOf } from '../data/readers/records.js'
import { limitRecords } from '../data/split.js'
import { type AnswerEnd, stopsOf } from '../data/texts/answer-end.js'
import type { AnswerType } from '../data/texts/answer-type.js'
import { type LabelSet, type LabelWords, labelWord } from '../data/texts/labels.js'
import { compileMessages } from '../data/texts/rendering.js'
import { readableText, type SoftVocabulary, softEncoder, softTexts } from '../data/texts/soft-tokens.js'
import { prependInstruction, type Template } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import { GenerationEngine } from '../generate/engine/engine.js'
import { type GenerationInput, type RenderedInput, renderInput } from '../generate/input.js'
import { writtenGrammar } from '../generate/limits/asked.js'
import { encodeChoices, tokensOfChoices, writtenChoices } from '../generate/limits/choices.js'
import type { AnswerGrammar } from '../generate/limits/grammars.js'
import { type Products, productsOf } from '../generate/programs.js'
import { generationRequest, sampleSeed, tokenBudget } from '../generate/settings.js'
import { chooseWidth, type WeightChoice } from '../generate/width.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { softVocabulary } from '../prompts/soft-rows.js'
import { shuffle } from '../random.js'
import { promptNameOf, promptsByTask } from '../sources/prompt.js'
import { type ActiveStrategy, ownPrompts } from '../strategies/asking.js'
import type { AnswerCall } from '../strategies/strategy.js'
import { byStrategy, figuresOf, type Said } from './by-strategy.js'
import { type GenerationMetrics, generationMetrics, scoreGeneration, scoreSamples } from './generations.js'
import { hashOf, type RowResult, type RowResultFile, resultKey } from './row-results.js'
import type { Scorer } from './scorer.js'
import { type GenerationTask, loadTask, type OwnTask, promptTemplate } from './tasks/index.js'
import { labelsIn, plainTask } from './tasks/plain-task.js'

export interface GenerationEvaluation {
  readonly model: LanguageModel
  /** The data file, or rows in memory. */
  readonly data: string | MemoryRows
  /** `gsm8k`, `bbh`, `lm-eval/gsm8k`, …, or one of people's own; without one, template and answer say what is asked and what is right. */
  readonly task?: string | OwnTask | undefined
  readonly template?: Template | undefined
  readonly answer?: string | undefined
  readonly columns?: ColumnsGiven | undefined
  readonly labels?: LabelWords | undefined
  /** Whether answers are classes or free text, where no labels say it; null as versions without the option judged it. */
  readonly answerType?: AnswerType | null | undefined
  /** What ends an answer, beside the task's stop strings and the model's own end tokens. */
  readonly end?: AnswerEnd | undefined
  /** Words of labels, or other texts, to which answers are limited. */
  readonly choices?: readonly string[] | undefined
  /** What answers are limited to besides. */
  readonly grammar?: AnswerGrammar | undefined
  /** Whether each row is told the mass that its limit rejects: its further score `rejectedMass`. */
  readonly rejectedMass?: boolean | undefined
  readonly instruction?: string | undefined
  readonly prompt?: ActivePrompt | undefined
  /** How much answers are chosen against those of another prompt, or of the model alone. */
  readonly contrast?: { readonly strength: number; readonly against: ActivePrompt | undefined } | undefined
  /** Several calls for an answer; where it depends on the row, by its place in the data. */
  readonly strategy?: ActiveStrategy | ((index: number) => ActiveStrategy) | undefined
  /** Rows to show before the question: so many, of this file, drawn by seed. By default as many as are usual for the task. */
  readonly examples?: { readonly file: string | MemoryRows; readonly shots?: number | undefined } | undefined
  readonly scorer?: Scorer | undefined
  readonly limit?: number | undefined
  readonly seed: number
  readonly maxNewTokens?: number | undefined
  readonly temperature?: number | undefined
  readonly weights?: WeightChoice | undefined
  readonly batchSize?: number | undefined
  /** Finished rows are taken from it, and new ones added. */
  readonly results?: RowResultFile | undefined
  readonly onProgress?: ((rows: number, total: number) => void) | undefined
  /** Hears what was guessed about the files. */
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface GenerationEvaluationResult extends GenerationMetrics {
  readonly task: string
  /** Whose conventions the task has. */
  readonly conventions?: string
  /** How answers were read: the rules that were tried in order. */
  readonly filters: readonly {
    readonly name: string
    readonly rules: readonly { readonly name: string; readonly description: string }[]
  }[]
  readonly weights: Products
  /** In the order of the data. */
  readonly results: readonly RowResult[]
  /** Taken from earlier results. */
  readonly resumed: number
  readonly generatedTokens: number
  readonly seconds: number
}

/** Names of prompts in an engine. */
const [promptName, otherName] = ['prompt', 'against']

/** What of a prompt decides answers. */
const decisiveOf = (prompt: ActivePrompt | undefined) => ({
  method: prompt?.config,
  parameters: [...(prompt?.parameters ?? [])].map(([name, values]) => [name, Buffer.from(values.buffer).toString('base64')]),
})

/**
 * Generates an answer to each row, reads it by the task's rules and scores it. A row that is finished is never done again: with
 * `results`, not even after the process was killed.
 *
 * @throws GradpromptError `missing-option`, `unknown-task`, `context-exceeded` naming the row, `aborted`, and those of reading data
 */
export async function evaluateByGeneration(options: GenerationEvaluation): Promise<GenerationEvaluationResult> {
  const { model, data, seed, prompt, signal, onProgress, scorer, results: file, strategy } = options
  const strategyAt = (index: number) => (typeof strategy === 'function' ? strategy(index) : strategy!)
  const weights = chooseWidth(options.weights ?? 'auto', model.memory)
  const adapter = options.task === undefined ? undefined : await loadTask(options.task)
  const all = await recordsOf(data, options, adapter?.columns)
  const records = limitRecords(all, options.limit, seed)
  const places = new Map(all.map((record, i) => [record, i]))
  const labels = labelsIn(options, all, adapter !== undefined)
  const task = adapter?.task({ path: nameOf(data), rows: records }) ?? plainTask(options, labels)
  const shown = { columnsOf: adapter?.columns, labels, scored: new Set(records.map(record => hashOf(record))) }
  const template = await templateOf(options, task, shown)
  const numVirtualTokens = prompt?.method.placement(prompt.config, model.config).numVirtualTokens ?? 0
  const soft = softVocabulary(prompt?.config, model.config)
  const tokenizer = soft ? softEncoder(model.tokenizer, soft) : model.tokenizer
  const settings = { temperature: options.temperature, seed }
  const ends = stopsOf(options.end, model.tokenizer)
  const stop = [...new Set([...task.stop, ...ends.stop])]
  const stopTokenIds = ends.stopTokenIds.filter(id => !model.tokenizer.endTokenIds.includes(id))
  const products = productsOf(model, weights)
  const promptHash = hashOf({ template, ...decisiveOf(prompt) })
  const { against, strength = 0 } = options.contrast ?? {}
  const contrast = strength > 0 && { contrast: { strength, ...(against && { against: otherName }) } }
  const choices = writtenChoices(options.choices, options.answer)
  const grammar = options.grammar && writtenGrammar(options.grammar, options.answer)
  const isLimited = choices !== undefined || grammar !== undefined
  const mass = isLimited && options.rejectedMass === true
  const room = { contextLength: model.config.maxPositionEmbeddings, numVirtualTokens }
  const encode = ({ text, addSpecialTokens }: RenderedInput, origin: string) => {
    const plain = tokenizer.encode(text, { addSpecialTokens })
    const limited = choices && encodeChoices(tokenizer, text, plain, choices)
    const { ids } = limited ?? { ids: plain }
    const usual = limited === undefined ? task.maxNewTokens : tokensOfChoices(limited.choices)
    return { ids, choices: limited?.choices, maxNewTokens: tokenBudget(origin, ids.length, room, options.maxNewTokens, usual) }
  }
  const rows = records.map((record, i) => {
    const index = places.get(record)!
    const rendered = render(template, record, index, { model, soft })
    const encoded = encode(rendered, originOf(record, index))
    const { maxNewTokens } = encoded
    const textKey = resultKey({
      model: model.hash,
      prompt: promptHash,
      row: hashOf(record),
      settings: {
        ...{ ...settings, weights: products, maxNewTokens, task: task.name, stop },
        ...(stopTokenIds.length > 0 && { stopTokenIds }),
        ...(choices && { choices: choices.map(({ written }) => written) }),
        ...(grammar && { grammar }),
        ...(mass && { rejectedMass: true }),
        ...(contrast && { contrast: hashOf({ strength, ...decisiveOf(against) }) }),
        ...(strategy && { strategy: strategyAt(index).key }),
      },
    })
    const key = hashOf([textKey, scorer?.name ?? null, scorer?.version ?? null, ...(adapter?.version ? [adapter.version] : [])])
    const readable = soft ? readableText(rendered.text, soft) : rendered.text
    return { record, index, input: rendered.input, encoded, textKey, key, sample: i, text: readable }
  })
  file?.requireOnly(({ index, row }) => index < all.length && (row === undefined || row === hashOf(all[index])))
  const done = new Map<number, RowResult>()
  const finish = async (row: (typeof rows)[number], { text, texts, finishReason, scores: told, first }: Omit<Said, 'tokens'>) => {
    const { record, index, textKey, key } = row
    const generated = { record, index, text, ...(finishReason && { finishReason }) }
    const scored = await (texts === undefined
      ? scoreGeneration(task, generated, scorer)
      : scoreSamples(task, { ...generated, texts }, scorer))
    const one =
      first === undefined || first === text ? scored : await scoreGeneration(task, { record, index, text: first }, scorer)
    const scores = { ...told, ...scored.scores, ...(first !== undefined && figuresOf(one.score, scored.score)) }
    const result = { ...scored, ...(Object.keys(scores).length > 0 && { scores }), prompt: row.text, textKey, key }
    file?.append(result)
    done.set(index, result)
  }
  for (const row of rows) {
    const known = file?.finished(row.index, row.key)
    if (known) done.set(row.index, known)
    else {
      // Another scorer, or the same one after a change, needs no new text; of several calls it would have to see each.
      const earlier = file?.generated(row.index, row.textKey)
      const said = strategy === undefined || earlier?.texts !== undefined ? earlier : undefined
      if (said?.text !== undefined) await finish(row, { ...toldOf(said), text: said.text })
    }
  }
  const resumed = done.size
  const started = performance.now()
  let generatedTokens = 0
  if (done.size < rows.length) {
    const own = typeof strategy === 'object' ? await ownPrompts(strategy, model) : {}
    await using engine = await GenerationEngine.open(model, {
      weights,
      ...(options.batchSize !== undefined && { batchSize: options.batchSize }),
      prompts: { ...(prompt && promptsByTask(promptName, prompt)), ...(against && { [otherName]: against }), ...own },
      // Several calls are not all under the prompt.
      ...(prompt && strategy === undefined && { defaultPrompt: promptName }),
    })
    type Row = (typeof rows)[number]
    const requestOf = ({ record, index, sample }: Row, { ids, choices, maxNewTokens }: Row['encoded'], call: AnswerCall = {}) => {
      const ofTask = prompt && { prompt: promptNameOf(promptName, prompt, record, index) }
      const { temperature = settings.temperature } = call
      const own = { temperature, seed: sampleSeed(seed, sample), ...ofTask, stop, stopTokenIds }
      return {
        ...generationRequest(ids, Math.min(maxNewTokens, call.maxNewTokens ?? maxNewTokens), own as never, call.sample),
        ...(choices && { choices }),
        ...(grammar && { grammar }),
        ...(mass && { rejectedMass: true }),
        ...contrast,
        ...(signal && { signal }),
      }
    }
    const answer = async (row: Row): Promise<Said | undefined> => {
      const { text, finishReason, ids, rejectedMass } = await engine.generate(requestOf(row, row.encoded))
      if (finishReason === 'aborted') return undefined
      return { text, finishReason, ...(rejectedMass !== undefined && { scores: { rejectedMass } }), tokens: ids.length }
    }
    const severally = (row: Row): Promise<Said | undefined> => {
      const { record, index, input } = row
      const origin = originOf(record, index)
      const request = (input: GenerationInput, call: AnswerCall) =>
        requestOf(row, encode(renderInput(model.tokenizer, input), origin), call)
      const asking = { engine, tokenizer: model.tokenizer, room, origin, seed: sampleSeed(seed, row.sample), request, signal }
      return byStrategy(strategyAt(index), { task, record, input }, asking).catch(error => {
        if (signal?.aborted) return undefined
        throw error
      })
    }
    await Promise.all(
      rows
        .filter(({ index }) => !done.has(index))
        .map(async row => {
          const said = await (strategy === undefined ? answer(row) : severally(row))
          if (said === undefined) return
          await finish(row, said)
          generatedTokens += said.tokens
          onProgress?.(done.size, rows.length)
        }),
    )
    if (done.size < rows.length) {
      throw new GradpromptError('aborted', `stopped after ${done.size} of ${rows.length} rows`, {
        ...(file && { hint: 'the same command goes on with the rest' }),
        exitCode: 1,
      })
    }
  }
  const results = rows.map(({ index }) => done.get(index)!)
  return {
    ...generationMetrics(results, { seed }),
    task: task.name,
    ...(task.conventions !== undefined && { conventions: task.conventions }),
    filters: task.filters.map(({ name, rules }) => ({
      name,
      rules: rules.map(({ name, description }) => ({ name, description })),
    })),
    weights: products,
    results,
    resumed,
    generatedTokens,
    seconds: (performance.now() - started) / 1000,
  }
}

/** What a row's result says of its texts, whatever scores them. */
const toldOf = ({ texts, finishReason, scores = {} }: RowResult): Omit<Said, 'text' | 'tokens'> => ({
  ...(texts && { texts }),
  ...(finishReason && { finishReason }),
  scores: Object.fromEntries(
    ['rejectedMass', 'calls', 'tokens'].flatMap(name => (name in scores ? [[name, scores[name]!]] : [])),
  ),
})

/** @throws GradpromptError `invalid-option` where columns of a benchmark, which has its own, are to have other names */
export async function recordsOf(
  data: string | MemoryRows,
  { columns, onWarning }: Pick<GenerationEvaluation, 'columns' | 'onWarning'>,
  task: string | undefined,
): Promise<readonly DataRecord[]> {
  const given = columnsGiven(columns)
  if (task !== undefined && Object.keys(given.meant).length > 0)
    throw new GradpromptError('invalid-option', `${task} says itself which columns its rows have`, {
      found: `columns for ${Object.keys(given.meant).join(', ')}`,
      hint: 'leave the columns out, or give template and answer in place of the task',
    })
  const options = { columns: given.names, task, onNotice: onWarning }
  const { records } = await (typeof data === 'string' ? readRecords(data, options) : readMemoryRows(data, options))
  return withMeant(records, given)
}

const nameOf = (data: string | MemoryRows) => (typeof data === 'string' ? data : data.name)

/** What stands before an answer. Rows that are scored are never among the examples. */
async function templateOf(
  options: GenerationEvaluation,
  task: GenerationTask,
  {
    columnsOf,
    labels,
    scored,
  }: { readonly columnsOf: string | undefined; readonly labels: LabelSet | undefined; readonly scored: ReadonlySet<string> },
): Promise<Template> {
  const { examples, instruction, seed } = options
  const shots = examples === undefined ? 0 : (examples.shots ?? task.shots)
  let shown: DataRecord[] = []
  if (examples !== undefined && shots > 0) {
    const records = await recordsOf(examples.file, options, columnsOf)
    const others = records.filter(record => !scored.has(hashOf(record)))
    if (others.length < shots) {
      throw new GradpromptError('not-enough-rows', `${basename(nameOf(examples.file))} has not enough rows to show`, {
        found: `${others.length} that are not scored themselves`,
        expected: `${shots}`,
      })
    }
    shown = shuffle(others, seed).slice(0, shots)
    // Examples answer in words, as rows that are learned from do.
    if (labels !== undefined)
      shown = shown.map((record, i) => ({ ...record, [labels.column]: labelWord(labels, record, i) ?? record[labels.column]! }))
  }
  const template = promptTemplate(task, shown)
  return instruction === undefined ? template : prependInstruction(template, instruction)
}

function render(
  template: Template,
  record: DataRecord,
  index: number,
  { model, soft }: { model: LanguageModel; soft: SoftVocabulary | undefined },
) {
  const rendered = compileMessages(template).render(record, index, soft && softTexts(template, soft))
  const input = typeof rendered === 'string' ? { prompt: rendered } : { messages: rendered }
  return { input, ...renderInput(model.tokenizer, input) }
}

/** The name of an evaluation's file: of its data, and of the task. */
export const evaluationName = (data: string, task?: string): string =>
  [basename(data).replace(/\.[^.]+$/, ''), ...(task === undefined ? [] : [task.replaceAll('/', '-')])].join('-')
