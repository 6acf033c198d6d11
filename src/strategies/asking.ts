import { GradpromptError, untilAborted } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { type GenerationInput, renderInput } from '../generate/input.js'
import type { Generation, GenerationRequest, Generator } from '../generate/request.js'
import { type Room, sampleSeed, tokenBudget } from '../generate/settings.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import type { PromptSource } from '../sources/open.js'
import type { AnswerCall, Answered, Asked, Asking, InstructCall, Strategy } from './strategy.js'

/** A strategy over an engine: its calls become requests, and what they cost is counted. */

export interface AskingOptions {
  readonly engine: Pick<Generator, 'generate'>
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'decode' | 'applyChatTemplate' | 'chatTemplate'>
  readonly room: Room
  /** Of the input, for messages. */
  readonly origin: string
  readonly seed: number | undefined
  /** The request for an answer to an input as the caller wants it, with a seed of its own for each sample. */
  request(input: GenerationInput, call: AnswerCall): GenerationRequest
  readonly signal?: AbortSignal | undefined
}

/** What an answer took. */
export interface Spent {
  calls: number
  /** Generated. */
  tokens: number
}

export interface StrategyAnswer extends Answered {
  readonly spent: Readonly<Spent>
}

/** A strategy, with its options checked. */
export interface ActiveStrategy {
  readonly strategy: Strategy
  readonly options: { readonly type: string }
  /** All that decides what it does, as JSON has it. */
  readonly key: unknown
  /** Prompts of its own, by the names that an engine has to know them by. */
  readonly prompts?: ReadonlyMap<string, PromptSource>
}

/** The name in an engine of a prompt that a strategy has for itself, which nobody gives a prompt of their own. */
export const ownPromptName = (strategy: string, name: string): string => `strategy:${strategy}:${name}`

/** The prompts that a strategy has for itself, on a model. @throws GradpromptError as opening a prompt does */
export async function ownPrompts(
  active: Pick<ActiveStrategy, 'prompts'> | undefined,
  model: LanguageModel,
): Promise<Record<string, ActivePrompt>> {
  const opened: Record<string, ActivePrompt> = {}
  for (const [name, source] of active?.prompts ?? []) {
    const prompt = await source.active(model)
    if (prompt !== undefined) opened[name] = prompt
  }
  return opened
}

/** @throws GradpromptError as the strategy's calls do: `context-exceeded`, `aborted` */
export async function answerBy(
  { strategy, options }: Pick<ActiveStrategy, 'strategy' | 'options'>,
  asked: Asked,
  given: AskingOptions,
): Promise<StrategyAnswer> {
  const spent = { calls: 0, tokens: 0 }
  const answered = await untilAborted(given.signal, () =>
    strategy.answer(asked, askingOf(given, asked.input, strategy.type, spent), options as never),
  )
  return { ...answered, spent }
}

/** A call whose text is not the user's own, but what a strategy has made of it: where it has no room, it says whose words these are. */
async function inWordsOf<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (!(error instanceof GradpromptError) || error.code !== 'context-exceeded') throw error
    const { found, expected } = error
    throw new GradpromptError('context-exceeded', `${what} does not fit into the model's context`, {
      ...(found !== undefined && { found }),
      ...(expected !== undefined && { expected }),
      hint: 'shorten the prompt, or answer it with one call (no strategy)',
    })
  }
}

/** The digits a rating may be, each of them one token in every vocabulary at hand. */
const digits = '123456789'

function askingOf(
  { engine, tokenizer, room, origin, seed, request, signal }: AskingOptions,
  own: GenerationInput,
  type: string,
  spent: Spent,
): Asking {
  const told = `${origin} with what ${type} adds to it`
  const instruction = `what ${type} asks about ${origin}`
  const call = async (given: GenerationRequest): Promise<Generation> => {
    const answer = await engine.generate({ ...given, ...(signal && { signal }) })
    if (answer.finishReason === 'aborted') throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
    spent.calls++
    spent.tokens += answer.ids.length
    return answer
  }
  const isChat = tokenizer.chatTemplate !== undefined
  const encoded = (input: GenerationInput) => {
    const { text, addSpecialTokens } = renderInput(tokenizer, input)
    return tokenizer.encode(text, { addSpecialTokens })
  }
  /** Under no prompt: what a model was tuned to answer is of no help with instructions. */
  const plain = (text: string, maxNewTokens: number): GenerationRequest => {
    const ids = encoded(isChat ? { messages: [{ role: 'user', content: text }] } : { prompt: `${text}\n` })
    return { ids, maxNewTokens: tokenBudget(origin, ids.length, { ...room, numVirtualTokens: 0 }, undefined, maxNewTokens) }
  }
  const goOn = async (input: GenerationInput, asked: AnswerCall, begun: readonly number[]): Promise<Generation> => {
    const { maxNewTokens: most = Number.POSITIVE_INFINITY, ...others } = asked
    const whole = request(input, others)
    if (whole.choices || whole.grammar)
      throw new GradpromptError('invalid-option', `${type} goes on with answers that were begun, which cannot be limited`, {
        found: whole.choices ? 'choices' : 'a grammar',
        expected: 'answers of free text',
      })
    const maxNewTokens = Math.min(most, whole.maxNewTokens - begun.length)
    const before = tokenizer.decode([...begun])
    // As one call of so many tokens would have ended.
    if (maxNewTokens < 1) return { ids: begun, text: before, finishReason: 'length', promptTokens: whole.ids.length }
    const added = await call({ ...whole, ids: [...whole.ids, ...begun], maxNewTokens })
    const ids = [...begun, ...added.ids]
    // What an end cuts off the text of the added tokens is cut off the whole.
    const cut = Math.max(0, tokenizer.decode([...added.ids]).length - added.text.length)
    const text = tokenizer.decode(ids)
    return { ...added, ids, text: text.slice(0, text.length - cut), promptTokens: whole.ids.length }
  }
  return {
    answer: async (input, { begun, ...asked } = {}) => {
      const answer = begun === undefined ? () => call(request(input, asked)) : () => goOn(input, asked, begun)
      return input === own ? answer() : inWordsOf(told, answer)
    },
    async instruct(text, { maxNewTokens, temperature, sample = 0, under }: InstructCall) {
      const sampled = temperature === undefined ? {} : { temperature, seed: sampleSeed(seed ?? 0, sample) }
      const own = under === undefined ? {} : { prompt: ownPromptName(type, under) }
      return (await inWordsOf(instruction, async () => call({ ...plain(text, maxNewTokens), ...sampled, ...own }))).text
    },
    async rate(text) {
      const asked = { logProbabilities: true, alternatives: 20 }
      const { alternatives } = await inWordsOf(instruction, async () => call({ ...plain(text, 1), ...asked }))
      let [mass, sum] = [0, 0]
      for (const { id, logProbability } of alternatives?.[0] ?? []) {
        const digit = tokenizer.decode([id]).trim()
        if (digit.length !== 1 || !digits.includes(digit)) continue
        mass += Math.exp(logProbability)
        sum += Math.exp(logProbability) * Number(digit)
      }
      return mass > 0 ? sum / mass : 5
    },
    async likelihood(given, text, { begun = [] } = {}) {
      const ids = typeof text === 'string' ? tokenizer.encode(text, { addSpecialTokens: false }) : text
      const input =
        'messages' in given && !isChat ? { prompt: `${given.messages.map(({ content }) => content).join('\n')}\n` } : given
      if (ids.length === 0)
        throw new GradpromptError('invalid-option', `${type} asks for the likelihood of a text without tokens`, {
          found: JSON.stringify(text),
          expected: 'a text of one token at least',
        })
      const asked = { maxNewTokens: 0, continuation: { ids, scored: ids.length } }
      const { continuation } = await inWordsOf(told, async () => call({ ids: [...encoded(input), ...begun], ...asked }))
      return continuation!.logProbabilities.reduce((sum, value) => sum + value, 0) / ids.length
    },
  }
}
