import { invalidConfig } from '../../config/problems.js'
import { checkTask, checkTurns, hasDev, turnsOf } from '../../data/task-config.js'
import { compileTemplate } from '../../data/texts/template.js'
import { promptMethods } from '../../prompts/methods/index.js'
import { startOf } from '../../prompts/starts/index.js'
import { metaProblem } from '../meta/options.js'
import { refuseTeaching } from '../study/distillation-options.js'
import type { Parsed } from './schema.js'

/** What one option of a config says about another. */

type Refuse = (message: string, hint: string) => void

/** How a method's parameters start, where it has a choice. */
export const initOf = (method: Parsed['method']) => ('init' in method ? method.init : undefined)

/** `train.optimizer`, and where it is not given what the kind of step asks for. */
export const optimizerOf = ({ optimizer, meta }: Parsed['train']) =>
  optimizer ?? (meta?.update === 'reptile' ? ('sgd' as const) : ('adamw' as const))

/** @throws GradpromptError `invalid-config` */
export function checkTogether(config: Parsed, source: string): void {
  const { data, train, template } = config
  checkTask(config, source)
  const refuse = (message: string, hint: string) => {
    throw invalidConfig(source, message, { hint })
  }
  if (train.steps !== undefined && train.epochs !== undefined)
    refuse('train.steps and train.epochs exclude each other', 'keep one of the two')
  if (!hasDev(config)) {
    const hint = 'give a dev file (data.dev), or set a part of train aside (data.split.dev)'
    if (train.earlyStopping !== undefined) refuse('train.earlyStopping needs data.dev or data.split.dev', hint)
    if (train.evaluateEvery !== undefined) refuse('train.evaluateEvery needs data.dev or data.split.dev', hint)
    if (train.keep === 'best') refuse('train.keep: best needs data.dev or data.split.dev', hint)
  }
  if (train.steps !== undefined && train.warmup >= 1 && train.warmup > train.steps)
    refuse(`train.warmup (${train.warmup} steps) is longer than train.steps (${train.steps})`, 'shorten the warm-up')
  const optimizer = optimizerOf(train)
  if (optimizer !== 'adamw' && train.beta2 !== undefined)
    refuse(`train.beta2 belongs to train.optimizer: adamw, not to ${optimizer}`, 'leave train.beta2 out')
  for (const name of ['beta1', 'epsilon'] as const)
    if (optimizer === 'sgd' && train[name] !== undefined)
      refuse(`train.${name} belongs to an optimiser that remembers, not to sgd`, `leave train.${name} out`)
  if (train.prior !== undefined && !promptMethods.get(config.method.type).inputRows)
    refuse(
      `train.prior needs rows at the input, and method.type: ${config.method.type} has none`,
      'leave train.prior out, or use a method such as prompt-tuning',
    )
  if (train.meta !== undefined) checkMeta(config, refuse)
  if (train.loss !== undefined && train.labelSmoothing > 0)
    refuse(
      'train.labelSmoothing belongs to the loss that stands where train.loss is not given',
      'keep one of the two: train.loss: { type: cross-entropy, labelSmoothing: 0.1 }',
    )
  const { regularization, distillation } = train
  if (regularization && distillation && regularization.temperature !== distillation.temperature)
    refuse(
      `train.regularization.temperature (${regularization.temperature}) and train.distillation.temperature (${distillation.temperature}) differ`,
      'compare with both teachers at one temperature',
    )
  if (distillation) refuseTeaching(distillation, { ...train, init: initOf(config.method) }, refuse)
  if (config.verbalizer !== undefined) {
    const { aggregate, learned, learningRate } = config.verbalizer
    if (!Object.values(data.labels ?? {}).some(words => typeof words !== 'string' && words.length > 1))
      refuse(
        'verbalizer needs a class with several words',
        'list them: data.labels: { "0": [negative, bad], "1": [positive, good] }',
      )
    if (learned && aggregate !== 'mean')
      refuse(`verbalizer.learned weighs a mean, and verbalizer.aggregate is ${aggregate}`, 'use verbalizer.aggregate: mean')
    if (learned && config.evaluate.calibrate)
      refuse(
        'verbalizer.learned and evaluate.calibrate exclude each other',
        'weights are learned for scores as they are: keep one of the two',
      )
    if (!learned && learningRate !== undefined)
      refuse('verbalizer.learningRate belongs to verbalizer.learned: true', 'leave it out, or learn the weights')
  }
  const isSoft = turnsOf(template).some(text => compileTemplate(text).soft.length > 0)
  if (promptMethods.get(config.method.type).softTokensAlone && !isSoft)
    refuse(
      `method.type: ${config.method.type} needs soft tokens in template`,
      'write them where they are to stand: {soft:3} or {soft:"It was"}',
    )
  if (startOf(initOf(config.method))?.needs === 'label words' && data.labels === undefined)
    refuse(
      `method.init.type: ${initOf(config.method)!.type} needs data.labels`,
      'give the label words: data.labels: { "0": negative, "1": positive }',
    )
  if (initOf(config.method)?.type === 'pairs' && config.rejected === undefined)
    refuse(
      'method.init.type: pairs needs pairs of answers',
      'name the other one of each: rejected: " {rejected}" beside answer: " {chosen}"',
    )
  for (const [i, one] of (train.templates ?? []).entries()) checkTurns(one, `train.templates.${i}`, source)
}

/** A step of meta-learning draws its rows task by task: what draws or weighs them otherwise is not read. */
function checkMeta({ train, verbalizer }: Parsed, refuse: Refuse): void {
  const problem = metaProblem(train.meta!)
  if (problem !== undefined) refuse(problem.message, problem.hint)
  if (train.steps === undefined) refuse('train.meta needs train.steps: tasks are drawn, and have no epochs', 'give train.steps')
  const unread: readonly (readonly [name: string, isGiven: boolean])[] = [
    ['train.accumulate', train.accumulate > 1],
    ['train.bucket', train.bucket],
    ['train.privacy', train.privacy !== undefined],
    ['verbalizer.learned', verbalizer?.learned === true],
  ]
  for (const [name, isGiven] of unread)
    if (isGiven) refuse(`train.meta and ${name} exclude each other`, 'rows are drawn task by task: keep one of the two')
}
