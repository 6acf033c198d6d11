import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promptTokenizer } from '../../data/soft-tokens.js'
import { GradpromptError } from '../../errors.js'
import { answerRow, answerRows } from '../../generate/answer-rows.js'
import { GenerationEngine } from '../../generate/engine.js'
import { readInput, renderInput } from '../../generate/input.js'
import type { Generation, Generator } from '../../generate/request.js'
import { generationRequest, tokenBudget } from '../../generate/settings.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import { bundledModel } from '../../package-root.js'
import { installedVersion } from '../../program/cache.js'
import { softVocabulary } from '../../prompts/soft-rows.js'
import type { ServedModel } from '../../serve/completions.js'
import { startServer } from '../../serve/server.js'
import { readPromptAt } from '../../sources/open.js'
import { activePrompt, promptsByTask, promptTask } from '../../sources/prompt.js'
import { readLearnedRun } from '../../sources/run.js'
import { acquireLock, type Lock } from '../../store/lock.js'
import type { PromptFile } from '../../store/prompt-file.js'
import type { EngineRequest, GenerateRequest, GenerateResult, ServeRequest } from './messages.js'
import { isFolder, load } from './opening.js'
import type { Context } from './tasks.js'

/** Answering and serving, in the computing process. */

/** How long requests under way may take to end once a server is asked to stop. */
const graceSeconds = 10

const thePrompt = 'prompt'

/** `gradprompt generate`: one text whose answer is told as it comes, or the rows of a file. */
export async function generate(request: GenerateRequest, context: Context<'generate'>): Promise<GenerateResult> {
  const { source, prompt: path, weights } = request
  // Mistakes in the rows are told before a model is loaded.
  const rows = 'input' in source ? await readInput(source.input) : undefined
  const prompt = path === undefined ? undefined : await readPromptAt(path)
  if (prompt !== undefined && request.promptTask !== undefined) promptTask(prompt.method, request.promptTask, '--prompt-task')
  const lock = 'output' in source ? await lockOutput(source.output) : undefined
  try {
    return await withEngine(
      request,
      path,
      prompt && new Map([[thePrompt, prompt]]),
      context.onProgress,
      async (generator, model) => {
        const name = request.promptTask === undefined ? thePrompt : `${thePrompt}/${request.promptTask}`
        const settings = { ...request.settings, ...(prompt !== undefined && { prompt: name }) }
        const options = { ...request, settings, prompt, generator, model }
        const started = performance.now()
        const answered =
          'text' in source ? await answerText(source.text, options, context) : await answerFile(source, rows!, options, context)
        return { model: model.name, weights, seconds: (performance.now() - started) / 1000, ...answered }
      },
    )
  } finally {
    await lock?.release()
  }
}

/** Makes this process the only one that writes an output file. @throws GradpromptError `run-locked`, `cannot-write` */
async function lockOutput(output: string): Promise<Lock> {
  try {
    await mkdir(dirname(output), { recursive: true })
    return await acquireLock(`${output}.lock`)
  } catch (cause) {
    if (cause instanceof GradpromptError) throw cause
    throw new GradpromptError('cannot-write', `cannot write ${output}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a place for a file',
      cause,
    })
  }
}

type AnswerRequest = Omit<GenerateRequest, 'model' | 'prompt'> & {
  readonly prompt: PromptFile | undefined
  readonly generator: Generator
  readonly model: LanguageModel
}

async function answerText(
  text: string,
  { prompt, generator, model, settings, maxNewTokens, chat, system, variables }: AnswerRequest,
  { signal, onNews }: Context<'generate'>,
): Promise<Pick<GenerateResult, 'tokens' | 'answer'>> {
  const tokenizer = tokenizerOf(model, prompt)
  // A soft prompt that was tuned on plain text knows nothing of turns.
  const isPlain = tokenizer.chatTemplate === undefined || typeof prompt?.template === 'string'
  const input = { prompt: text }
  const rendered = renderInput(tokenizer, input, { system, variables, chat: chat ?? (system !== undefined || !isPlain) })
  const ids = tokenizer.encode(rendered.text, { addSpecialTokens: rendered.addSpecialTokens })
  const budget = tokenBudget('the text', ids.length, roomOf(model, prompt), maxNewTokens)
  let told = 0
  const tell = (piece: string) => {
    told += piece.length
    if (piece !== '') onNews({ text: piece })
  }
  const generation: Generation = await generator.generate({ ...generationRequest(ids, budget, settings), signal, onText: tell })
  const answer = { ...answerRow(generation), promptTokens: generation.promptTokens }
  tell(answer.text.slice(told))
  return { tokens: answer.ids.length, answer }
}

async function answerFile(
  { input, output }: { input: string; output: string },
  rows: Awaited<ReturnType<typeof readInput>>,
  { prompt, generator, model, weights, settings, maxNewTokens, chat, system, variables }: AnswerRequest,
  { signal, onProgress }: Context<'generate'>,
): Promise<Pick<GenerateResult, 'tokens' | 'file'>> {
  const render = { system, chat: chat ?? system !== undefined, variables }
  const { tensors = [], ...header } = prompt ?? {}
  const hash = createHash('sha256').update(await readFile(input))
  hash.update(JSON.stringify({ model: model.hash, weights, prompt: header, settings, maxNewTokens, render, version }))
  for (const { name, data } of tensors) hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  const { resumed, tokens } = await answerRows(rows, {
    generator,
    tokenizer: tokenizerOf(model, prompt),
    render,
    settings,
    maxNewTokens,
    room: roomOf(model, prompt),
    output,
    fingerprint: hash.digest('hex'),
    onProgress: (done, total) => onProgress({ what: 'rows', done, total }),
    signal,
  })
  return { tokens, file: { output, rows: rows.length, resumed } }
}

/** Versions whose answers to the same request may differ. */
const version = installedVersion('onnxruntime-node')

/** A template's soft tokens can stand in the texts under its prompt, written as the template writes them. */
const tokenizerOf = (model: LanguageModel, prompt: Pick<PromptFile, 'method'> | undefined) =>
  promptTokenizer(model.tokenizer, softVocabulary(prompt?.method, model.config))

const roomOf = (model: LanguageModel, prompt: Pick<PromptFile, 'numVirtualTokens'> | undefined) => ({
  contextLength: model.config.maxPositionEmbeddings,
  numVirtualTokens: prompt?.numVirtualTokens ?? 0,
})

/** `gradprompt serve`: answers requests until it is asked to stop. @throws GradpromptError `aborted`, always in the end */
export async function serve(request: ServeRequest, { signal, onNews, onProgress }: Context<'serve'>): Promise<never> {
  const { prompts: given, host, port, token, maxNewTokens, weights } = request
  const prompts = new Map<string, PromptFile>()
  for (const { name, path } of given) {
    const id = name ?? servedName(path)
    if (prompts.has(id)) throw nameTaken(id)
    prompts.set(id, await readPromptAt(path))
  }
  return withEngine(request, given[0]?.path, prompts, onProgress, async (generator, model) => {
    if (prompts.has(model.name)) throw nameTaken(model.name)
    const models: ServedModel[] = [{ id: model.name, numVirtualTokens: 0 }]
    for (const [id, prompt] of prompts) {
      const { numVirtualTokens } = prompt
      // A prompt of several tasks is served as what they share, and as each of them.
      for (const name of Object.keys(promptsByTask(id, activePrompt(prompt, model))))
        models.push({ id: name, prompt: name, numVirtualTokens, tokenizer: tokenizerOf(model, prompt) })
    }
    const server = await startServer({
      generator,
      tokenizer: model.tokenizer,
      contextLength: model.config.maxPositionEmbeddings,
      vocabSize: model.config.vocabSize,
      models,
      fingerprint: `${weights}-${model.hash.slice(0, 12)}`,
      maxNewTokens,
      host,
      port,
      token,
      onRequest: served => onNews({ event: 'request', ...served }),
    })
    onNews({ event: 'listening', url: server.url, models: models.map(({ id }) => id) })
    await new Promise<void>(resolve => {
      if (signal.aborted) resolve()
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    onNews({ event: 'stopping', active: server.active })
    await server.stop({ graceSeconds })
    throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
  })
}

/** `runs/sst2` and `runs/sst2/prompt.safetensors` are both served as `sst2`. */
function servedName(path: string): string {
  const parts = path.split(/[\\/]/).filter(part => part !== '' && part !== '.')
  const last = parts.at(-1) ?? path
  return last === 'prompt.safetensors' && parts.length > 1 ? parts.at(-2)! : last.replace(/\.safetensors$/, '')
}

const nameTaken = (name: string): GradpromptError =>
  new GradpromptError('name-taken', 'two of the served models have one name', {
    found: name,
    hint: `give a prompt another name: --prompt other-name=PATH`,
  })

/** Opens the model and an engine on it, and closes both. */
async function withEngine<Result>(
  { model: name, weights, batchSize, promptLookup, device, threads, memory }: EngineRequest,
  path: string | undefined,
  prompts: ReadonlyMap<string, PromptFile> | undefined,
  onProgress: Context['onProgress'],
  use: (generator: Generator, model: LanguageModel) => Promise<Result>,
): Promise<Result> {
  const known =
    name === undefined && path !== undefined && (await isFolder(path)) ? (await readLearnedRun(path)).config.model : undefined
  const model = await load(name ?? known ?? bundledModel, { device, threads, memory }, onProgress)
  try {
    const active: Record<string, ActivePrompt> = {}
    for (const [id, prompt] of prompts ?? []) Object.assign(active, promptsByTask(id, activePrompt(prompt, model)))
    const generator = await GenerationEngine.open(model, {
      weights,
      promptLookup,
      ...(batchSize !== undefined && { batchSize }),
      prompts: active,
    })
    try {
      return await use(generator, model)
    } finally {
      await generator.dispose()
    }
  } finally {
    await model.dispose()
  }
}
