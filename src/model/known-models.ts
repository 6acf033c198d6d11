/**
 * The models that are at hand: the bundled one, and every one in the cache of the Hub, each opened as far as its headers go. It knows what a model
 * is and what it would take, and downloads nothing.
 */

import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { ggufModels } from '../formats/gguf-split.js'
import { type CachedSnapshot, cachedSnapshots } from '../hub/cache.js'
import { hubSettings } from '../hub/settings.js'
import { elementCount } from '../numbers.js'
import { bundledModel, resolveModelPath } from '../package-root.js'
import type { WeightKeeping } from '../program/keeping.js'
import { comparedPairs, MemoryPlan } from './memory.js'
import { type Checkpoint, openCheckpoint } from './weights/checkpoint.js'
import { wholeModel } from './weights/hub-model.js'

export interface KnownModel {
  /** As it is given to `--model`. */
  readonly name: string
  readonly from: 'bundled' | 'hub'
  readonly path: string
  /** Of its files, on disk. */
  readonly bytes: number
  /** What it is, where it can be opened. */
  readonly model?: ModelFacts
  /** Why it cannot be. */
  readonly problem?: { readonly code: string; readonly message: string; readonly found?: string; readonly hint?: string }
}

export interface ModelFacts {
  readonly family: string
  readonly parameters: ParameterCounts
  readonly contextLength: number
  readonly memory: MemoryNeeds
}

/** Numbers that a model computes with, by what they are for. */
export interface ParameterCounts {
  readonly total: number
  readonly embedding: number
  readonly attention: number
  readonly mlp: number
  readonly norms: number
  readonly head: number
}

/** Bytes. */
export interface MemoryNeeds {
  /** The weights as programs map them, shared by all. */
  readonly weights: number
  /** How they are kept. */
  readonly keeping: WeightKeeping
  /** Bytes of them in either form. */
  readonly kept: Readonly<Record<'fp32' | 'compact', number>>
  /** Scoring or writing one text of 512 tokens, weights and all. */
  readonly oneText: number
  /** A training step of 16 rows of 64 tokens, weights and all. */
  readonly trainingStep: number
  /** The same with `train.recompute`. */
  readonly recomputedStep: number
  /** What may be used. */
  readonly budget: number
}

export function parameterCounts({ weights }: Pick<Checkpoint, 'weights'>): ParameterCounts {
  const counts = { total: 0, embedding: 0, attention: 0, mlp: 0, norms: 0, head: 0 }
  for (const { name, shape } of weights) {
    const numbers = elementCount(shape)
    counts.total += numbers
    counts[partOf(name)] += numbers
  }
  return counts
}

/** By the names that weights have in programs. */
function partOf(name: string): Exclude<keyof ParameterCounts, 'total'> {
  if (/norm/i.test(name)) return 'norms'
  if (/^(embedding|positions)/.test(name)) return 'embedding'
  if (/^head/.test(name)) return 'head'
  return /^layers\.\d+\.(query|key|value|attention)/.test(name) ? 'attention' : 'mlp'
}

export function memoryNeeds(plan: MemoryPlan): MemoryNeeds {
  return {
    weights: plan.weights,
    keeping: plan.keeping,
    kept: { fp32: plan.float32Weights, compact: plan.compactWeights },
    oneText: plan.estimate(512, 1, false, comparedPairs(1, 512)),
    trainingStep: plan.estimate(16 * 64, 16, true, comparedPairs(16, 64)),
    recomputedStep: plan.estimate(16 * 64, 16, true, comparedPairs(16, 64), true),
    budget: plan.budget,
  }
}

/** Every model at hand, one after the other. */
export async function* knownModels(): AsyncGenerator<KnownModel> {
  const bundled = bundledPath()
  if (bundled !== undefined) yield await looked(bundledModel, 'bundled', bundled)
  for (const snapshot of cachedSnapshots(hubSettings(), 'model'))
    for (const file of modelsOf(snapshot)) {
      const name = `${snapshot.id}${revisionOf(snapshot)}${file === undefined ? '' : `:${file}`}`
      const whole = wholeModel(snapshot.folder, file)
      yield whole === undefined ? unfinished(name, snapshot.folder) : await looked(name, 'hub', whole)
    }
}

function bundledPath(): string | undefined {
  try {
    const path = resolveModelPath(bundledModel)
    return existsSync(path) ? path : undefined
  } catch {
    return undefined
  }
}

const revisionOf = ({ revisions, commit }: CachedSnapshot): string =>
  revisions.includes('main') ? '' : `@${revisions[0] ?? commit}`

/** A snapshot is one model, or several .gguf files, each by its name. */
function modelsOf({ folder }: CachedSnapshot): (string | undefined)[] {
  const ggufs = ggufModels(filesIn(folder).map(path => path.slice(folder.length + 1)))
  return existsSync(join(folder, 'config.json')) || ggufs.length === 0 ? [undefined] : ggufs
}

async function looked(name: string, from: KnownModel['from'], path: string): Promise<KnownModel> {
  try {
    const checkpoint = await openCheckpoint(path)
    await checkpoint.file.close()
    const { family, config, files } = checkpoint
    const model: ModelFacts = {
      family: family.name,
      parameters: parameterCounts(checkpoint),
      contextLength: config.maxPositionEmbeddings,
      memory: memoryNeeds(new MemoryPlan(checkpoint)),
    }
    return { name, from, path, bytes: sizeOf(files), model }
  } catch (error) {
    if (!(error instanceof GradpromptError)) throw error
    const { code, message, found, hint } = error
    return {
      name,
      from,
      path,
      bytes: sizeOf(filesIn(path)),
      problem: { code, message, ...(found !== undefined && { found }), ...(hint !== undefined && { hint }) },
    }
  }
}

function unfinished(name: string, folder: string): KnownModel {
  const problem = {
    code: 'not-a-model',
    message: 'not all of its files are there',
    hint: 'a command that uses it fetches the rest',
  }
  return { name, from: 'hub', path: folder, bytes: sizeOf(filesIn(folder)), problem }
}

function filesIn(path: string): string[] {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return [path]
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).map(name => join(path, name))
}

/** Of files, following links. */
const sizeOf = (paths: readonly string[]): number =>
  paths.reduce((sum, path) => {
    const found = statSync(path, { throwIfNoEntry: false })
    return sum + (found?.isFile() ? found.size : 0)
  }, 0)
