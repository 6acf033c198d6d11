import { join } from 'node:path'
import { stringify } from 'yaml'
import { exists } from '../../files.js'
import { type Brief, labelsOf } from '../../interview/brief.js'
import { inputLines } from '../../interview/template.js'
import { ownCommand } from '../../own-command.js'
import { parseSearchConfig } from '../../search/config.js'
import { replaceText } from '../../store/atomic.js'

/** What goes on behind an interview: a search that begins with its prompt, as a config that runs as it is. */

export interface Handover {
  /** A search's config; undefined where there is nothing to search on yet. */
  readonly config?: string
  /** What to do next: a command. */
  readonly next: string
}

interface Outcome {
  readonly folder: string
  readonly instruction: string
  readonly placeholders: readonly string[]
  readonly brief: Brief
  readonly model: string
  /** Rows that stand in `rows.jsonl`. */
  readonly rows: number
}

/**
 * Fixed answers of one text are calibrated without data (`ipc`); anything else is compared by a judge (`spo`), on the accepted rows.
 * @throws GradpromptError `cannot-write`
 */
export async function handedOver({ folder, instruction, placeholders, brief, model, rows }: Outcome): Promise<Handover> {
  const labels = labelsOf(brief)
  const path = join(folder, 'search.yaml')
  const rowsPath = join(folder, 'rows.jsonl')
  const { task = '', constraints = '', mustNot = '', output = '' } = brief
  const isCalibrated = labels.length > 1 && placeholders.length === 1
  // One row alone can be no question and its own judgement.
  if (!isCalibrated && rows < 2) {
    const synthesize = ownCommand`synthesize ${task} --output ${rowsPath}`
    const isPlain = placeholders.length === 1 && placeholders[0] === 'text' && !(await exists(rowsPath))
    return {
      next: isPlain
        ? synthesize
        : `write rows with the columns ${[...placeholders, 'answer'].join(', ')} into ${rowsPath}, then the same command`,
    }
  }
  const requirements = [
    output === '' ? '' : `The answer is ${output}`,
    constraints,
    mustNot === '' ? '' : `It does not do this: ${mustNot}`,
  ]
  const common = { model, template: `{prompt}\n\n${inputLines(placeholders)}`, out: join(folder, 'search'), seed: 13 }
  const config = isCalibrated
    ? {
        ...common,
        data: { ...(rows > 0 && { train: rowsPath }), labels: Object.fromEntries(labels.map(label => [label, label])) },
        answer: ' {answer}',
        search: { type: 'ipc', task, prompt: instruction },
      }
    : {
        ...common,
        data: { train: rowsPath, ...(labels.length > 1 && { labels: Object.fromEntries(labels.map(label => [label, label])) }) },
        ...(labels.length < 2 && { answerType: 'text' }),
        answer: ' {answer}',
        search: {
          type: 'spo',
          prompt: instruction,
          requirements:
            requirements.filter(text => text !== '').join('. ') || 'The answer is right, and has the form that was asked for.',
          ...(labels.length < 2 && { extractor: '\nTherefore, the final answer is', maxNewTokens: 96, preflight: 'warn' }),
        },
      }
  // What is wrong with it shows here, and not when it is run.
  parseSearchConfig(config, { source: path })
  await replaceText(path, stringify(config))
  return { config: path, next: ownCommand`search --config ${path}` }
}
