import { createHash } from 'node:crypto'
import { takeRows } from '../../data/memory-rows.js'
import { evaluateByGeneration, type GenerationEvaluation } from '../../evaluate/by-generation.js'
import { type RowResult, RowResultFile } from '../../evaluate/row-results.js'
import { loadScorer, type Scorer } from '../../evaluate/scorer.js'
import { grammarAsked } from '../../generate/limits/asked.js'
import { limitedToLabels } from '../../generate/limits/choices.js'
import type { WeightChoice } from '../../generate/width.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { ActiveStrategy } from '../../strategies/asking.js'
import { resampled } from '../../strategies/resampled.js'
import { contrastIn } from '../generation/contrast.js'
import { askedScorer } from './asked-scorer.js'
import type { EvaluatedControl, EvaluateOptions } from './evaluate.js'
import { warnOfOverlapIn } from './overlap.js'
import type { Place } from './place.js'
import { endOf, type Scored, type Subject } from './subject.js'

/** Answers that are generated, read by rules and scored; a row that is finished is not done again. */
export async function byGeneration(
  model: LanguageModel,
  subject: Subject,
  options: EvaluateOptions,
  place: Place,
): Promise<Scored> {
  const { source, data, template, answer, columns, labels, instruction, seed, batchSize, strategy } = subject
  const { examples, shots, task, maxNewTokens, temperature, limit, signal } = options
  const weights = options.weights ?? learnedIn(subject)
  // A benchmark says itself where its answers end.
  const isLearned = typeof subject.answerEnd === 'object' || options.answerEnd !== undefined
  const scorer = await askedScorer(options)
  await warnOfOverlapIn(subject, options.onWarning)
  using results = place.rows === undefined ? undefined : await RowResultFile.open(place.rows, await place.earlier())
  const grammar = grammarAsked(options)
  const asked = contrastIn(options, { name: source.kind === 'vectors' ? 'prompt' : undefined, source }, subject.against)
  const common = {
    ...{ model, data, template, answer, columns, labels, instruction, seed, batchSize },
    answerType: subject.isFreeText ? 'text' : (options.answerType ?? subject.config?.answerType),
    ...{ task, maxNewTokens, temperature, weights, limit, signal },
    prompt: await source.active(model),
    end: task === undefined || isLearned ? endOf(subject, template ?? '', model.tokenizer) : undefined,
    examples:
      examples === undefined
        ? undefined
        : { file: typeof examples === 'string' ? examples : await takeRows(examples, 'examples'), shots },
    scorer: scorer === undefined ? undefined : await scorerOf(scorer, options),
    contrast: asked && { strength: asked.strength, against: await subject.against?.active(model) },
  }
  const named = options.choices ?? (grammar === undefined ? limitedTo(subject, options) : undefined)
  const condition = source.kind === 'vectors' ? 'tuned' : source.kind === 'found' ? 'found prompt' : 'base model'
  const { metrics, rows, seconds, unextracted, cut, rules, filters, errors, ...evaluated } = await evaluateByGeneration({
    ...common,
    ...{ choices: named, grammar, rejectedMass: options.rejectedMass, strategy, results, onWarning: options.onWarning },
    onProgress: (done, total) => options.onProgress?.(done, total, 'rows'),
  })
  const isLimited = options.choices !== undefined || grammar !== undefined
  const limits = { choices: named, grammar }
  const besides = () => {
    if (strategy !== undefined) return besideStrategy(strategy, { ...common, ...limits }, evaluated.results, options)
    // What the limit hides: how often the answer would have been right without it.
    return isLimited ? controlOf('free answer', common, options) : undefined
  }
  const control = options.control === true ? await besides() : undefined
  const { task: name, conventions, weights: width, generatedTokens, resumed } = evaluated
  return {
    result: {
      condition: `${condition}${strategy === undefined ? '' : ` by ${strategy.options.type}`}`,
      metrics,
      rows,
      weights: width,
      results: evaluated.results,
      ...(control && { control }),
      seconds,
      rowsPerSecond: (rows - resumed) / Math.max(seconds, 1e-6),
      generated: {
        ...{ task: name, weights: width, generatedTokens, resumed },
        ...{ unextracted: unextracted.length, cut: cut.length, rules, filters, errors },
      },
    },
    generated: { task: name, conventions, filters, weights: width, generatedTokens, resumed },
  }
}

/** The same rows answered otherwise. */
async function controlOf(name: string, given: GenerationEvaluation, { onProgress }: EvaluateOptions): Promise<EvaluatedControl> {
  const onRows = (done: number, total: number) => onProgress?.(done, total, `rows, ${name}`)
  const { metrics, results } = await evaluateByGeneration({ ...given, onProgress: onRows })
  return { name, metrics, instruction: null, results }
}

/** What several calls are held against: one answer, or as many as the tokens of each row buy. */
function besideStrategy(
  { strategy }: ActiveStrategy,
  given: GenerationEvaluation,
  results: readonly RowResult[],
  options: EvaluateOptions,
): Promise<EvaluatedControl> {
  if (strategy.samplesAlone === true) return controlOf('one answer', given, options)
  const tokens = new Map(results.map(({ index, scores }) => [index, scores?.tokens ?? 0]))
  return controlOf('samples of as many tokens', { ...given, strategy: index => resampled(tokens.get(index) ?? 0) }, options)
}

/** What was learned without an end stops at none: its answers are its labels, as those of `generate` are. */
function limitedTo({ source, labels, answerEnd }: Subject, { task, onWarning }: EvaluateOptions): string[] | undefined {
  const isEndless = typeof answerEnd === 'object' && answerEnd.learned === undefined
  if (task !== undefined || !isEndless || source.file?.labels === undefined || labels === undefined) return undefined
  const words = [...new Set(Object.values(labels).map(given => (typeof given === 'string' ? given : given[0]!)))]
  onWarning?.(limitedToLabels(words))
  return words
}

/** The arithmetic in which a prompt was tuned, or found; elsewhere what fits decides. */
const learnedIn = ({ source, config }: Subject): WeightChoice =>
  source.kind === 'vectors' ? 'fp32' : source.kind === 'found' ? (config?.search?.weights ?? 'fp32') : 'auto'

/** A function is told apart from what it was at another time by its text. */
async function scorerOf(given: NonNullable<EvaluateOptions['scorer']>, options: EvaluateOptions): Promise<Scorer> {
  const scorer = await loadScorer(given, options)
  if (typeof given !== 'function') return scorer
  return { ...scorer, version: createHash('sha256').update(String(given)).digest('hex') }
}
