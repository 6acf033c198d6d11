import { mostOfTestTime, type TestTimeInput } from '../../train/test-time/options.js'
import type { OptionValues } from '../terminal/command.js'
import { inRange } from './engine-options.js'

/**
 * How a prompt is tuned on the rows that it answers, as flags say it: each of them asks for it.
 * @throws GradpromptError `invalid-option`
 */
export function readTestTime(options: OptionValues): boolean | TestTimeInput | undefined {
  const templates = options['test-time-template'] as readonly string[] | undefined
  const given: TestTimeInput = {
    views: inRange(options, 'test-time-views', { least: 1, most: mostOfTestTime.views }),
    dropout: inRange(options, 'test-time-dropout', { above: 0, below: 1 }),
    templates: templates && [...templates],
    paraphrases: inRange(options, 'test-time-paraphrases', { least: 0, most: mostOfTestTime.paraphrases }),
    similar: inRange(options, 'test-time-similar', { above: 0, most: 1 }),
    keep: inRange(options, 'test-time-keep', { above: 0, most: 1 }),
    steps: inRange(options, 'test-time-steps', { least: 1, most: mostOfTestTime.steps }),
    learningRate: inRange(options, 'test-time-rate', { above: 0 }),
    batch: inRange(options, 'test-time-batch', { least: 2, most: mostOfTestTime.batch }),
  }
  const known = Object.entries(given).filter(([, value]) => value !== undefined)
  if (known.length > 0) return Object.fromEntries(known)
  return options['test-time'] === true || undefined
}
