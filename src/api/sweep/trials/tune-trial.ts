import { completeTexts } from '../../../data/describe/suggest.js'
import { hasDev } from '../../../data/task-config.js'
import { promptMethods } from '../../../prompts/methods/index.js'
import { nameOfData } from '../../../store/run-details.js'
import { configJsonSchema, loadConfigEntries, parseConfig } from '../../../train/config.js'
import { resumeTuneBeside, type TuneInput, tuneBeside } from '../../tune.js'
import { exactly, runTrial, withoutPlace } from './learning-trial.js'
import type { TrialKind } from './trial-kind.js'

/** Trials that learn a soft prompt. */
export const tuneTrial: TrialKind = {
  schema: configJsonSchema,
  load: config => loadConfigEntries(config),
  async parse(config, source) {
    // What varies may name people's own, too.
    const parsed = parseConfig(await loadConfigEntries(await completeTexts(config as object)), { source })
    return {
      model: parsed.model,
      hasDev: hasDev(parsed),
      steps: parsed.train.steps,
      resolved: parsed,
      name: nameOfData(parsed.data.train),
    }
  },
  evaluateEvery: 'train.evaluateEvery',
  async run(config, options) {
    const { folder, model, controls } = options
    const complete = await completeTexts(config as object)
    return runTrial(
      {
        begin: hearer => tuneBeside({ ...withoutPlace(config), model, out: folder } as unknown as TuneInput, hearer, controls),
        resume: hearer => resumeTuneBeside(folder, { ...hearer, model }, controls),
        figures(result) {
          // With what a config leaves to its defaults; by now the modules that it names are loaded.
          const { method: chosen } = parseConfig(complete)
          const method = promptMethods.find(chosen.type)
          const { parameters } = result as unknown as { parameters: number }
          const placed = method?.placement(chosen, model.config)
          return {
            parameters: exactly(parameters),
            ...(placed && Number.isFinite(placed.numVirtualTokens) && { virtualTokens: exactly(placed.numVirtualTokens) }),
          }
        },
      },
      options,
    )
  },
}
