import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { isFile } from '../files.js'
import type { LanguageModel } from '../model/language-model.js'
import { openRun, refuseOccupied } from '../store/run-folder.js'
import { type Config, parseConfig } from '../train/config.js'
import { tuneConfigOf } from './runs/configs.js'
import { type ResumeTuneOptions, resumeTune, type TuneInput, type TuneRun, tune } from './tune.js'

/** The run within a call of several parts: one that was stopped stands in its folder, and the same call goes on with it. */

const isRun = (folder: string): Promise<boolean> => isFile(join(folder, 'config.yaml'))

/** Before the first part: whether a run that stands there is this call's is told when its rows are known. @throws GradpromptError `run-exists` */
export async function refuseOthersThanRuns(out: string): Promise<void> {
  if (!(await isRun(out))) await refuseOccupied(out)
}

/**
 * Before rows are made, which may take hours: a run that stands in the folder has to be over these.
 * @param train the file of the training rows, which is named by all that decides them
 * @throws GradpromptError `run-exists`
 */
export async function refuseRunOverOthers(out: string, train: string): Promise<void> {
  if (!(await isRun(out))) return
  const run = await openRun(out)
  if (run.isSearch || (await tuneConfigOf(run)).data.train !== train) await refuseOccupied(out)
}

/** What else tells runs of such calls apart. */
const decisive = ({ data, method, train, seed }: Config) => [data.train, data.dev, data.test, method, train, seed]

/**
 * @param config of a run over files that are named by what decides their rows
 * @throws GradpromptError `run-exists` where the folder holds another run, and as `tune` and `resume` do
 */
export async function tuneOrGoOn(
  config: TuneInput & { readonly model: LanguageModel; readonly out: string },
  hearer: Pick<ResumeTuneOptions, 'onEvent' | 'onProgress' | 'signal'>,
): Promise<TuneRun> {
  const { out, model } = config
  if (!(await isRun(out))) return tune(config, hearer)
  const begun = await tuneConfigOf(await openRun(out))
  const asked = parseConfig({ ...config, model: begun.model })
  if (!isDeepStrictEqual(decisive(begun), decisive(asked))) await refuseOccupied(out)
  return resumeTune(out, { model, ...hearer })
}
