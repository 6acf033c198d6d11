import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Config, parseConfig } from '../config/schema.js'
import { GradpromptError } from '../errors.js'
import { type PromptFile, readPrompt } from './prompt-file.js'
import { openRun } from './run-folder.js'

/** A run that has learned something: its config and its prompt. */
export interface LearnedRun {
  readonly folder: string
  readonly config: Config
  readonly prompt: PromptFile
}

/** @throws GradpromptError `not-a-run`, `run-corrupt`, `run-not-finished` */
export async function readLearnedRun(folder: string): Promise<LearnedRun> {
  const run = await openRun(folder)
  const config = parseConfig(run.config, { source: join(folder, 'config.yaml') })
  if ((await stat(run.promptPath).catch(() => undefined)) === undefined) {
    throw new GradpromptError('run-not-finished', `${folder} has no prompt yet`, {
      found: 'a run that was stopped',
      expected: 'prompt.safetensors in it',
      hint: `gradprompt resume ${folder}`,
    })
  }
  return { folder, config, prompt: await readPrompt(run.promptPath) }
}
