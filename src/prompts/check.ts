import type { ModelConfig } from '../../models/family.js'
import { GradpromptError } from '../errors.js'
import { promptMethods } from './index.js'

/**
 * Refuses options of a method that contradict each other or the model, before any weight is read.
 * @throws GradpromptError `invalid-config`
 */
export function checkMethod(config: { readonly type: string }, model: ModelConfig): void {
  const problem = promptMethods.get(config.type)!.check?.(config, model)
  if (problem !== undefined)
    throw new GradpromptError('invalid-config', problem, {
      hint: `\`gradprompt methods\` lists the options of ${config.type}`,
    })
}
