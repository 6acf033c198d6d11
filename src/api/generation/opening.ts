import type { DataNotice } from '../../data/readers/reader.js'
import { type AnswerStops, stopsOf } from '../../data/texts/answer-end.js'
import { promptTokenizer } from '../../data/texts/soft-tokens.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import { GenerationEngine } from '../../generate/engine/engine.js'
import { type Frame, noFrame } from '../../generate/framing.js'
import { type Products, productsOf } from '../../generate/programs.js'
import type { Room } from '../../generate/settings.js'
import type { WeightChoice } from '../../generate/width.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import { firstOf, type ModelSettings, useModel } from '../../model/with-model.js'
import { bundledModel } from '../../package-root.js'
import { softVocabulary } from '../../prompts/soft-rows.js'
import { answerEndOf, type OpenOptions, type PromptSource } from '../../sources/open.js'
import { promptsByTask } from '../../sources/prompt.js'

/**
 * A model with an engine over it and the prompts that it answers under: what generating, streaming and serving all open. It knows
 * neither what is asked nor where answers go.
 */

type ProgressFunction = (done: number, total: number, what: string) => void

export interface EngineSettings extends ModelSettings, Pick<OpenOptions, 'strength'> {
  /** A model or its name; by default that of the first prompt's run, that which an adapter names, or the bundled one. */
  readonly model?: LanguageModel | string | undefined
  /** `auto`, the default: exact (`fp32`) wherever that fits comfortably. `stored` is 8 bits or less: faster, and some answers differ. */
  readonly weights?: WeightChoice | undefined
  /** Answers under way at the same time, at most. */
  readonly batchSize?: number | undefined
  /** Whether tokens are guessed from what stands before them: the same answers in fewer steps, but for rounding. By default true. */
  readonly promptLookup?: boolean | undefined
  /** Hears, before anything is computed, what is to be said of a prompt: that its run has not ended. */
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

/** A prompt under which texts are answered. */
export interface NamedPrompt {
  readonly source: PromptSource
  /** What acts by vectors; undefined where words do, or nothing. */
  readonly active: ActivePrompt | undefined
  /** The names by which the engine knows it: its own, and one for each of its tasks. None where words act. */
  readonly names: readonly string[]
  /** How what is asked becomes a text under it. */
  readonly frame: Frame
  /** Reads what texts under it hold: a template's soft tokens can stand in them, written as the template writes them. */
  readonly tokenizer: Tokenizer
  readonly room: Room
  /** What ends an answer under it, beside the model's own end tokens. */
  readonly ends: AnswerStops
  /** The words of the classes that it learned without an end: nothing else is an answer under it, and nothing would end one. */
  readonly labels: readonly string[] | undefined
}

export interface UsedEngine extends AsyncDisposable {
  readonly model: LanguageModel
  readonly engine: GenerationEngine
  readonly weights: Products
  readonly prompts: ReadonlyMap<string, NamedPrompt>
}

/**
 * Opens a model and an engine on it.
 * @param prepared the prompt whose programs are opened at once; by default those of none
 * @param interactive whether others may ask while answers are under way
 * @param onProgress told of weights that are written to the cache, in percent
 * @throws GradpromptError as loading a model, reading a prompt and `GenerationEngine.open` do
 */
export async function useEngine(
  settings: EngineSettings,
  sources: ReadonlyMap<string, PromptSource>,
  {
    prepared,
    interactive = false,
    onProgress,
  }: {
    readonly prepared?: string
    readonly interactive?: boolean
    readonly onProgress?: ProgressFunction | undefined
  } = {},
): Promise<UsedEngine> {
  const { weights, batchSize, promptLookup, onWarning } = settings
  for (const { notice } of sources.values()) if (notice !== undefined) onWarning?.(notice)
  const task = [...sources.values()].find(source => source.task !== undefined)?.task
  const base = [...sources.values()].find(source => source.base !== undefined)?.base
  const used = await useModel(settings.model ?? task?.model ?? base ?? bundledModel, {
    ...firstOf(settings, task),
    onProgress: share => onProgress?.(Math.floor(99 * share), 100, 'weights'),
  })
  const { model } = used
  try {
    const prompts = new Map<string, NamedPrompt>()
    const active: Record<string, ActivePrompt> = {}
    for (const [name, source] of sources) {
      const prompt = await source.active(model)
      const named = prompt === undefined ? {} : promptsByTask(name, prompt)
      Object.assign(active, named)
      prompts.set(name, {
        source,
        active: prompt,
        names: Object.keys(named),
        frame: frameOf(source),
        ends: stopsOf(answerEndOf(source, model.tokenizer), model.tokenizer),
        labels: source.file?.answerEnd === undefined ? source.file?.labels && Object.values(source.file.labels) : undefined,
        tokenizer: promptTokenizer(model.tokenizer, softVocabulary(prompt?.config, model.config)),
        room: {
          contextLength: model.config.maxPositionEmbeddings,
          numVirtualTokens: prompt?.method.placement(prompt.config, model.config).numVirtualTokens ?? 0,
        },
      })
    }
    const engine = await GenerationEngine.open(model, {
      ...(weights !== undefined && { weights }),
      ...(batchSize !== undefined && { batchSize }),
      ...(promptLookup !== undefined && { promptLookup }),
      ...{ interactive, prompts: active },
      ...(prepared !== undefined && prepared in active && { defaultPrompt: prepared }),
    })
    return {
      ...{ model, engine, weights: productsOf(model, engine.width), prompts },
      async [Symbol.asyncDispose]() {
        await engine.dispose()
        await used[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await used[Symbol.asyncDispose]()
    throw error
  }
}

export const frameOf = ({ kind, task, file, template }: PromptSource): Frame =>
  kind === 'none' || kind === 'text'
    ? template === undefined
      ? noFrame
      : { template: template as Frame['template'], always: true }
    : {
        template: (file?.template as Frame['template']) ?? task?.template,
        always: kind === 'found',
        answer: file?.answer ?? task?.answer,
      }
