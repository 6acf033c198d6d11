import { mkdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { knownNames, type OptionSchema } from '../../../config/options.js'
import { invalidConfig, unknownOption } from '../../../config/problems.js'
import { choices } from '../../../evaluate/score.js'
import { isFile } from '../../../files.js'
import { isRecord, jsonOrUndefined } from '../../../json.js'
import { bundledModel } from '../../../package-root.js'
import { replaceText } from '../../../store/atomic.js'
import { nameOfData } from '../../../store/run-details.js'
import { type EvaluateOptions, evaluate } from '../../evaluation/evaluate.js'
import { exactly, withoutPlace } from './learning-trial.js'
import type { TrialKind, TrialOutcome } from './trial-kind.js'

/** Trials that score: the same rows under other templates, instructions, prompts or settings. A trial's folder has its rows and its page. */

const text = { type: 'string' }
const whole = { type: 'integer' }
const list = { type: 'array', items: text }
const flag = { type: 'boolean' }

const schema: OptionSchema = {
  properties: {
    ...{ model: text, data: text, prompt: text, template: { anyOf: [text, { type: 'array' }] }, answer: text },
    ...{
      labels: { type: 'object', additionalProperties: { anyOf: [text, list] } },
      answerType: text,
      answerEnd: text,
      columns: list,
    },
    ...{
      instruction: text,
      choose: { enum: choices },
      calibrate: { anyOf: [flag, text] },
      aggregate: text,
      limit: whole,
      seed: whole,
    },
    ...{ batchSize: whole, truncate: flag, force: flag, control: flag, generate: flag, task: text, examples: text, shots: whole },
    ...{ scorer: text, maxNewTokens: whole, temperature: { type: 'number' }, weights: text, strength: { type: 'number' } },
    ...{ device: text, threads: whole, memory: { type: 'number' }, keepWeights: text, precision: text, families: list },
  },
}

export const evaluateTrial: TrialKind = {
  schema: () => schema,
  load: async config => config,
  async parse(given, source) {
    const config = given as EvaluateOptions
    const known = knownNames(schema, [])
    const unknown = Object.keys(config).find(name => !known.includes(name))
    if (unknown !== undefined) throw unknownOption(unknown, [], schema, config, source)
    if (typeof config.data !== 'string')
      throw invalidConfig(source, 'data is missing', { found: 'nothing', expected: 'a file of rows to score' })
    return {
      model: typeof config.model === 'string' ? config.model : bundledModel,
      hasDev: true,
      steps: undefined,
      resolved: config,
      name: `evaluate-${nameOfData(config.data)}`,
    }
  },
  async run(given, { folder, model, signal, onEvent }) {
    const path = join(folder, 'evaluation.json')
    const known = (await isFile(path)) ? jsonOrUndefined(await readFile(path, 'utf8')) : undefined
    // One that is not whole is made anew.
    if (isRecord(known) && isRecord(known.figures)) return known as unknown as TrialOutcome
    await mkdir(folder, { recursive: true })
    const config = withoutPlace(given) as EvaluateOptions
    const { metrics, seconds } = await evaluate({
      ...{ ...config, model, control: config.control ?? false, signal },
      rows: join(folder, `${basename(folder)}.jsonl`),
      report: join(folder, 'report.html'),
      onWarning: warning => onEvent({ event: 'warning', ...warning } as { event: string }),
    })
    const outcome: TrialOutcome = { figures: { ...metrics, seconds: exactly(seconds) }, steps: 0, seconds }
    await replaceText(path, `${JSON.stringify(outcome, null, 2)}\n`)
    return outcome
  },
}
