import { basename, dirname, extname, resolve } from 'node:path'
import { inMemory } from '../data/memory-rows.js'
import { type DataSource, type Part, parts } from '../data/task.js'
import type { AnswerEnd } from '../data/texts/answer-end.js'
import { GradpromptError } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import { currentEnvironment, type Environment, environmentDifferences } from './environment.js'
import type { WarningEvent } from './events.js'

/** A model as a run remembers it. */
export interface KnownModel {
  readonly name: string
  readonly hash: string
}

type Sources = Readonly<Partial<Record<Part, DataSource>>>

/** What `run.json` holds: what a resumed run must find again. */
export interface RunDetails {
  readonly environment: Environment
  readonly model: KnownModel
  readonly data: Sources
  /** What ends an answer, as it was resolved; absent where nothing does. */
  readonly answerEnd?: AnswerEnd
  /** Modules of people's own that the config names, with the hashes of their files. */
  readonly modules?: Readonly<Record<string, string>>
  /** Memory budget in bytes: it decides how batches are cut, and so the order of sums. */
  readonly memory: number
  /** When, as ISO 8601. */
  readonly began: string
}

/** @param name the model as the config has it */
export function runDetails(
  name: string,
  model: LanguageModel,
  data: Sources,
  modules: Readonly<Record<string, string>>,
  answerEnd: AnswerEnd | undefined,
): RunDetails {
  return {
    environment: currentEnvironment(model),
    model: { name, hash: model.hash },
    data,
    ...(answerEnd && { answerEnd }),
    ...(Object.keys(modules).length > 0 && { modules }),
    memory: model.memory.budget,
    began: new Date().toISOString(),
  }
}

/** A run that was not given a folder is called after its data: `examples/sst2/train.tsv` gives `sst2`. */
export function nameOfData(train: string): string {
  const path = resolve(train)
  const file = basename(path, extname(path))
  return /^(train|training|data)$/i.test(file) ? basename(dirname(path)) : file
}

/** @throws GradpromptError `data-changed` */
export function refuseOtherData(details: Partial<RunDetails> | undefined, sources: Sources): void {
  for (const part of parts) {
    const before = details?.data?.[part]
    const now = sources[part]
    if (before === undefined || now === undefined || before.sha256 === now.sha256) continue
    throw new GradpromptError('data-changed', `the ${part} rows are not those that the run began with`, {
      found: `${now.path}, ${now.sha256.slice(0, 12)}`,
      expected: `${before.path}, ${before.sha256.slice(0, 12)}`,
      hint: `${now.path === inMemory ? 'hand over the same rows in the same order' : 'bring the file back'}, or begin a new run`,
    })
  }
}

/** @throws GradpromptError `model-changed` */
export function refuseOtherModel(before: KnownModel | undefined, model: LanguageModel): void {
  if (before === undefined || before.hash === model.hash) return
  throw new GradpromptError('model-changed', 'the model is not the one that the run began with', {
    found: `${model.name}, ${model.hash.slice(0, 12)}`,
    expected: `${before.name}, ${before.hash.slice(0, 12)}`,
    hint: 'bring the model back, or begin a new run',
  })
}

/** Warnings of modules that are not those that a run began with. */
export function moduleWarnings(
  details: Partial<RunDetails> | undefined,
  modules: Readonly<Record<string, string>>,
): WarningEvent[] {
  const changed = Object.entries(modules).filter(([path, hash]) => (details?.modules?.[path] ?? hash) !== hash)
  return changed.map(([path]) => ({
    event: 'warning',
    code: 'module-changed',
    message: `${path} has changed since the run began: what is computed from here on is the new file's`,
  }))
}

/** A warning where a resumed run may not come to the bits that it would have come to. */
export function environmentWarnings(details: Partial<RunDetails> | undefined, model: LanguageModel): WarningEvent[] {
  const differences = environmentDifferences(details?.environment, currentEnvironment(model))
  if (differences.length === 0) return []
  const message = `the run began elsewhere, so its last bits may differ: ${differences.join('; ')}`
  return [{ event: 'warning', code: 'environment-changed', message }]
}
