import { inputColumns, inputTokens } from '../../data/domain-inputs.js'
import { localFiles } from '../../data/hub-data.js'
import { readRecords } from '../../data/read.js'
import type { DataNotice } from '../../data/readers/reader.js'
import type { DataRecord } from '../../data/readers/records.js'
import type { Task } from '../../data/task.js'
import type { LanguageModel } from '../../model/language-model.js'
import { meanRow } from '../../numbers.js'
import { domainParameter, domainParticles, type Particles } from '../../prompts/domain/domain.js'
import type { PromptParameter } from '../../prompts/method.js'
import type { Checkpoint } from '../../store/checkpoints.js'
import type { Config } from '../options/schema.js'

/** What a run's inputs are like: estimated once, before the first prompt is made, and kept with the prompt. */

export interface TaskDomain {
  readonly particles: Particles
  readonly notices: readonly DataNotice[]
}

/**
 * @param checkpoint of a run that goes on: it has the particles, and nothing is estimated anew
 * @returns undefined where the config does not ask for it
 * @throws GradpromptError `no-inputs`, `missing-column`, and as reading `domain.unlabelled` does
 */
export async function taskDomain(
  config: Pick<Config, 'domain' | 'template' | 'answer' | 'data' | 'seed'>,
  task: Pick<Task, 'train' | 'labels'>,
  model: Pick<LanguageModel, 'tokenizer' | 'embeddingRows' | 'config'>,
  checkpoint?: Pick<Checkpoint, 'tensors'>,
): Promise<TaskDomain | undefined> {
  const { domain, seed } = config
  if (domain === undefined) return undefined
  const kept = checkpoint?.tensors.find(({ name }) => name === `parameter:${domainParameter}`)
  if (kept !== undefined) return { particles: { data: kept.data, count: kept.shape[0]! }, notices: [] }
  const columns = inputColumns(config)
  const pooled = async (records: readonly DataRecord[]) => {
    const means: Float32Array[] = []
    for (const ids of inputTokens(records, columns, model.tokenizer))
      means.push(Float32Array.from(meanRow(await model.embeddingRows(ids), model.config.hiddenSize)))
    return means
  }
  const inputs = await pooled(task.train)
  const further = domain.unlabelled === undefined ? [] : await pooled(await unlabelledRecords(config, columns))
  const particles = domainParticles(inputs, further, domain, { seed, classes: task.labels?.candidates.length ?? 0 })
  return { particles, notices: noticesOf(config, { inputs: inputs.length, further: further.length, particles: particles.count }) }
}

/**
 * Refuses a file of further inputs that cannot be read as the rows are, before any weight is.
 * @throws GradpromptError as reading `domain.unlabelled` does
 */
export async function checkUnlabelled(config: Pick<Config, 'domain' | 'template' | 'answer' | 'data'>): Promise<void> {
  if (config.domain?.unlabelled !== undefined) await unlabelledRecords(config, inputColumns(config))
}

async function unlabelledRecords({ domain, data }: Pick<Config, 'domain' | 'data'>, needed: readonly string[]) {
  const local = await localFiles(domain!.unlabelled!)
  return (await readRecords(local, { columns: data.columns, task: data.task, needed })).records
}

function noticesOf(
  { domain }: Pick<Config, 'domain'>,
  counts: { readonly inputs: number; readonly further: number; readonly particles: number },
): DataNotice[] {
  const { inputs, further, particles } = counts
  const from =
    further === 0
      ? `${inputs} training inputs`
      : `${inputs} training inputs and ${further} of ${domain!.unlabelled}, whose labels are not read (transductive, where these are the rows to be answered)`
  return [{ code: 'domain', message: `what inputs are like is estimated from ${from}: ${particles} particles` }]
}

/** The particles as they are kept beside what is learned. */
export function domainParameters(
  domain: TaskDomain | undefined,
  hiddenSize: number,
): { shape: PromptParameter; values: Float32Array }[] {
  if (domain === undefined) return []
  const { data, count } = domain.particles
  return [{ shape: { name: domainParameter, shape: [count, hiddenSize], frozen: true }, values: data }]
}
