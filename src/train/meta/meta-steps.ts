import type { ModelConfig } from '../../../models/blocks/family.js'
import type { DataRecord } from '../../data/readers/records.js'
import type { TrainingRow } from '../../data/rows/rows.js'
import { plainRow } from '../../data/texts/soft-tokens.js'
import type { LanguageModel } from '../../model/language-model.js'
import { meanRow } from '../../numbers.js'
import type { PromptParameter } from '../../prompts/method.js'
import { softVocabulary } from '../../prompts/soft-rows.js'
import { type BatchOptions, sampledBatches } from '../steps/batches.js'
import { type StepOptions, stepGradient } from '../steps/step-gradient.js'
import { type MetaGradient, metaGradient } from './meta-gradient.js'
import type { MetaOptions } from './options.js'
import { gateWidth, initialRegulator, regulatorParameters, regulatorRank } from './regulator.js'
import { drawTasks, metaTasks } from './tasks.js'

/** What a run's steps are where `train.meta` says that a start is learned. */

export interface MetaSteps {
  /** Of what the run's optimiser is given: what Reptile moves by is no gradient, whose norm would be bounded. */
  readonly maxGradientNorm: number | null
  /** All rows of a step. */
  readonly batch: (step: number) => readonly TrainingRow[]
  readonly gradient: (step: number) => Promise<MetaGradient>
}

const sizesOf = ({ hiddenSize }: ModelConfig) => ({ hiddenSize, rank: regulatorRank, width: gateWidth })

/** What is learned beside the prompt. */
export function metaParameters(
  { filter }: Pick<MetaOptions, 'filter'>,
  model: ModelConfig,
  seed: number,
): { readonly shape: PromptParameter; readonly values: Float32Array }[] {
  if (filter !== 'regulated') return []
  const values = initialRegulator(sizesOf(model), seed)
  return regulatorParameters(sizesOf(model)).map(shape => ({ shape, values: values.get(shape.name)! }))
}

/** A run, as far as its steps are concerned. */
export interface MetaRun extends BatchOptions, Pick<StepOptions, 'model' | 'prompt' | 'losses' | 'chosen' | 'recompute'> {
  readonly task: { readonly train: readonly DataRecord[] }
  /** What is learned, as it stands. */
  readonly parameters: ReadonlyMap<string, Float32Array>
  readonly maxGradientNorm: number | null
}

/** @throws GradpromptError as `metaTasks` */
export function metaSteps(run: MetaRun, options: MetaOptions): MetaSteps {
  const { task, model, prompt, parameters, maxGradientNorm } = run
  const { train, seed } = run.config
  const tasks = metaTasks(task.train, options.tasks)
  const draw = (step: number) => drawTasks(tasks, step, options, { batchSize: train.batchSize, seed })
  const shapes = prompt.method.parameters(prompt.config, model.config)
  const regulator = metaParameters(options, model.config, seed).map(({ shape: { name } }) => name)
  // The states are those of the model alone: soft tokens are read as the words that they start from.
  const soft = softVocabulary(prompt.config, model.config)
  const states = stateOf(model, place => {
    const { context } = run.builders[0]!.scoring(task.train[place]!, place)
    return soft === undefined ? context : plainRow({ ids: context, labels: context }, soft).ids
  })
  return {
    maxGradientNorm: options.update === 'reptile' ? null : maxGradientNorm,
    batch: step => {
      const rows = draw(step).flatMap(({ support, query }) => [...support, ...(options.update === 'maml' ? [query] : [])])
      return sampledBatches(task.train, run, () => rows.flat()).training(step)
    },
    gradient: step =>
      metaGradient(parameters, draw(step), {
        ...{ options, shapes },
        maxGradientNorm: maxGradientNorm ?? Number.POSITIVE_INFINITY,
        regulator: regulator.length > 0 ? new Map(regulator.map(name => [name, parameters.get(name)!])) : undefined,
        model: {
          gradient: (values, places) => gradientAt(run, values, places, step),
          state: states,
          constrain: values => prompt.method.constrain?.(prompt.config, values, model.config),
        },
      }),
  }
}

/** Loss and gradient of training rows under values of the prompt's parameters. */
async function gradientAt(run: MetaRun, parameters: ReadonlyMap<string, Float32Array>, places: readonly number[], step: number) {
  const { model, answers, losses, chosen, recompute } = run
  const prompt = { ...run.prompt, parameters }
  const batch = sampledBatches(run.task.train, run, () => places)
  const ofClasses = stepGradient({ model, prompt, batch, losses, answers, chosen, recompute, privacy: undefined })
  if (ofClasses !== undefined) return ofClasses(step)
  const rows = batch.training(step)
  const groups = answers > 1 ? Array.from({ length: rows.length / answers }, () => answers) : undefined
  return model.promptGradient(prompt, rows, { losses: await losses(rows), groups, recompute })
}

/** The mean of rows' last hidden states under no prompt; each row is computed once. */
function stateOf(model: LanguageModel, idsOf: (place: number) => readonly number[]) {
  const known = new Map<number, Float64Array>()
  const { hiddenSize } = model.config
  const ofRow = async (place: number) => {
    const [pass] = await model.forward([idsOf(place)], { hiddenStates: true })
    return meanRow(pass!.hiddenStates!.at(-1)!, hiddenSize)
  }
  return async (places: readonly number[]) => {
    const sum = new Float64Array(hiddenSize)
    for (const place of places) {
      const own = known.get(place) ?? (await ofRow(place))
      known.set(place, own)
      for (let i = 0; i < hiddenSize; i++) sum[i]! += own[i]! / places.length
    }
    return sum
  }
}
