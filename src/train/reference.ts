import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { ContextRow, LossContext } from '../losses/loss.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import type { LabelledRow } from '../model/row.js'
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
  /** Numbers that never change in a run, under a name of their own: computed once, and kept beside what is said of rows. */
  remember(name: string, compute: () => Promise<Float32Array>): Promise<Float32Array>
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
  const told = (key: string) => known.get(key) ?? file?.get(key)
  const keep = (key: string, values: Float32Array) => {
    known.set(key, values)
    file?.append(key, values)
    return values
  }
  /** Rows in turn that have one text before their answers: it is computed once, and always with the same answers beside each other. */
  const say = async (under: 'start' | 'none', rows: readonly ContextRow[]) => {
    const keys = rows.map(row => `${under}:${keyOf(row)}`)
    if (keys.some(key => told(key) === undefined)) {
      const own = await answersUnder(under === 'start' ? start : undefined, model, [rows])
      for (const [i, key] of keys.entries()) {
        if (told(key) === undefined) keep(key, own[i]!)
      }
    }
    return keys.map(key => told(key)!)
  }
  return {
    start,
    remember: async (name, compute) => told(name) ?? keep(name, await compute()),
    async logProbabilities(under, rows) {
      const together = byText(rows)
      // Nothing is remembered of the prompt as it stands: all rows are computed at once.
      if (under === 'now') return answersUnder(prompt, model, together)
      const said: Float32Array[] = []
      for (const members of together) said.push(...(await say(under, members)))
      return said
    },
    async keepIn(folder) {
      file = await ReferenceFile.open(join(folder, referenceName), digestOf(start))
    },
  }
}

const borderOf = ({ labels }: ContextRow) => labels.findIndex(label => label !== -100)
const textOf = (row: ContextRow) => row.ids.slice(0, borderOf(row))

/** Rows in turn that have the same text and task. */
function byText(rows: readonly LabelledRow[]): LabelledRow[][] {
  const groups: LabelledRow[][] = []
  for (const row of rows) {
    const first = groups.at(-1)?.[0]
    const isSame = first !== undefined && first.task === row.task && textOf(first).join() === textOf(row).join()
    if (isSame) groups.at(-1)!.push(row)
    else groups.push([row])
  }
  return groups
}

/** Log-probabilities of each row's answer, row after row. */
async function answersUnder(
  prompt: ActivePrompt | undefined,
  model: LanguageModel,
  groups: readonly (readonly LabelledRow[])[],
): Promise<Float32Array[]> {
  const rows = groups.map(members => ({
    context: textOf(members[0]!),
    candidates: members.map(row => ({ ids: row.ids.slice(borderOf(row)) })),
    task: members[0]!.task,
  }))
  const said = await model.tokenLogProbabilities(prompt, rows)
  return said.flatMap(candidates => candidates.map(own => Float32Array.from(own)))
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
