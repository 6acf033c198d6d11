import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { ContextRow, LossContext } from '../losses/loss.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { type LabelledRow, labelPositions } from '../model/row.js'
import { ReferenceFile, referenceName } from '../store/reference-file.js'

/**
 * What losses hold the prompt against: a frozen copy of it as it stood before its first step, or the model without one. What either says
 * of a row is computed once, and kept in the run's folder, so that a run that goes on neither computes it again nor hears anything else.
 */
export interface Reference {
  /** The copy. */
  readonly start: ActivePrompt
  /** As `LossContext`. */
  readonly logProbabilities: LossContext['logProbabilities']
  /**
   * Keeps what is said in a run's folder, and takes what stands there.
   * @throws GradpromptError `reference-changed` where that was said under another start
   */
  keepIn(folder: string): Promise<void>
}

/** @param prompt before its first step; its parameters change while it is learned */
export function createReference(prompt: ActivePrompt, model: LanguageModel): Reference {
  const start = { ...prompt, parameters: new Map([...prompt.parameters].map(([name, values]) => [name, values.slice()])) }
  const known = new Map<string, Float32Array>()
  let file: ReferenceFile | undefined
  const say = async (under: 'start' | 'none', row: ContextRow) => {
    const key = `${under}:${keyOf(row)}`
    const remembered = known.get(key) ?? file?.get(key)
    if (remembered !== undefined) return remembered
    const own = await computed(model, under === 'start' ? start : undefined, row)
    known.set(key, own)
    file?.append(key, own)
    return own
  }
  return {
    start,
    async logProbabilities(under, rows) {
      if (under === 'now') return now(model, prompt, rows)
      const said: Float32Array[] = []
      for (const row of rows) said.push(await say(under, row))
      return said
    },
    async keepIn(folder) {
      file = await ReferenceFile.open(join(folder, referenceName), digestOf(start))
    },
  }
}

async function computed(model: LanguageModel, prompt: ActivePrompt | undefined, row: LabelledRow): Promise<Float32Array> {
  const { vocabSize } = model.config
  const all = await model.labelLogProbabilities(prompt, row)
  return Float32Array.from(labelPositions(row), (position, i) => all[i * vocabSize + row.labels[position]!]!)
}

/** Under the prompt as it stands: all rows at once, since nothing of it is remembered. */
async function now(model: LanguageModel, prompt: ActivePrompt, rows: readonly LabelledRow[]): Promise<Float32Array[]> {
  const candidates = rows.map(row => {
    const border = row.labels.findIndex(label => label !== -100)
    return { context: row.ids.slice(0, border), candidates: [{ ids: row.ids.slice(border) }], task: row.task }
  })
  const said = await model.tokenLogProbabilities(prompt, candidates)
  return said.map(([own]) => Float32Array.from(own!))
}

const keyOf = ({ ids, labels, task }: LabelledRow) =>
  createHash('sha256')
    .update(JSON.stringify([ids, labels, task ?? null]))
    .digest('hex')
    .slice(0, 32)

function digestOf({ config, parameters }: ActivePrompt): string {
  const hash = createHash('sha256').update(config.type)
  for (const [name, values] of parameters)
    hash.update(name).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return hash.digest('hex')
}
