import { refuseUnread } from '../../config/call-options.js'
import { type DataRecord, originOf } from '../../data/readers/records.js'
import type { RecordChunk } from '../../data/record-stream.js'
import type { LabelSet } from '../../data/texts/labels.js'
import { compileMessages } from '../../data/texts/rendering.js'
import { compileTemplate, prependInstruction, type Template } from '../../data/texts/template.js'
import { GradpromptError, refuseAborted } from '../../errors.js'
import { type ClassScores, contentFreeRow, type ScoreOptions, scoreClasses } from '../../evaluate/score.js'
import { framed } from '../../generate/framing.js'
import { renderInput } from '../../generate/input.js'
import { type Products, productsOf } from '../../generate/programs.js'
import { generationRequest, tokenBudget } from '../../generate/settings.js'
import { firstOf, useModel } from '../../model/with-model.js'
import { ownCommand } from '../../own-command.js'
import { promptNameOf, promptWordWeights } from '../../sources/prompt.js'
import { openTestTime, type TestTime } from '../../train/test-time/test-time.js'
import { calibrationOf, rowBuilderOf } from '../evaluation/likelihood.js'
import { endOf, missing, type Subject, subjectOf } from '../evaluation/subject.js'
import { notClasses, refuseUntunable, textColumns } from '../evaluation/test-time.js'
import { openAnswering } from '../generation/generate.js'
import { classified, labelsOf, withoutLabel } from './classes.js'
import type { PredictOptions } from './predict.js'
import { knownScores, noneOfThese, readRejection, requireRejection } from './rejection.js'

/**
 * What answers rows under a prompt, opened once for all of them: classes by their likelihood, as `evaluate` decides them, or free text
 * that is generated. It does not know where rows come from or where answers go.
 */
export interface Predictor extends AsyncDisposable {
  /** Short name of the model. */
  readonly model: string
  /** The arithmetic. */
  readonly weights: Products
  /** The classes; undefined where answers are free text. */
  readonly labels: readonly string[] | undefined
  /** Where rows that have a label have it, and what it may be. */
  readonly known: { readonly column: string; readonly values: ReadonlySet<string> } | undefined
  /** The columns that the template names, and those of them that stand in a text as they are. */
  readonly needed: readonly string[]
  readonly texts: readonly string[]
  /** The benchmark that rows are read as where they lack those. */
  readonly task: string | undefined
  /** Names of the columns of a file without a header, with labels and without. */
  readonly usualColumns: readonly (readonly string[])[]
  /** Rows that are best answered together. */
  readonly size: number
  /**
   * @param first index of the chunk's first row
   * @param onDone hears how many of the chunk's rows are answered
   * @throws GradpromptError naming the row
   */
  predict(chunk: Pick<RecordChunk, 'records'>, first: number, onDone: (rows: number) => void): Promise<Answered[]>
  /** How many rows so far had a text that did not fit the context whole. */
  cut(): number
}

/** The answer to one row. */
export interface Answered {
  /** The class, by its word; or the text. */
  readonly prediction: string
  /** The share of the classes' probability that it has; of a text, the probability of its tokens in turn. */
  readonly probability: number
  /** By how much that is more than the second class's. */
  readonly margin?: number
  /** Of a run that was taught to reject: how sure it is that the row is of one of the classes, from 0 to 1. */
  readonly known?: number
  /** Of each class. */
  readonly probabilities?: Readonly<Record<string, number>>
  /** Why a generated text ended. */
  readonly finishReason?: 'stop' | 'length'
}

/** @throws GradpromptError as `predict` says */
export async function openPredictor(options: PredictOptions): Promise<Predictor> {
  const { model, prompt, template: own, force, strength, ensemble, labels: words, aggregate, batchSize } = options
  const subject = await subjectOf({
    ...{ model, prompt, force, strength, ensemble, aggregate, batchSize },
    ...{
      template: own,
      answer: options.answer,
      labels: words,
      answerType: options.answerType,
      data: [],
      testTime: options.testTime,
    },
  })
  if (subject.testTime !== undefined)
    refuseUntunable(subject, options, options.answerType === 'text' ? 'answerType: text' : undefined)
  if (subject.source.found?.config.search?.extractor !== undefined) throw reasons()
  const answer = subject.answer ?? missing('answer')
  const given = subject.template ?? missing('template')
  const template = subject.instruction === undefined ? given : prependInstruction(given, subject.instruction)
  const labels = labelsOf(subject, answer, options)
  if (subject.testTime !== undefined && labels === undefined) throw notClasses()
  const { columns: needed, conversations } = compileMessages(template)
  const { columns, task } = subject.config?.data ?? {}
  const answered = compileTemplate(answer).columns
  const common = {
    needed,
    texts: needed.filter(name => !conversations.includes(name)),
    task,
    usualColumns:
      columns === undefined ? [] : [columns, columns.filter(name => needed.includes(name) || !answered.includes(name))],
    size: subject.testTime === undefined ? (labels === undefined ? 256 : 128) : (subject.testTime.batch ?? fewRows),
  }
  const opened =
    labels === undefined
      ? await openGenerating(options, subject, template)
      : await openScoring(options, subject, { template, answer, labels })
  options.onOpened?.(opened.model)
  const known = labels && { column: labels.column, values: new Set(labels.words.keys()) }
  return { ...common, labels: opened.classes ?? labels?.candidates, known, ...opened }
}

/** Rows that are each tuned on take a second and more: they are handed on a few at a time. */
const fewRows = 8

type Opened = Pick<Predictor, 'model' | 'weights' | 'predict' | 'cut' | typeof Symbol.asyncDispose> & {
  /** Where not all labels are classes. */
  readonly classes?: readonly string[] | undefined
}

async function openScoring(
  options: PredictOptions,
  subject: Subject,
  { template, answer, labels }: { readonly template: Template; readonly answer: string; readonly labels: LabelSet },
): Promise<Opened> {
  refuseUnreadByScoring(options)
  const rejecting = await rejectingBy(options, subject.source.folder)
  if (rejecting !== undefined && subject.testTime !== undefined) throw rejectsPlainly()
  const { source, config, batchSize } = subject
  const used = await useModel(subject.modelGiven, {
    ...firstOf(options, config),
    onProgress: share => options.onProgress?.(Math.floor(99 * share), 100, 'weights'),
  })
  const { model } = used
  try {
    const prompt = await source.active(model)
    const truncate = options.truncate ?? config?.train?.truncate
    const texts = { answer, labels, truncate, end: endOf(subject, template, model.tokenizer) }
    const builder = rowBuilderOf(model, prompt, { ...texts, template })
    const weights = prompt && source.file && promptWordWeights(source.file, labels)
    const tuned =
      subject.testTime &&
      (await openTestTime(model, prompt!, {
        builders: [builder, ...subject.testTime.templates.map(own => rowBuilderOf(model, prompt, { ...texts, template: own }))],
        columns: textColumns(template, labels, prompt!),
        ...{ labels, weights, options: subject.testTime, seed: subject.seed, signal: options.signal },
      }))
    const decision = {
      batchSize,
      signal: options.signal,
      weights,
      contentFree: contentFreeRow(calibrationOf(options, subject), builder, labels),
      perByte: options.choose === 'length',
    }
    let cut = 0
    return {
      model: model.name,
      weights: productsOf(model, 'fp32'),
      cut: () => cut,
      classes: rejecting?.rejection.known && labels.candidates.filter(word => rejecting.rejection.known.includes(word)),
      async predict({ records }, first, onProgress) {
        const unlabelled = records.map((record, i) => withoutLabel(record, first + i, labels.column, builder.columns))
        const rows = unlabelled.map((record, i) => builder.scoring(record, first + i))
        cut += rows.filter(({ truncated }) => truncated).length
        const scored =
          tuned === undefined
            ? await scoreClasses(model, prompt, rows, labels, { ...decision, onProgress })
            : await tunedScores(tuned, unlabelled, first, { signal: options.signal, onProgress })
        return scored.map(({ logLikelihoods, scores = logLikelihoods }, i) => {
          const origin = originOf(records[i]!, first + i)
          if (rejecting === undefined) return classified(labels.candidates, scores, origin)
          const { classes, scores: own, known } = knownScores(labels.candidates, scores, rejecting.rejection)
          const answer = { ...classified(classes, own, origin), known }
          return known < rejecting.below ? { ...answer, prediction: noneOfThese } : answer
        })
      },
      async [Symbol.asyncDispose]() {
        await tuned?.[Symbol.asyncDispose]()
        await used[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await used[Symbol.asyncDispose]()
    throw error
  }
}

/** The classes of rows under a prompt that is tuned on them. */
async function tunedScores(
  tuned: TestTime,
  records: readonly DataRecord[],
  first: number,
  { signal, onProgress }: Pick<ScoreOptions, 'signal'> & { readonly onProgress: (rows: number) => void },
): Promise<ClassScores[]> {
  const scores: ClassScores[] = []
  for (let start = 0; start < records.length; start += tuned.size) {
    refuseAborted(signal)
    const part = records.slice(start, start + tuned.size)
    const answered = await tuned.answer(part, [...part.keys()].map(i => first + start + i)) // biome-ignore format: a call
    scores.push(...answered.map(one => one.scores))
    onProgress(scores.length)
  }
  return scores
}

/** What a run knows of foreign rows, and below which score a row is one. @throws GradpromptError `cannot-reject`, `invalid-option` */
async function rejectingBy({ reject, choose, calibrate }: PredictOptions, folder: string | undefined) {
  const isAsked = reject !== undefined && reject !== false
  const found = await readRejection(folder)
  if (found === undefined && !isAsked) return undefined
  const rejection = requireRejection(found)
  if (isAsked) refuseUnread({ choose: choose === 'plain' ? undefined : choose, calibrate }, 'rows are rejected by plain likelihoods', 'neither') // biome-ignore format: a call
  if (typeof reject === 'number' && !(reject >= 0 && reject <= 1))
    throw new GradpromptError('invalid-option', 'reject is not valid', {
      found: String(reject),
      expected: 'a number from 0 to 1',
    })
  // Without being asked for it nothing is rejected, and every row has its score all the same.
  return { rejection, below: typeof reject === 'number' ? reject : isAsked ? rejection.threshold : Number.NEGATIVE_INFINITY }
}

async function openGenerating(options: PredictOptions, subject: Subject, template: Template): Promise<Opened> {
  refuseUnreadByGenerating(options)
  const {
    promptTask,
    force,
    strength,
    weights,
    maxNewTokens,
    signal,
    device,
    threads,
    memory,
    keepWeights,
    precision,
    onProgress,
  } = options
  const { modelGiven: model, batchSize } = subject
  // An instruction stands in the template already.
  const prompt = subject.source.kind === 'text' ? undefined : options.prompt
  const opened = await openAnswering({
    ...{
      model,
      prompt,
      promptTask,
      force,
      strength,
      template,
      weights,
      batchSize,
      maxNewTokens,
      device,
      threads,
      memory,
      keepWeights,
      precision,
    },
    ...{ temperature: 0, logProbabilities: true, onProgress },
  })
  const { engine, prompt: named, settings, render } = opened
  // By its own name a prompt is what its tasks share.
  const nameOfRow = (record: DataRecord, index: number) =>
    promptTask === undefined && settings.prompt !== undefined
      ? { prompt: promptNameOf(settings.prompt, named.active, record, index) }
      : {}
  return {
    model: opened.model.name,
    weights: opened.weights,
    // What is answered in words is never cut, but refused.
    cut: () => 0,
    async predict({ records }, first, onDone) {
      const requests = records.map((record, i) => {
        const origin = originOf(record, first + i)
        const { text, addSpecialTokens } = renderInput(named.tokenizer, framed(record, named.frame, origin), render)
        const ids = named.tokenizer.encode(text, { addSpecialTokens })
        return generationRequest(
          ids,
          tokenBudget(origin, ids.length, named.room, maxNewTokens),
          { ...settings, ...nameOfRow(record, first + i) },
          first + i,
        )
      })
      let done = 0
      const answerOf = async (request: (typeof requests)[number]) => {
        const answer = await engine.generate({ ...request, ...(signal && { signal }) })
        onDone(++done)
        return answer
      }
      const answers = await Promise.all(requests.map(answerOf))
      return answers.map(({ text, finishReason, logProbabilities = [] }): Answered => {
        if (finishReason === 'aborted') {
          refuseAborted(signal)
          throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
        }
        const probability = Math.exp(logProbabilities.reduce((sum, value) => sum + value, 0))
        return { prediction: text, probability, finishReason }
      })
    },
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

/** What a generation does not read. @throws GradpromptError `invalid-option` */
function refuseUnreadByGenerating({ choose, calibrate, truncate, reject, ensemble }: PredictOptions): void {
  refuseUnread(
    { choose, calibrate, truncate, reject, ensemble },
    'answers are free text, and generated',
    'labels, by whose likelihood they are chosen',
  )
}

/** What the likelihood of classes does not read. @throws GradpromptError `invalid-option` */
function refuseUnreadByScoring({ weights, maxNewTokens, promptTask }: PredictOptions): void {
  refuseUnread(
    { weights, maxNewTokens, promptTask },
    'answers are classes, and chosen by their likelihood',
    'free text (answerType: text)',
  )
}

const rejectsPlainly = () =>
  new GradpromptError('not-tunable', 'what a run rejects is decided by its prompt as it was learned', {
    found: 'testTime with a run of gradprompt reject, whose threshold is of that prompt',
    expected: 'predict without testTime',
  })

const reasons = () =>
  new GradpromptError('unsupported-prompt', 'the answers of a search over reasoning are not predicted row by row', {
    found: 'a prompt behind which the model reasons before it answers',
    expected: 'a prompt that is followed by the answer',
    hint: `${ownCommand`evaluate RUN --data FILE --rows ROWS.jsonl`} writes what the model reasons for each row, and its answer`,
  })
