import type { OptionNames } from '../config/call-options.js'
import { GradpromptError } from '../errors.js'
import { inWords } from '../own-calls.js'
import { defaultDevice } from '../program/devices.js'
import { LanguageModel, type LoadOptions } from './language-model.js'

/**
 * How a model is opened, wherever one is: by name, with the settings of whoever asks first, or as it was given. It does not know what
 * the model is for.
 */

/** Where a model runs and what it may take: of a config, or of a call. What is left out is as it is by default. */
export interface ModelSettings {
  readonly device?: LoadOptions['device'] | undefined
  readonly threads?: number | undefined
  /** Memory budget in GB. */
  readonly memory?: number | undefined
  /** How weights are kept: `fp32`, `compact`, or `auto` (see `LoadOptions.keepWeights`). */
  readonly keepWeights?: LoadOptions['keepWeights']
  /** In which width products are computed (see `LoadOptions.precision`). */
  readonly precision?: LoadOptions['precision']
}

/** Their names, for calls that take them among their own. */
export const modelSettingNames = {
  device: true,
  threads: true,
  memory: true,
  keepWeights: true,
  precision: true,
} satisfies OptionNames<ModelSettings>

/** The same, with what only an opening knows. */
export interface OpenSettings extends ModelSettings {
  /** Memory budget in bytes, where it has to be the same to the byte as at another time; `memory` goes first. */
  readonly memoryBytes?: number | undefined
  /** Called while the weights are dequantised, or rounded, for the first time. */
  readonly onProgress?: ((fraction: number) => void) | undefined
}

/** Settings where the first that says something counts: a call's, then its config's. */
export function firstOf(...settings: readonly (ModelSettings | undefined)[]): ModelSettings {
  const said = <Name extends keyof ModelSettings>(name: Name) =>
    settings.find(one => one?.[name] !== undefined)?.[name] as ModelSettings[Name]
  return {
    device: said('device'),
    threads: said('threads'),
    memory: said('memory'),
    keepWeights: said('keepWeights'),
    precision: said('precision'),
  }
}

/** A model for as long as it is used: `await using` disposes of it where it was opened here, and leaves one that was given as it is. */
export interface UsedModel extends AsyncDisposable {
  readonly model: LanguageModel
}

/** @throws GradpromptError `invalid-option` */
export function requireModelName(given: unknown): void {
  if (typeof given === 'string') return
  throw new GradpromptError('invalid-option', 'this is no model', {
    found: inWords(given),
    expected: 'a model that is open, or the name of one: a folder, a .gguf file, owner/name on the Hugging Face Hub',
  })
}

/** @throws GradpromptError `disposed` of a model that was, `invalid-option` of what is none, and as `LanguageModel.load` does */
export async function useModel(
  given: LanguageModel | string,
  { device = defaultDevice, threads, memory, memoryBytes, keepWeights, precision, onProgress }: OpenSettings = {},
): Promise<UsedModel> {
  if (given instanceof LanguageModel) {
    given.refuseDisposed()
    return { model: given, async [Symbol.asyncDispose]() {} }
  }
  requireModelName(given)
  const bytes = memory === undefined ? memoryBytes : memory * 1e9
  const model = await LanguageModel.load(given, {
    device,
    ...(threads !== undefined && { threads }),
    ...(bytes !== undefined && { memory: bytes }),
    keepWeights,
    precision,
    ...(onProgress && { onProgress }),
  })
  return { model, [Symbol.asyncDispose]: () => model.dispose() }
}

/**
 * Uses a model and disposes of it, unless it was given as one.
 * @param given a model, or the name of one: a folder, a .gguf file, the id of one in the Hugging Face cache
 * @throws GradpromptError as `LanguageModel.load` does, and what `use` throws
 */
export async function withModel<Result>(
  given: LanguageModel | string,
  settings: OpenSettings,
  use: (model: LanguageModel) => Promise<Result>,
): Promise<Result> {
  await using used = await useModel(given, settings)
  return await use(used.model)
}

/** A second model beside one, with the same settings: a draft, or one that writes prompts. */
export const loadBeside = (name: string, { device, threads, memory }: LanguageModel): Promise<LanguageModel> =>
  LanguageModel.load(name, { device, threads, memory: memory.budget, ...memory.opening })
