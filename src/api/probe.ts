import { defaultSeed, type OptionNames, refuseUnknown } from '../config/call-options.js'
import { readRecords } from '../data/read.js'
import type { DataNotice } from '../data/readers/reader.js'
import { compileMessages } from '../data/texts/rendering.js'
import { requireColumns } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import { compareConditions, type PairedComparison } from '../evaluate/comparison.js'
import { type Interval, type MetricValue, wilsonInterval } from '../evaluate/intervals.js'
import { forms, isRight, madeSentences, type Probe, type ProbeForm, probesOf } from '../evaluate/probing/probes.js'
import type { LanguageModel } from '../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, useModel } from '../model/with-model.js'
import { shuffle, streams } from '../random.js'
import { type LearnedRun, readLearnedRun } from '../sources/run.js'
import { generate } from './generation/generate.js'

/** Whether a prompt made the model forget what it could do, or only hides it: the library's `probe`, and `gradprompt probe`. */

export interface ProbeOptions extends ModelSettings {
  /** The folder of a run of tune; of one that has not ended its best checkpoint so far is asked. */
  readonly run: string
  /** By default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** Rows whose texts are asked about beside made sentences; by default the dev or training rows of the run. */
  readonly data?: string | undefined
  /** Texts of each kind; by default 24. */
  readonly limit?: number | undefined
  readonly seed?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

/** What the model does in one way of asking, without the prompt and under it. */
export interface ProbeResult {
  readonly form: ProbeForm
  readonly rows: number
  /** Shares of right answers. */
  readonly without: MetricValue
  readonly under: MetricValue
  /** `without` less `under` on the same questions, with the bootstrap's interval: above 0 it was lost. */
  readonly forgotten: MetricValue
  readonly mcnemar?: PairedComparison['mcnemar']
}

/**
 * `kept`: nothing is lost for certain. `hidden`: it is lost when asked plainly, and in some other way less of it is. `lost`: it is lost in every way.
 * `unknown`: the model itself does not do it.
 */
export type ProbeVerdict = 'kept' | 'hidden' | 'lost' | 'unknown'

export interface Probed {
  /** Texts like those that the prompt has learned on, and made sentences. */
  readonly texts: readonly {
    readonly of: 'run' | 'made'
    readonly verdict: ProbeVerdict
    readonly results: readonly ProbeResult[]
  }[]
}

const names = {
  ...modelSettingNames, run: true, model: true, data: true, limit: true, seed: true, signal: true, onProgress: true,
  onWarning: true,
} satisfies OptionNames<ProbeOptions> // biome-ignore format: a list

/** Tokens of an answer: its first word is read. */
const answerTokens = 12
/** Below this share of right answers there is nothing to forget. */
const least = 0.2

/**
 * Asks for small things that a model does from two examples, with and without the prompt of a run: plainly, in another template, in leetspeak and
 * in pig Latin (conjugate prompting, Kotha et al. 2024, arXiv 2309.10105). What is lost plainly and not in disguise is hidden, not forgotten.
 * @throws GradpromptError `not-a-run`, `not-a-soft-prompt`, `invalid-option`, and as reading data, loading a model and `generate` do
 */
export async function probe(options: ProbeOptions): Promise<Probed> {
  refuseUnknown('probe', options, names)
  const { limit = 24, seed = defaultSeed, signal, onProgress, onWarning } = options
  if (!(Number.isInteger(limit) && limit >= 3))
    throw new GradpromptError('invalid-option', 'limit is not valid', { found: String(limit), expected: 'at least 3 texts' })
  const { config, notice } = await readLearnedRun(options.run, { unfinished: true })
  if (notice !== undefined) onWarning?.(notice)
  const own = await ownTexts(options, config, limit, seed)
  if (own === undefined)
    onWarning?.({
      code: 'no-own-texts',
      message:
        'the rows of the run have no three different texts at hand: made sentences alone are asked about (--data names others)',
    })
  const sets = [...(own ? [{ of: 'run' as const, texts: own }] : []), { of: 'made' as const, texts: madeSentences(limit, seed) }]
  const probes = sets.map(({ texts }) => probesOf(texts, seed))
  await using used = await useModel(options.model ?? config.model, firstOf(options, config))
  const { model } = used
  const total = 2 * probes.flat().length
  let done = 0
  const answers = async (set: readonly Probe[], prompt: string | undefined) => {
    const said = await generate({
      model,
      ...(prompt !== undefined && { prompt, raw: true }),
      chat: false,
      inputs: set.map(({ text }) => text),
      maxNewTokens: answerTokens,
      stop: ['\n\n'],
      signal,
      onAnswer: () => onProgress?.(++done, total, prompt === undefined ? 'without the prompt' : 'under the prompt'),
    })
    return said.map(({ text }, i) => isRight(text, set[i]!.right))
  }
  const texts: Probed['texts'][number][] = []
  for (const [i, { of }] of sets.entries())
    texts.push({
      of,
      ...(await probed(probes[i]!, { without: set => answers(set, undefined), under: set => answers(set, options.run) }, seed)),
    })
  return { texts }
}

/** Who answers: which of the answers to probes are right. */
type Answers = (probes: readonly Probe[]) => Promise<readonly boolean[]>

/** What becomes of probes, by whoever answers them. */
export async function probed(
  probes: readonly Probe[],
  answers: { readonly without: Answers; readonly under: Answers },
  seed: number,
): Promise<{ readonly verdict: ProbeVerdict; readonly results: readonly ProbeResult[] }> {
  const [without, under] = [await answers.without(probes), await answers.under(probes)]
  const results = forms.map(form => {
    const places = probes.flatMap((one, place) => (one.form === form ? [place] : []))
    return resultOf(form, places.map(place => without[place]!), places.map(place => under[place]!), seed) // biome-ignore format: sides
  })
  return { verdict: verdictOf(results), results }
}

/** Different texts of the template's first column, drawn by seed; undefined where there are no three. */
async function ownTexts(
  { data, onWarning }: ProbeOptions,
  config: LearnedRun['config'],
  limit: number,
  seed: number,
): Promise<string[] | undefined> {
  const [column] = compileMessages(config.template).columns
  if (column === undefined) return undefined
  const path = data ?? config.data.dev ?? config.data.train
  const read = () => readRecords(path, { columns: config.data.columns, needed: [column], onNotice: onWarning })
  // Rows of a run may have been in memory, or are elsewhere now; what somebody names has to be there.
  const found = data === undefined ? await read().catch(() => undefined) : await read()
  if (data !== undefined) requireColumns([column], found?.columns ?? [], `${data}: the template`)
  const texts = [...new Set(found?.records.flatMap(record => (record[column]?.trim() ? [record[column]!.trim()] : [])))]
  return texts.length < 3 ? undefined : shuffle(texts, seed, streams.probe, 2).slice(0, limit)
}

function resultOf(form: ProbeForm, without: readonly boolean[], under: readonly boolean[], seed: number): ProbeResult {
  const rows = (right: readonly boolean[]) => right.map((is, index) => ({ index, score: Number(is), correct: is }))
  const { comparisons } = compareConditions(
    [
      { name: 'under', seeds: [rows(under)] },
      { name: 'without', seeds: [rows(without)] },
    ],
    { seed },
  )
  const [{ difference, mcnemar }] = comparisons as [PairedComparison]
  const share = (right: readonly boolean[]): MetricValue => {
    const count = right.filter(Boolean).length
    const interval: Interval = wilsonInterval(count, right.length)
    return { value: count / right.length, ...interval }
  }
  return {
    form,
    rows: without.length,
    without: share(without),
    under: share(under),
    forgotten: difference,
    ...(mcnemar && { mcnemar }),
  }
}

/** By the ways of asking in which the model itself is right often enough. */
export function verdictOf(results: readonly ProbeResult[]): ProbeVerdict {
  const able = results.filter(({ without }) => without.value >= least)
  const plain = able.find(({ form }) => form === 'plain')
  if (plain === undefined) return 'unknown'
  if (plain.forgotten.low <= 0) return 'kept'
  const others = able.filter(({ form }) => form !== 'plain')
  return others.some(({ forgotten }) => forgotten.low <= 0 || forgotten.high < plain.forgotten.low) ? 'hidden' : 'lost'
}
