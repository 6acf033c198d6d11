import { generate as generateByApi } from '../../api/generation/generate.js'
import { nameTaken, serve as serveByApi } from '../../api/serve.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { GradpromptError } from '../../errors.js'
import { answerRow } from '../../generate/answer-rows.js'
import type { GenerateRequest, GenerateResult, ServeRequest } from './messages.js'
import type { Context } from './tasks.js'

/** Answering and serving, in the computing process: the library's calls, and of their results what is printed. */

/** How long requests under way may take to end once a server is asked to stop. */
const graceSeconds = 10

/** `gradprompt generate`: one text whose answer is told as it comes, or the rows of a file. */
export async function generate(request: GenerateRequest, context: Context<'generate'>): Promise<GenerateResult> {
  const { source, settings, chat, families: ___, ...options } = request
  const { prompt: _, continuation: __, ...sampling } = settings
  const { signal } = context
  const common = { ...options, ...sampling, signal, onProgress: progressOf(context), onWarning: warningOf(context) }
  if ('input' in source) {
    const { model, weights, seconds, tokens, ...file } = await generateByApi.toFile({ ...common, ...source, chat })
    return { model, weights, seconds, tokens, file }
  }
  let loaded = { model: '', at: performance.now() }
  const pieces = generateByApi.stream({
    ...common,
    inputs: [source.asked],
    chat: chat ?? 'auto',
    onOpened: model => {
      loaded = { model, at: performance.now() }
    },
  })
  for await (const { text, answer } of pieces) {
    if (text !== '') await context.onNews({ text })
    if (answer === undefined) continue
    const { weights, promptTokens } = answer
    const told = { ...answerRow(answer), promptTokens }
    return {
      model: loaded.model,
      weights,
      seconds: (performance.now() - loaded.at) / 1000,
      tokens: told.severally?.tokens ?? told.ids.length,
      answer: told,
    }
  }
  throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
}

const warningOf =
  ({ onEvent }: Pick<Context, 'onEvent'>) =>
  (warning: DataNotice) =>
    onEvent({ event: 'warning', ...warning })

const progressOf =
  ({ onProgress }: Pick<Context, 'onProgress'>) =>
  (done: number, total: number, what: string) =>
    onProgress({ what, done, total })

/** `gradprompt serve`: answers requests until it is asked to stop. @throws GradpromptError `aborted`, always in the end */
export async function serve(
  { prompts: given, families: _, ...request }: ServeRequest,
  context: Context<'serve'>,
): Promise<never> {
  const { signal, onNews } = context
  const prompts: Record<string, string> = {}
  for (const { name, path } of given) {
    const id = name ?? servedName(path)
    if (Object.hasOwn(prompts, id)) throw nameTaken(id)
    prompts[id] = path
  }
  const server = await serveByApi({
    ...request,
    prompts,
    onRequest: served => void onNews({ event: 'request', ...served }),
    onProgress: progressOf(context),
    onWarning: warningOf(context),
  })
  await onNews({ event: 'listening', url: server.url, models: server.models, weights: server.weights })
  await new Promise<void>(resolve => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  await onNews({ event: 'stopping', active: server.active })
  await server.stop({ graceSeconds })
  throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
}

/** `runs/sst2` and `runs/sst2/prompt.safetensors` are both served as `sst2`. */
function servedName(path: string): string {
  const parts = path.split(/[\\/]/).filter(part => part !== '' && part !== '.')
  const last = parts.at(-1) ?? path
  return last === 'prompt.safetensors' && parts.length > 1 ? parts.at(-2)! : last.replace(/\.safetensors$/, '')
}
