import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { defaultSeed, type OptionNames, refuseUnknown, requireCounts } from '../config/call-options.js'
import { refuseAborted, unknownName } from '../errors.js'
import { bootstrap, type MetricValue } from '../evaluate/intervals.js'
import { GenerationEngine } from '../generate/engine/engine.js'
import { renderInput } from '../generate/input.js'
import { tokenBudget } from '../generate/settings.js'
import type { WeightChoice } from '../generate/width.js'
import type { LanguageModel } from '../model/language-model.js'
import { type ModelSettings, modelSettingNames, useModel } from '../model/with-model.js'
import { bundledModel } from '../package-root.js'
import { randomGenerator, streams } from '../random.js'
import { type ClimbStep, climb, scoreOf, type Tried } from '../search/environment/climb.js'
import { type Environment, type Episode, type Message, play } from '../search/environment/environment.js'
import { negotiation } from '../search/environment/negotiation.js'

/** Searching the prompt of a task of several turns: the library's `searchEnvironment`. */

export interface SearchEnvironmentOptions<State = unknown> extends ModelSettings {
  /** A model or its name; by default the bundled one. It plays, and writes unless `write` does. */
  readonly model?: LanguageModel | string | undefined
  /** One of your own, or `negotiation`. */
  readonly environment: Environment<State> | 'negotiation'
  /** The first prompt: the system message of every episode. */
  readonly prompt: string
  /** What the optimiser says to an ask, in place of the model. */
  readonly write?: ((ask: string) => Promise<string>) | undefined
  /** Episodes whose failures the optimiser reads (16), those that choose a prompt (16), and those that are played at the end alone (32). */
  readonly feedback?: number | undefined
  readonly select?: number | undefined
  readonly report?: number | undefined
  /** Rewrites of a prompt (4), and of them those that are rewritten in turn (2). */
  readonly children?: number | undefined
  readonly selected?: number | undefined
  /** Kinds of failures that are told apart (3), and failures of a kind that are shown (5). */
  readonly kinds?: number | undefined
  readonly shown?: number | undefined
  /** Prompts that are rewritten, at most; by default 4. */
  readonly steps?: number | undefined
  readonly seed?: number | undefined
  /** Tokens of a turn (64), and of what the optimiser writes (240), at most. */
  readonly maxNewTokens?: number | undefined
  readonly maxWrittenTokens?: number | undefined
  readonly weights?: WeightChoice | undefined
  readonly onStep?: ((step: ClimbStep) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** How a prompt does in episodes that no prompt was chosen by. */
export interface PlayedPrompt {
  readonly prompt: string
  readonly score: MetricValue
  /** Failures by their kinds. */
  readonly failures: Readonly<Record<string, number>>
  readonly episodes: readonly Episode[]
}

export interface SearchedEnvironment {
  readonly best: PlayedPrompt
  readonly first: PlayedPrompt
  /** Score of the best less that of the first, of the same episodes in pairs, with the bootstrap's interval. */
  readonly gain: MetricValue
  /** All that was tried, the first prompt first. */
  readonly tried: readonly Tried[]
  readonly generatedTokens: number
}

const names = {
  ...modelSettingNames,
  model: true,
  environment: true,
  prompt: true,
  write: true,
  feedback: true,
  select: true,
  report: true,
  children: true,
  selected: true,
  kinds: true,
  shown: true,
  steps: true,
  seed: true,
  maxNewTokens: true,
  maxWrittenTokens: true,
  weights: true,
  onStep: true,
  signal: true,
} satisfies OptionNames<SearchEnvironmentOptions>

/**
 * Searches a prompt for an environment by feedback that is gathered by kinds of failures (PROMST, Chen et al. 2024, arXiv 2402.08702). Episodes that
 * explain, choose and report have seeds of their own.
 *
 * ```ts
 * const { best, first, gain } = await searchEnvironment({ environment: 'negotiation', prompt: 'You buy a balloon. Pay as little as you can.' })
 * ```
 *
 * @throws GradpromptError `unknown-option`, `unknown-environment`, `invalid-option`, `context-exceeded`, `aborted`, and as loading a model does
 */
export async function searchEnvironment<State>(options: SearchEnvironmentOptions<State>): Promise<SearchedEnvironment> {
  refuseUnknown('searchEnvironment', options, names)
  const environment = environmentOf(options.environment)
  const counted = { feedback: 16, select: 16, report: 32, children: 4, selected: 2, kinds: 3, shown: 5, steps: 4 }
  for (const name of Object.keys(counted) as (keyof typeof counted)[]) counted[name] = options[name] ?? counted[name]
  requireCounts(counted)
  const { feedback, select, report } = counted
  const { seed = defaultSeed, signal, prompt: start, onStep } = options
  const seeds = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => uniformInt(randomGenerator(seed, streams.episode, from + i), 0, 2 ** 31 - 1))
  await using used = await useModel(options.model ?? bundledModel, options)
  const { model } = used
  await using engine = await GenerationEngine.open(model, options.weights === undefined ? {} : { weights: options.weights })
  let generatedTokens = 0
  const say = async (messages: readonly Message[], maxNewTokens: number, sampled?: number) => {
    const { ids, stop } = asked(messages, model)
    const room = { contextLength: model.config.maxPositionEmbeddings, numVirtualTokens: 0 }
    const budget = tokenBudget('the conversation', ids.length, room, undefined, maxNewTokens)
    const sampling = sampled === undefined ? {} : { temperature: 1, topP: 0.95, seed: sampled }
    const answer = await engine.generate({ ids, maxNewTokens: budget, stop, ...sampling, ...(signal && { signal }) })
    refuseAborted(signal)
    generatedTokens += answer.ids.length
    return answer.text.trim()
  }
  const speak = async (messages: readonly Message[]) => say(messages, options.maxNewTokens ?? 64)
  const write = async (ask: string, place: readonly number[]) => {
    if (options.write) return options.write(ask)
    const sampled = uniformInt(randomGenerator(seed, streams.writing, ...place), 0, 2 ** 31 - 1)
    return say([{ role: 'user', content: ask }], options.maxWrittenTokens ?? 240, sampled)
  }
  const chosen = seeds(feedback, select)
  const tried = await climb(
    start,
    { ...counted, seed, feedback: seeds(0, feedback), select: chosen },
    { environment, speak, write, onStep, signal },
  )
  const found = tried.reduce((best, one) => (scoreOf(one, chosen) > scoreOf(best, chosen) ? one : best))
  const held = seeds(feedback + select, report)
  const played = async (prompt: string): Promise<PlayedPrompt> => {
    const episodes = await Promise.all(held.map(own => play(environment, prompt, own, { speak, signal })))
    const failures: Record<string, number> = {}
    for (const { failure } of episodes) if (failure) failures[failure.kind] = (failures[failure.kind] ?? 0) + 1
    return { prompt, score: meanOf(episodes.map(({ score }) => score), seed), failures, episodes } // biome-ignore format: one figure
  }
  const first = await played(start)
  const best = found.id === 0 ? first : await played(found.text)
  const gains = best.episodes.map(({ score }, i) => score - first.episodes[i]!.score)
  return { best, first, gain: meanOf(gains, seed), tried, generatedTokens }
}

const meanOf = (values: readonly number[], seed: number): MetricValue => {
  const mean = (rows: Int32Array) => rows.reduce((sum, row) => sum + values[row]!, 0) / rows.length
  return bootstrap(values.length, { mean }, { seed }).mean
}

function environmentOf<State>(given: Environment<State> | string): Environment<State> {
  if (typeof given !== 'string') return given
  if (given === negotiation.name) return negotiation as unknown as Environment<State>
  throw unknownName('unknown-environment', 'There is no environment of this name', given, [negotiation.name])
}

/** A conversation as a text; of a model that knows no chat, as a play in which its part is next. */
function asked(messages: readonly Message[], { tokenizer }: LanguageModel) {
  if (tokenizer.chatTemplate !== undefined) {
    const { text, addSpecialTokens } = renderInput(tokenizer, { messages: messages.map(message => ({ ...message })) })
    return { ids: tokenizer.encode(text, { addSpecialTokens }), stop: [] }
  }
  const speaker = { system: '', user: 'User: ', assistant: 'Assistant: ' }
  const text = `${messages.map(({ role, content }) => `${speaker[role]}${content}`).join('\n')}\nAssistant:`
  return { ids: tokenizer.encode(text), stop: ['\nUser:', '\n\n'] }
}
