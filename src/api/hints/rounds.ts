import { join } from 'node:path'
import { isFile } from '../../files.js'
import { sampleSeed } from '../../generate/settings.js'
import { bestOf, type Candidate, leaks } from '../../hints/choice.js'
import { askColumn, askFor, type HintForm, hintColumn, hintIn, policyTemplate } from '../../hints/form.js'
import type { LanguageModel } from '../../model/language-model.js'
import { mean } from '../../numbers.js'
import { replaceText } from '../../store/atomic.js'
import type { Hearer } from '../../store/run-session.js'
import type { Config, ConfigInput } from '../../train/config.js'
import type { GradpromptEvent } from '../../train/events.js'
import { resumeTune, type TuneRun, tune } from '../tune.js'
import type { HintedRow, Likelihoods } from './likelihoods.js'
import { write } from './texts.js'

/** Expert iteration: texts are sampled, each is scored by what it does to the answer's likelihood, and the best ones are learned from. */

/** A training row: what the policy is asked about, and what a hint must not say. */
export interface TrainingRow extends Omit<HintedRow, 'hint'> {
  readonly text: string
  readonly answers: readonly string[]
}

export interface RoundFigures {
  /** Texts that were sampled, and tokens of them. */
  readonly texts: number
  readonly tokens: number
  /** Of these: without a word, saying the answer, and making it likelier without saying it. */
  readonly empty: number
  readonly leaked: number
  readonly helping: number
  /** u in the mean over all texts that do not say the answer: what the policy that wrote them is worth, in nats. */
  readonly gain: number
  /** Rows that have a text to learn from, of this round or one before, and its u in the mean. */
  readonly kept: number
  readonly keptGain: number
}

export interface RoundsOptions {
  readonly model: LanguageModel
  readonly config: Config
  readonly form: HintForm
  readonly rows: readonly TrainingRow[]
  readonly likelihoods: Likelihoods
  readonly samples: number
  readonly rounds: number
  readonly temperature: number
  readonly out: string
  readonly signal: AbortSignal | undefined
  readonly onEvent: Hearer<GradpromptEvent, never>['onEvent']
  readonly onProgress: (what: string, done: number, total: number) => void
}

export interface Rounds {
  readonly figures: readonly RoundFigures[]
  /** The run that was learned last; undefined where nothing helped. */
  readonly policy: TuneRun | undefined
  /** Its name in the folder. */
  readonly name: string | undefined
  /** For each row the best text of all rounds. */
  readonly kept: readonly (Candidate | undefined)[]
}

/** @throws GradpromptError as `tune`, `generate` and scoring do */
export async function learnRounds(options: RoundsOptions): Promise<Rounds> {
  const { model, config, form, rows, likelihoods, samples, out, signal, onEvent, onProgress } = options
  const base = await likelihoods.of(
    'base-scores',
    rows.map(({ record, index }) => ({ record, index, hint: '' })),
  )
  const asks = rows.flatMap(({ text }) => new Array<string>(samples).fill(askFor(form, text)))
  const template = policyTemplate(model.tokenizer.chatTemplate !== undefined)
  const kept: (Candidate | undefined)[] = rows.map(() => undefined)
  const figures: RoundFigures[] = []
  let policy: TuneRun | undefined
  let name: string | undefined
  for (let round = 1; round <= options.rounds; round++) {
    const own = `round-${round}`
    const written = await write(`${own}-texts`, asks, {
      ...{ model, out, template, policy: policy?.folder, signal, onProgress },
      ...{ maxNewTokens: form.maxHintTokens, temperature: options.temperature, seed: sampleSeed(config.seed, round) },
    })
    const hints = written.map(({ text }) => hintIn(text, form))
    const candidates = await candidatesOf(`${own}-scores`, { rows, base, hints, samples, likelihoods })
    for (const [i, of] of candidates.entries()) kept[i] = bestOf([...(kept[i] === undefined ? [] : [kept[i]]), ...of])
    const tokens = written.reduce((sum, one) => sum + one.tokens, 0)
    figures.push({ ...figuresOf(candidates.flat(), kept), tokens })
    const learned = rows.flatMap(({ text }, i) => (kept[i] === undefined ? [] : [{ [askColumn]: askFor(form, text), [hintColumn]: kept[i].hint, gain: String(kept[i].gain) }])) // biome-ignore format: one row each
    if (learned.length === 0) continue
    const path = join(out, `${own}-kept.jsonl`)
    const folder = join(out, own)
    const hearer = { signal, onEvent }
    if (await isFile(join(folder, 'config.yaml'))) policy = await resumeTune(folder, { model, ...hearer })
    else {
      await replaceText(path, learned.map(row => `${JSON.stringify(row)}\n`).join(''))
      policy = await tune({ ...policyConfig(config, template, path, policy), model, out: folder }, hearer)
    }
    name = own
  }
  return { figures, policy, name, kept }
}

/** What each text of each row is worth; equal texts of a row are scored once. */
async function candidatesOf(
  name: string,
  {
    rows,
    base,
    hints,
    samples,
    likelihoods,
  }: {
    readonly rows: readonly TrainingRow[]
    readonly base: readonly { readonly score: number }[]
    /** `samples` for each row, one row after the other. */
    readonly hints: readonly string[]
    readonly samples: number
    readonly likelihoods: Likelihoods
  },
): Promise<Candidate[][]> {
  const ofRow = rows.map((_, i) => hints.slice(i * samples, (i + 1) * samples))
  const pairs = rows.flatMap(({ record, index, answers }, row) =>
    [...new Set(ofRow[row])].filter(hint => hint !== '' && !leaks(hint, answers)).map(hint => ({ row, record, index, hint })),
  )
  const scored = await likelihoods.of(name, pairs)
  const gains = new Map(pairs.map(({ row, hint }, i) => [`${row} ${hint}`, scored[i]!.score - base[row]!.score]))
  return ofRow.map((hints, row) =>
    hints.map(hint => {
      const gain = gains.get(`${row} ${hint}`)
      // No text gains nothing, by definition; one that says the answer is not asked.
      return { hint, gain: gain ?? 0, leaks: hint !== '' && gain === undefined }
    }),
  )
}

function figuresOf(candidates: readonly Candidate[], kept: readonly (Candidate | undefined)[]): Omit<RoundFigures, 'tokens'> {
  const clean = candidates.filter(({ leaks }) => !leaks)
  const best = kept.flatMap(one => one ?? [])
  return {
    texts: candidates.length,
    empty: candidates.filter(({ hint }) => hint === '').length,
    leaked: candidates.length - clean.length,
    helping: clean.filter(({ gain }) => gain > 0).length,
    gain: clean.length === 0 ? 0 : mean(clean.map(({ gain }) => gain)),
    kept: best.length,
    keptGain: best.length === 0 ? 0 : mean(best.map(({ gain }) => gain)),
  }
}

/**
 * The run that learns a policy's prompt: the method and the training of the config, over the kept texts. A prompt of rows goes on from
 * the round before; another one begins anew.
 */
export function policyConfig(
  { method, domain, train, seed, track }: Config,
  template: NonNullable<ConfigInput['template']>,
  path: string,
  before: TuneRun | undefined,
): ConfigInput {
  const hasRows = before?.prompt.tensors.some(({ name, shape }) => name === 'prompt' && shape.length === 2) === true
  const init = { type: 'runs', from: [before?.folder ?? ''], mix: 'one' } as const
  return {
    data: { train: path },
    template,
    answer: `{${hintColumn}}`,
    answerType: 'text',
    method: (hasRows ? { ...method, init } : method) as ConfigInput['method'],
    ...(domain && { domain }),
    train: { ...train, keep: 'last', samples: 0 },
    seed,
    ...(track && { track }),
  }
}
