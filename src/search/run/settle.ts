import type { DataNotice } from '../../data/readers/reader.js'
import { GenerationEngine } from '../../generate/engine/engine.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { SearchConfig } from '../config.js'
import { searchMethods } from '../methods/index.js'
import { Budget } from '../score/budget.js'
import { Objective } from '../score/objective.js'
import { SearchPrograms } from '../score/programs.js'
import { Reasoning } from '../score/reasoning.js'
import { TokenSpace } from '../space/token-space.js'
import { spaceOptions } from './job.js'
import { REASONING_BATCH } from './judge.js'
import { answerMass, PREFLIGHT_ROWS } from './preflight.js'
import type { SearchTask } from './task.js'

/** `extractor: auto` and `maxNewTokens: auto`: a few of each are tried on a few questions, and what was taken is said and stands in the run's config. */

const EXTRACTORS = [
  '\nTherefore, the final answer is',
  '\nSo the answer is',
  '\nThe answer is:',
  '\nFinal answer:',
  '\nAnswer:',
  '\n\n####',
]
const LENGTHS = [32, 64, 128, 256, 512]
/** Reasonings that may be cut. */
const CUT = 0.1
/** Extractors are told apart by what the answers come to behind them; a mark more costs nothing. */
const AUTO = 'auto'

export const isUnsettled = ({ search }: SearchConfig): boolean =>
  search.extractor === AUTO || (search.maxNewTokens as unknown) === AUTO

/** A config with the values that are tried first, where nothing is computed. */
export function assumed(config: SearchConfig): SearchConfig {
  const { extractor, maxNewTokens } = config.search
  return {
    ...config,
    search: {
      ...config.search,
      ...(extractor === AUTO && { extractor: EXTRACTORS[0]! }),
      ...((maxNewTokens as unknown) === AUTO && { maxNewTokens: LENGTHS.at(-1)! }),
    },
  }
}

/**
 * Decides what was left to be tried.
 * @returns the config itself where nothing was
 * @throws GradpromptError as `TokenSpace` does
 */
export async function settled(
  config: SearchConfig,
  task: SearchTask,
  model: LanguageModel,
): Promise<{ config: SearchConfig; notices: readonly DataNotice[] }> {
  if (!isUnsettled(config)) return { config, notices: [] }
  const { search } = config
  const first = assumed(config)
  const { tokenizer } = model
  const programs = new SearchPrograms(model)
  const method = searchMethods.get(search.type)
  const records = task.questions.slice(0, PREFLIGHT_ROWS)
  const contextLength = model.config.maxPositionEmbeddings
  const spaceOf = (own: SearchConfig) =>
    new TokenSpace(tokenizer, spaceOptions(own, task.labels, contextLength, tokenizer), records[0]!)
  const rowsOf = (own: SearchConfig) => {
    const space = spaceOf(own)
    return records.map((record, i) => space.row(record, i))
  }
  // The longest that has room in every row.
  const fits = (maxNewTokens: number) => {
    try {
      return rowsOf({ ...first, search: { ...first.search, maxNewTokens } }).length > 0
    } catch {
      return false
    }
  }
  const longest =
    (search.maxNewTokens as unknown) === AUTO ? ([...LENGTHS].reverse().find(fits) ?? LENGTHS[0]!) : search.maxNewTokens!
  const widest = { ...first, search: { ...first.search, maxNewTokens: longest } }
  const space = spaceOf(widest)
  const rows = rowsOf(widest)
  try {
    await using engine = await GenerationEngine.open(model, { weights: search.weights!, batchSize: REASONING_BATCH })
    const generated = new Reasoning(engine, tokenizer, { maxNewTokens: longest, batchSize: REASONING_BATCH })
    const budget = new Budget({}, () => 0)
    const [reasoned] = await generated.answers([space.start], rows, { budget })
    const notices: DataNotice[] = []
    const cutAt = (most: number) =>
      reasoned!.filter(({ reasoning: ids, isCut }) => ids.length > most || (isCut && most === longest)).length
    const enough = LENGTHS.find(most => most <= longest && cutAt(most) <= CUT * rows.length)
    const maxNewTokens = (search.maxNewTokens as unknown) === AUTO ? (enough ?? longest) : longest
    if ((search.maxNewTokens as unknown) === AUTO)
      notices.push({
        code: 'max-new-tokens-chosen',
        message: `search.maxNewTokens: ${maxNewTokens}, where ${cutAt(maxNewTokens)} of ${rows.length} reasonings are cut`,
      })
    if (search.extractor !== AUTO) return { config: withSearch(config, { maxNewTokens }), notices }
    const settings = { free: [], fluency: 0, measure: search.measure, labels: task.labels, ...method.objective?.(search) }
    // What the model writes is the same, whatever asks for the answer behind it.
    const known = rows.map((row, i) => ({
      prompt: space.start,
      question: row.index,
      ...reasoned![i]!,
      reasoning: reasoned![i]!.reasoning.slice(0, maxNewTokens),
    }))
    const held = new Reasoning(engine, tokenizer, { maxNewTokens, batchSize: REASONING_BATCH }, undefined, known)
    const objective = new Objective(model, programs, budget, settings, undefined, held)
    const tried: { extractor: string; mass: number }[] = []
    for (const extractor of EXTRACTORS) {
      const own = rowsOf(withSearch(widest, { extractor, maxNewTokens }))
      tried.push({ extractor, mass: await answerMass(objective, space.start, own, own) })
    }
    const best = tried.reduce((a, b) => (b.mass > a.mass ? b : a))
    notices.push({
      code: 'extractor-chosen',
      message: `search.extractor: ${JSON.stringify(best.extractor)}, behind which the answers have a probability of ${best.mass.toFixed(3)}; tried: ${tried.map(({ extractor, mass }) => `${JSON.stringify(extractor)} ${mass.toFixed(3)}`).join(', ')}`,
    })
    return { config: withSearch(config, { extractor: best.extractor, maxNewTokens }), notices }
  } finally {
    await programs.dispose()
  }
}

const withSearch = (config: SearchConfig, more: Partial<SearchConfig['search']>): SearchConfig => ({
  ...config,
  search: { ...config.search, ...more },
})
