import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { GradpromptError } from '../errors.js'
import type { Products } from '../generate/programs.js'
import { modelSettingNames } from '../model/with-model.js'
import { isLoopback } from '../serve/loopback.js'
import type { ServedModel } from '../serve/models.js'
import { type ServedRequest, startServer } from '../serve/server.js'
import { TokenizingThread } from '../serve/tokenizing.js'
import { openPrompt, type PromptGiven } from '../sources/open.js'
import { type StrategyGiven, strategyOf } from '../strategies/index.js'
import { type Reading, severalCalls } from '../strategies/several-calls.js'
import { readingOf } from './generation/asked.js'
import { type EngineSettings, useEngine } from './generation/opening.js'

/** An OpenAI-compatible endpoint over a model and prompts on it: the library's `serve`, which the command line calls. */

export interface ServeOptions extends EngineSettings {
  /**
   * Prompts by the names that clients know them by: runs of either kind, prompt files, adapters, rows of vectors. A prompt of several
   * tasks is served as what they share, and as each of them (`NAME/TASK`); what a search has found as words around each text.
   */
  readonly prompts?: Readonly<Record<string, PromptGiven>> | undefined
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
  /** Default 8080; with 0 the system chooses a free one. */
  readonly port?: number | undefined
  /** What clients have to send as their API key. Without one everybody on this machine may ask, and nobody else can. */
  readonly token?: string | undefined
  /** Of a chat request that does not say how many; by default 512. */
  readonly maxNewTokens?: number | undefined
  /** Answer every request with several calls: `self-consistency`, `retries`, … or that with its options. */
  readonly strategy?: StrategyGiven | undefined
  /** Hears of each request when it has ended. */
  readonly onRequest?: ((request: ServedRequest) => void) | undefined
  /** Hears of weights that are written to the cache, in percent. */
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
}

export interface Server extends AsyncDisposable {
  /** The base URL for clients: `http://127.0.0.1:8080/v1`. */
  readonly url: string
  readonly port: number
  /** The names of what is served, that of the base model first. */
  readonly models: readonly string[]
  /** The arithmetic: `fp32` is exact. */
  readonly weights: Products
  /** Requests that are being answered. */
  readonly active: number
  /** Takes no more requests, gives those under way some time to end, then ends them, and closes what was opened. */
  stop(options?: { readonly graceSeconds?: number }): Promise<void>
}

const names = {
  ...modelSettingNames,
  model: true,
  weights: true,
  batchSize: true,
  promptLookup: true,
  onWarning: true,
  prompts: true,
  strength: true,
  host: true,
  port: true,
  token: true,
  maxNewTokens: true,
  strategy: true,
  onRequest: true,
  onProgress: true,
} satisfies OptionNames<ServeOptions>

export const defaultPort = 8080
export const defaultNewTokens = 512

/**
 * Serves a model, and prompts on it, over HTTP as OpenAI's API does.
 *
 * ```ts
 * await using server = await serve({ prompts: { sentiment: 'runs/sst2' }, port: 0 })
 * const client = new OpenAI({ baseURL: server.url, apiKey: 'none' })
 * ```
 *
 * @throws GradpromptError `unknown-option`, `name-taken`, `port-in-use`, `cannot-listen`, `invalid-option` (no token on an address that
 *   others reach), and as opening a model and prompts does
 */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  refuseUnknown('serve', options, names)
  const { host = '127.0.0.1', port = defaultPort, token, maxNewTokens = defaultNewTokens, onRequest } = options
  if (token === undefined && !isLoopback(host))
    throw new GradpromptError('invalid-option', 'without a token a server is for this machine alone', {
      found: `host: ${host}`,
      expected: 'a token, where others can reach the server',
    })
  const strategy = await strategyOf(options.strategy)
  const given = Object.entries(options.prompts ?? {})
  const sources = new Map<string, Awaited<ReturnType<typeof openPrompt>>>()
  for (const [name, prompt] of given) sources.set(name, await openPrompt(prompt, { strength: options.strength }))
  const opened = await useEngine(options, new Map([...sources, ...(strategy?.prompts ?? [])]), {
    interactive: true,
    onProgress: options.onProgress,
  })
  try {
    const { model, engine, weights, prompts } = opened
    if (prompts.has(model.name)) throw nameTaken(model.name)
    const models: ServedModel[] = [{ id: model.name, numVirtualTokens: 0 }]
    for (const [name, { names, tokenizer, room, frame, ends, labels }] of prompts) {
      // What a strategy has for itself is no model to be asked.
      if (!sources.has(name)) continue
      const { numVirtualTokens } = room
      const own = frame.template === undefined ? {} : { frame }
      for (const id of names) models.push({ id, prompt: id, numVirtualTokens, tokenizer, ends, labels, ...own })
      if (frame.always) models.push({ id: name, numVirtualTokens, frame, ends })
    }
    const room = { contextLength: model.config.maxPositionEmbeddings, numVirtualTokens: 0 }
    const plain = readingOf({ tokenizer: model.tokenizer, room, labels: undefined })
    const readings = new Map([...prompts.values()].flatMap(prompt => prompt.names.map((name): [string | undefined, Reading] => [name, readingOf(prompt)]))) // biome-ignore format: one line
    const thread = new TokenizingThread(model.checkpoint.tokenizer)
    const running = await startServer({
      generator: strategy === undefined ? engine : severalCalls(engine, strategy, ({ prompt }) => readings.get(prompt) ?? plain),
      tokenizer: model.tokenizer,
      encodeLong: (text, options) => thread.encode(text, options),
      contextLength: model.config.maxPositionEmbeddings,
      vocabSize: model.config.vocabSize,
      models,
      weights,
      fingerprint: `${weights}-${model.hash.slice(0, 12)}`,
      ...{ maxNewTokens, host, port, token },
      ...(onRequest && { onRequest }),
    })
    const stop = async (grace?: { readonly graceSeconds?: number }) => {
      await running.stop(grace)
      await thread[Symbol.asyncDispose]()
      await opened[Symbol.asyncDispose]()
    }
    return {
      url: running.url,
      port: running.port,
      models: models.map(({ id }) => id),
      weights,
      get active() {
        return running.active
      },
      stop,
      [Symbol.asyncDispose]: () => stop(),
    }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

/** Two of the served models would have one name. */
export const nameTaken = (name: string): GradpromptError =>
  new GradpromptError('name-taken', 'two of the served models have one name', {
    found: name,
    hint: `give a prompt another name: --prompt other-name=PATH`,
  })
