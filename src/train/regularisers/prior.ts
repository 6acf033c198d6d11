import { domainPrior } from '../../losses/domain-prior.js'
import { lossTerm } from '../../losses/loss.js'
import { domainParameter, meanParticle } from '../../prompts/domain/domain.js'
import type { Regulariser } from './regulariser.js'

/** `train.prior`: the mean of the prompt's rows is held near the mean of the domain's particles. */
export const prior: Regulariser = {
  losses: ({ prior }) => (prior === undefined ? [] : [lossTerm(domainPrior, { type: 'domain-prior' })]),
  open: async ({ prior }, { parameters, model }) => {
    let anchor: Float32Array | undefined
    return async () => {
      // Not before the first step: a run that goes on has its particles from its checkpoint.
      const data = parameters.get(domainParameter)!
      anchor ??= Float32Array.from(meanParticle({ data, count: data.length / model.config.hiddenSize }))
      return [lossTerm(domainPrior, { type: 'domain-prior' }, { anchor, weight: prior!.weight })]
    }
  },
}
