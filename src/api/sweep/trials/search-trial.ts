import { hasDev } from '../../../data/task-config.js'
import { loadSearchEntries, parseSearchConfig, searchConfigJsonSchema } from '../../../search/config.js'
import { nameOfData } from '../../../store/run-details.js'
import { resumeSearch, type SearchInput, search } from '../../search.js'
import { exactly, runTrial, withoutPlace } from './learning-trial.js'
import type { TrialKind } from './trial-kind.js'

/** Trials that search for a prompt of words. */
export const searchTrial: TrialKind = {
  schema: searchConfigJsonSchema,
  load: config => loadSearchEntries(config),
  async parse(config, source) {
    const parsed = parseSearchConfig(await loadSearchEntries(config), { source })
    return {
      model: parsed.model,
      hasDev: hasDev(parsed),
      steps: parsed.search.steps,
      resolved: parsed,
      name: `${parsed.search.type}-${nameOfData(parsed.data.train)}`,
    }
  },
  evaluateEvery: 'search.evaluateEvery',
  run(config, options) {
    const { folder, model } = options
    return runTrial(
      {
        begin: hearer => search({ ...withoutPlace(config), model, out: folder } as unknown as SearchInput, hearer),
        resume: hearer => resumeSearch(folder, { ...hearer, model }),
        figures(result) {
          const { objective, generatedTokens, computedTokens, ids } = result as unknown as Record<string, number> & {
            ids: readonly number[]
          }
          return {
            objective: exactly(objective!),
            generatedTokens: exactly(generatedTokens!),
            computedTokens: exactly(computedTokens!),
            promptTokens: exactly(ids.length),
          }
        },
      },
      options,
    )
  },
}
