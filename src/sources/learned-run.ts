import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { storedConfig } from '../config/stored.js'
import { GradpromptError } from '../errors.js'
import { type PromptFile, readPrompt } from '../store/prompt-file.js'
import { openRun, type Run } from '../store/run-folder.js'
import { type Config, parseConfig } from '../train/config.js'

/** A run that has learned something: its config and its prompt. */
export interface LearnedRun {
  readonly folder: string
  readonly config: Config
  readonly prompt: PromptFile
}

/** @throws GradpromptError `not-a-run`, `run-corrupt`, `not-a-soft-prompt`, `run-not-finished` */
export async function readLearnedRun(folder: string): Promise<LearnedRun> {
  const run = await openRun(folder)
  const config = learnedConfig(run)
  if ((await stat(run.promptPath).catch(() => undefined)) === undefined) {
    throw new GradpromptError('run-not-finished', `${folder} has no prompt yet`, {
      found: 'a run that was stopped',
      expected: 'prompt.safetensors in it',
      hint: `gradprompt resume ${folder}`,
    })
  }
  return { folder, config, prompt: await readPrompt(run.promptPath) }
}

/**
 * The config of a run that learns a soft prompt.
 * @throws GradpromptError `not-a-soft-prompt` for a search, `unknown-option`, `invalid-option`
 */
export function learnedConfig(run: Pick<Run, 'folder' | 'config' | 'isSearch'>): Config {
  if (run.isSearch) {
    throw new GradpromptError('not-a-soft-prompt', `${run.folder} has searched for a text prompt`, {
      found: 'a run of gradprompt search',
      expected: 'a run of gradprompt tune',
      hint: `what it found is words, which stand in any text as they are: gradprompt inspect ${run.folder}; gradprompt evaluate ${run.folder} scores them`,
    })
  }
  return parseConfig(storedConfig(run.config), { source: join(run.folder, 'config.yaml') })
}
