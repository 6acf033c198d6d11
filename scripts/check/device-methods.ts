/**
 * `npm run test:device -- DEVICE [PATTERN] [--precision fp32|fp16|bf16]`: every soft-prompt method on a tiny model, one after the other: loss,
 * gradients and log-likelihoods on a device beside those of the processor in fp32. Prints a line a method; exit code 1 where one is off by
 * more than rounding. PATTERN, a regular expression, chooses among the methods.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readTask } from '../../src/data/task.js'
import { GradpromptError, unknownName } from '../../src/errors.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { packageRoot } from '../../src/package-root.js'
import { deviceWords, isDeviceChoice } from '../../src/program/devices.js'
import { type Precision, precisions } from '../../src/program/precision.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { checkMethod } from '../../src/train/check-method.js'
import { parseConfig } from '../../src/train/config.js'
import { prepareJob } from '../../src/train/job.js'
import { scriptArguments } from '../arguments.js'
import { methodNeeds } from '../smoke/cases.js'

/** Shares of the right values' length that rounding may make of a gradient: of float32, and of products of 11 and of 8 binary digits. */
const tolerances: Readonly<Record<Precision, number>> = { fp32: 1e-5, fp16: 1e-2, bf16: 3e-1 }

const letters = ['k', 'q', 'Z']

/** What fits a model of 32 columns and three layers, and these letters. */
const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  dept: { rank: 2, maxTextLength: 16 },
  idpg: { bottleneck: 8 },
  personal: { users: letters, userColumn: 'label' },
}

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-device-'))

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof GradpromptError)) throw error
  console.error(error.format())
  process.exitCode = error.exitCode
} finally {
  rmSync(folder, { recursive: true, force: true })
}

async function main(): Promise<number> {
  const usage = `npm run test:device -- DEVICE [PATTERN] [--precision ${precisions.join('|')}]`
  const { positionals, values } = scriptArguments(usage, { precision: { type: 'string', default: 'fp32' } })
  const [device = '', pattern = ''] = positionals
  if (!isDeviceChoice(device)) throw unknownName('invalid-option', 'The device is not valid', device, deviceWords)
  const precision = precisions.find(name => name === values.precision)
  if (precision === undefined) throw unknownName('invalid-option', '--precision is not valid', values.precision, precisions)

  const path = join(packageRoot(), 'test', 'fixtures', 'models', 'llama-gqa')
  const data = join(folder, 'copies.tsv')
  writeFileSync(data, letters.flatMap(letter => Array(4).fill(`${letter}\t${letter}\n`)).join(''))
  await using wanted = await LanguageModel.load(path, { threads: 1 })
  await using model = await LanguageModel.load(path, { threads: 1, device, precision })
  const chosen = [...promptMethods.keys()].filter(type => new RegExp(pattern).test(type))
  let failed = 0
  for (const type of chosen) {
    const { template = '{text}-' } = { ...methodNeeds[type] }
    const config = parseConfig({
      ...{ model: path, template, answer: '{label}', answerEnd: 'none', threads: 1 },
      data: { train: data, columns: ['text', 'label'], labels: Object.fromEntries(letters.map(letter => [letter, letter])) },
      method: { type, ...small[type] } as never,
      train: { batchSize: 6, steps: 8 },
    })
    await checkMethod(config.method, wanted.checkpoint)
    const { prompt, rows } = await startOf(config, wanted)
    const errors = await errorsOf(model, wanted, prompt, rows)
    const worst = Math.max(...Object.values(errors))
    const holds = worst <= tolerances[precision]
    if (!holds) failed++
    const told = Object.entries(errors).map(([name, error]) => `${name} ${error.toExponential(1)}`)
    console.log(`${holds ? 'holds ' : 'FAILED'}  ${type.padEnd(18)} ${told.join('  ')}`)
  }
  console.log(
    `${chosen.length - failed} of ${chosen.length} methods on ${device} in ${precision} within ${tolerances[precision]} of the processor`,
  )
  return failed === 0 && chosen.length > 0 ? 0 : 1
}

/** A prompt beyond its start, where no parameter is zero, and a batch. */
async function startOf(config: ReturnType<typeof parseConfig>, model: LanguageModel) {
  const { prompt, rows } = await prepareJob(config, await readTask(config), model)
  const parameters = new Map(
    [...prompt.parameters].map(([name, numbers], i) => [name, numbers.map((x, j) => x + 0.1 * Math.sin(7 * j + 13 * i + 1))]),
  )
  const records = letters.map(letter => ({ text: `${letter} ${letter}`, label: letter }))
  return { prompt: { ...prompt, parameters }, rows: records.map((record, i) => rows.training(record, i)) }
}

/** Of each result how far it is off, as a share of its length. */
async function errorsOf(
  model: LanguageModel,
  wanted: LanguageModel,
  prompt: ActivePrompt,
  rows: readonly { readonly ids: readonly number[]; readonly labels: readonly number[] }[],
): Promise<Record<string, number>> {
  const candidates = rows.map(({ ids, labels }) => {
    const border = labels.findIndex(label => label !== -100)
    return { context: ids.slice(0, border), candidates: [{ ids: ids.slice(border) }] }
  })
  const of = async (one: LanguageModel) => {
    const { loss, gradients } = await one.promptGradient(prompt, rows)
    const likelihoods = (await one.logLikelihoods(prompt, candidates)).flat()
    return { loss: [loss], gradient: [...gradients.values()].flatMap(numbers => [...numbers]), likelihoods }
  }
  const [own, right] = [await of(model), await of(wanted)]
  return Object.fromEntries(
    (['loss', 'gradient', 'likelihoods'] as const).map(name => [name, relativeError(own[name], right[name])]),
  )
}

function relativeError(found: readonly number[], wanted: readonly number[]): number {
  let [error, length] = [0, 0]
  for (const [i, x] of wanted.entries()) {
    error += (found[i]! - x) ** 2
    length += x ** 2
  }
  return Math.sqrt(error / length)
}
