import { join } from 'node:path'
import { isFile } from '../files.js'
import { type PromptFile, readPrompt } from '../store/prompt-file.js'
import { type Run, startName } from '../store/run-folder.js'

/** The prompt of a run that has not ended, from its checkpoints. What is said about that is for whoever opens it. */

export interface CheckpointPrompt {
  readonly prompt: PromptFile
  /** Of the checkpoint. */
  readonly step: number
  /** Whether dev prefers it to all others so far; otherwise it is the newest. */
  readonly isBest: boolean
}

/**
 * The best checkpoint of a run, or the newest where no dev rows have judged yet or the run keeps the last. What the numbers are of stands
 * in the file of the vectors before the first step.
 * @returns nothing where there is no checkpoint yet, or the run is of a version that kept no such file of its method
 * @throws GradpromptError `checkpoint-corrupt`, and as `readPrompt` does
 */
export async function checkpointPrompt(run: Run): Promise<CheckpointPrompt | undefined> {
  const startPath = join(run.folder, startName)
  const latest = await run.latestCheckpoint()
  if (latest === undefined || !(await isFile(startPath))) return undefined
  const { keep } = ((run.config as { train?: { keep?: unknown } | null }).train ?? {}) as { keep?: unknown }
  const step = keep === 'last' ? latest.step : (latest.bestStep ?? latest.step)
  const { tensors } = step === latest.step ? latest : await run.readCheckpoint(step)
  const held = new Map(tensors.map(({ name, data }) => [name, data]))
  const start = await readPrompt(startPath)
  // A run that averages over its steps keeps the average; a parameter that stays as it is may be in no checkpoint.
  const learned = start.tensors.map(({ name, shape, data }) => ({
    name,
    shape,
    data: held.get(`average:${name}`) ?? held.get(`parameter:${name}`) ?? data,
  }))
  return { prompt: { ...start, tensors: learned }, step, isBest: step === latest.bestStep }
}
