import { families } from '../../../../models/index.js'
import { hubSettings } from '../../../hub/settings.js'
import { type KnownModel, knownModels, type MemoryNeeds } from '../../../model/known-models.js'
import type { CommandFunction } from '../../terminal/command.js'
import { bytes, createOutput, table } from '../../terminal/output.js'

/** `gradprompt models` */
export const run: CommandFunction = async ({ options }) => {
  const output = createOutput(options)
  for (const family of (options.family as readonly string[] | undefined) ?? []) await families.load(family)
  const rows: string[][] = []
  let budget = 0
  for await (const known of knownModels()) {
    output.object({ event: 'model', ...known })
    budget = known.model?.memory.budget ?? budget
    rows.push(rowOf(known))
  }
  const { cache } = hubSettings()
  if (rows.length === 0) output.text(`no models: none is bundled, and none is in ${cache}`)
  else {
    const head = ['model', 'family', 'parameters', 'on disk', 'to use', 'to tune', '']
    output.text(table([head, ...rows]))
    output.note(
      `\nto use: one text of 512 tokens; to tune: a step of 16 rows of 64 tokens; ${bytes(budget)} may be used. Cache of the Hub: ${cache}`,
    )
  }
  return 0
}

function rowOf({ name, bytes: size, model, problem }: KnownModel): string[] {
  if (model === undefined)
    return [name, 'no', '', bytes(size), '', '', [problem?.message, problem?.found].filter(Boolean).join(': ')]
  const { memory, parameters, family } = model
  return [
    name,
    family,
    millions(parameters.total),
    bytes(size),
    bytes(memory.oneText),
    bytes(memory.trainingStep),
    fitText(memory),
  ]
}

function fitText({ trainingStep, recomputedStep, oneText, budget }: MemoryNeeds): string {
  if (trainingStep <= budget) return ''
  if (recomputedStep <= budget) return `to tune with --train.recompute: ${bytes(recomputedStep)}`
  return oneText <= budget ? 'too large to tune here' : 'too large'
}

const millions = (count: number): string => (count >= 1e9 ? `${(count / 1e9).toFixed(2)} B` : `${(count / 1e6).toFixed(0)} M`)
