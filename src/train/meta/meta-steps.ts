import type { ModelConfig } from '../../../models/blocks/family.js'
import type { TrainingRow } from '../../data/rows/rows.js'
import { plainRow } from '../../data/texts/soft-tokens.js'
import type { LanguageModel } from '../../model/language-model.js'
import { softVocabulary } from '../../prompts/soft-rows.js'
import type { Config } from '../config.js'
import type { Job, ParameterBeside } from '../job.js'
import { chosenLoss } from '../losses.js'
import { sampledBatches } from '../steps/batches.js'
import { stepGradient } from '../steps/step-gradient.js'
import { type MetaGradient, metaGradient } from './meta-gradient.js'
import { gateWidth, initialRegulator, regulatorParameters, regulatorRank } from './regulator.js'
import { drawTasks, metaTasks } from './tasks.js'

/** What a run's steps are where `train.meta` says that a start is learned. */

export interface MetaSteps {
  /** As the loop takes them: what Reptile moves by is no gradient, whose norm would be bounded. */
  readonly train: Config['train']
  /** All rows of a step. */
  readonly batch: (step: number) => readonly TrainingRow[]
  readonly gradient: (step: number) => Promise<MetaGradient>
}

const sizesOf = ({ hiddenSize }: ModelConfig) => ({ hiddenSize, rank: regulatorRank, width: gateWidth })

/** What is learned beside the prompt. */
export function metaParameters({ train, seed }: Config, model: ModelConfig): ParameterBeside[] {
  if (train.meta?.filter !== 'regulated') return []
  const values = initialRegulator(sizesOf(model), seed)
  return regulatorParameters(sizesOf(model)).map(shape => ({ shape, values: values.get(shape.name)! }))
}

/** @throws GradpromptError as `metaTasks` */
export function metaSteps(job: Job): MetaSteps | undefined {
  const { config, task, model, prompt, state } = job
  const { train, seed } = config
  const options = train.meta
  if (options === undefined) return undefined
  const tasks = metaTasks(task.train, options.tasks)
  const draw = (step: number) => drawTasks(tasks, step, options, { batchSize: train.batchSize, seed })
  const shapes = prompt.method.parameters(prompt.config, model.config)
  const regulator = metaParameters(config, model.config).map(({ shape: { name } }) => name)
  // The states are those of the model alone: soft tokens are read as the words that they start from.
  const soft = softVocabulary(prompt.config, model.config)
  const states = stateOf(model, place => {
    const { context } = job.builders[0]!.scoring(task.train[place]!, place)
    return soft === undefined ? context : plainRow({ ids: context, labels: context }, soft).ids
  })
  return {
    train: options.update === 'reptile' ? { ...train, maxGradientNorm: null } : train,
    batch: step => {
      const rows = draw(step).flatMap(({ support, query }) => [...support, ...(options.update === 'maml' ? [query] : [])])
      return sampledBatches(task.train, job, () => rows.flat()).training(step)
    },
    gradient: step =>
      metaGradient(state.parameters, draw(step), {
        ...{ options, shapes },
        maxGradientNorm: train.maxGradientNorm ?? Number.POSITIVE_INFINITY,
        regulator: regulator.length > 0 ? new Map(regulator.map(name => [name, state.parameters.get(name)!])) : undefined,
        model: {
          gradient: (parameters, places) => gradientAt(job, parameters, places, step),
          state: states,
          constrain: parameters => prompt.method.constrain?.(prompt.config, parameters, model.config),
        },
      }),
  }
}

/** Loss and gradient of training rows under values of the prompt's parameters. */
async function gradientAt(job: Job, parameters: ReadonlyMap<string, Float32Array>, places: readonly number[], step: number) {
  const { model, answers, losses } = job
  const { train } = job.config
  const prompt = { ...job.prompt, parameters }
  const batch = sampledBatches(job.task.train, job, () => places)
  const { recompute } = train
  const ofClasses = stepGradient({
    model,
    prompt,
    batch,
    losses,
    answers,
    chosen: chosenLoss(train),
    recompute,
    privacy: undefined,
  })
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
    const ids = idsOf(place)
    const [pass] = await model.forward([ids], { hiddenStates: true })
    const mean = new Float64Array(hiddenSize)
    for (const [i, x] of pass!.hiddenStates!.at(-1)!.entries()) mean[i % hiddenSize]! += x / ids.length
    return mean
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
