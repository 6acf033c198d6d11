import { evaluateTrial } from './evaluate-trial.js'
import { searchTrial } from './search-trial.js'
import type { TrialKind } from './trial-kind.js'
import { tuneTrial } from './tune-trial.js'

/** What trials may be, by the name of the command that does one. */
export const trialKinds: Readonly<Record<'tune' | 'search' | 'evaluate', TrialKind>> = {
  tune: tuneTrial,
  search: searchTrial,
  evaluate: evaluateTrial,
}
