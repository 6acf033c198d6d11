import { GradpromptError } from '../../errors.js'
import { policyTemplate } from '../../hints/form.js'
import { isRecord } from '../../json.js'
import { promptMethods } from '../../prompts/methods/index.js'
import { type Config, parseConfig } from '../../train/config.js'
import { policyConfig } from './rounds.js'

/**
 * What a config of the task says of learning has to be sensible for texts.
 * @param given the config as it was written: what stands there by default is not refused
 * @throws GradpromptError `invalid-config`
 */
export function refuseUnfit(config: Config, given: unknown): void {
  const { train, rejected, thumbs } = config
  const loss = train.loss?.type === 'cross-entropy' ? undefined : train.loss
  refuse('is of no use to a policy, which learns texts by their cross entropy', 'a config without it', {
    ...{ rejected, thumbs },
    ...{ 'train.templates': train.templates, 'train.earlyStopping': train.earlyStopping },
    ...{ 'train.distillation': train.distillation, 'train.loss': loss },
    ...{ 'train.meta': train.meta, 'train.privacy': train.privacy },
  })
  const written = isRecord(given) && isRecord(given.train) ? given.train : {}
  refuse(
    'looks at dev rows, and a policy has none: it learns each round to the end, and is measured behind the last',
    'a config without it',
    {
      'train.evaluateEvery': written.evaluateEvery,
      'train.keep': written.keep === 'last' ? undefined : written.keep,
      'train.samples': written.samples === 0 ? undefined : written.samples,
    },
  )
  const { type } = config.method
  if (promptMethods.get(type).tasks?.(config.method as never) !== undefined)
    throw new GradpromptError(
      'invalid-config',
      `the prompts of method.type: ${type} are of several tasks or users, and a policy has one`,
      {
        found: `method.type: ${type}`,
        expected: 'a method of one prompt',
        hint: 'take prompt-tuning, or learn a policy of each task or user by itself',
      },
    )
  // Hours of sampling later is too late to hear of what the run itself refuses.
  parseConfig(policyConfig(config, policyTemplate(true), 'kept.jsonl', undefined))
}

function refuse(why: string, expected: string, unfit: Readonly<Record<string, unknown>>): void {
  const name = Object.keys(unfit).find(name => unfit[name] !== undefined)
  if (name !== undefined)
    throw new GradpromptError('invalid-config', `${name} ${why}`, { found: name, expected, hint: `leave ${name} out` })
}
