import { promptTokenizer } from '../data/soft-tokens.js'
import { GenerationEngine } from '../generate/engine.js'
import { type GenerationInput, parseRow, type RenderOptions, renderInput } from '../generate/input.js'
import type { WeightWidth } from '../generate/programs.js'
import type { Generation } from '../generate/request.js'
import { type GenerationSettings, generationRequest, tokenBudget } from '../generate/settings.js'
import { LanguageModel } from '../model/language-model.js'
import { bundledModel } from '../package-root.js'
import { softVocabulary } from '../prompts/soft-rows.js'
import { openPrompt } from '../sources/open.js'
import { promptsByTask, promptTask } from '../sources/prompt.js'
import type { LearnedRun } from '../sources/run.js'
import type { PromptFile } from '../store/prompt-file.js'

export interface GenerateOptions extends Partial<Omit<GenerationSettings, 'prompt'>>, RenderOptions {
  /** A model or its name; by default that of the prompt's run, or the bundled one. */
  readonly model?: LanguageModel | string | undefined
  /** A run, its folder, a prompt file, or a PEFT adapter's folder: answer with its soft prompt. */
  readonly prompt?: LearnedRun | PromptFile | string | undefined
  /** Of a prompt of several tasks: which of them; by default what they share. */
  readonly promptTask?: string | undefined
  /** Texts to go on with, or conversations. */
  readonly inputs: readonly (string | GenerationInput)[]
  /** By default 256, or what the context has left. */
  readonly maxNewTokens?: number | undefined
  /** By default `stored`: 4-bit and 8-bit weights stay as they are. */
  readonly weights?: WeightWidth | undefined
  readonly batchSize?: number | undefined
  /** Whether tokens are guessed from what stands before them: the same answers in fewer steps, but for rounding. By default true. */
  readonly promptLookup?: boolean | undefined
  readonly signal?: AbortSignal | undefined
  /** Called with each answer as it is finished. */
  readonly onAnswer?: ((answer: Generation, index: number) => void) | undefined
}

/**
 * Answers many texts or conversations at once, in batches that rows join and leave.
 * @returns answers in the order of `inputs`
 * @throws GradpromptError `context-exceeded`, `empty-prompt`, those of the chat template, of loading a model and of reading a prompt
 */
export async function generate(options: GenerateOptions): Promise<Generation[]> {
  const {
    inputs,
    maxNewTokens,
    weights,
    batchSize,
    promptLookup,
    signal,
    onAnswer,
    system,
    chat,
    variables,
    model: _,
    ...settings
  } = options
  const { promptTask: task } = options
  const source = await openPrompt(options.prompt)
  const given = options.model ?? source.task?.model ?? bundledModel
  const model = typeof given === 'string' ? await LanguageModel.load(given) : given
  try {
    const prompt = await source.active(model)
    if (prompt && task !== undefined) promptTask(prompt.config, task, 'promptTask')
    const tokenizer = promptTokenizer(model.tokenizer, softVocabulary(prompt?.config, model.config))
    const engine = await GenerationEngine.open(model, {
      ...(weights !== undefined && { weights }),
      ...(batchSize !== undefined && { batchSize }),
      ...(promptLookup !== undefined && { promptLookup }),
      ...(prompt && {
        prompts: promptsByTask('prompt', prompt),
        defaultPrompt: task === undefined ? 'prompt' : `prompt/${task}`,
      }),
    })
    const room = {
      contextLength: model.config.maxPositionEmbeddings,
      numVirtualTokens: prompt?.method.placement(prompt.config, model.config).numVirtualTokens ?? 0,
    }
    try {
      const requests = inputs.map((input, i) => {
        const row = typeof input === 'string' ? { prompt: input } : parseRow(input, `inputs[${i}]`)
        const { text, addSpecialTokens } = renderInput(model.tokenizer, row, { system, chat, variables })
        const ids = tokenizer.encode(text, { addSpecialTokens })
        const budget = tokenBudget(`inputs[${i}]`, ids.length, room, maxNewTokens)
        return {
          ...generationRequest(ids, budget, { ...settings, prompt: undefined } as GenerationSettings, i),
          ...(signal && { signal }),
        }
      })
      return await Promise.all(
        requests.map(async (request, i) => {
          const answer = await engine.generate(request)
          onAnswer?.(answer, i)
          return answer
        }),
      )
    } finally {
      await engine.dispose()
    }
  } finally {
    if (typeof given === 'string') await model.dispose()
  }
}
