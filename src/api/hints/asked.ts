import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { valueProblem } from '../../config/problems.js'
import type { DataRecord } from '../../data/readers/records.js'
import { GradpromptError } from '../../errors.js'
import { hashOf } from '../../evaluate/row-results.js'
import { isFile } from '../../files.js'
import { notWritten } from '../../hints/file.js'
import { jsonOrUndefined } from '../../json.js'
import { ownCommand } from '../../own-command.js'
import { replaceText } from '../../store/atomic.js'
import type { Config } from '../../train/config.js'

/** What a call was asked: a folder goes on with the same call alone. */
const askedName = 'asked.json'

const schema = z.looseObject({ asked: z.record(z.string(), z.string()), model: z.string() })

/** Each part of a call that decides what comes of it, by its name, as a hash. */
export type AskedParts = Readonly<Record<string, string>>

/** What a call may change and go on: where and on what it computes, and who follows it. */
const undecided: ReadonlySet<string> = new Set<keyof Config>(['out', 'device', 'threads', 'memory', 'keepWeights', 'track'])

/** @param own the options of the call @param rows what is learned of and measured on */
export function partsOf(config: Config, own: object, rows: Readonly<Record<string, readonly DataRecord[]>>): AskedParts {
  const parts = [
    ...Object.entries(config).filter(([name]) => !undecided.has(name)),
    ...Object.entries(own),
    ...Object.entries(rows),
  ]
  return Object.fromEntries(parts.flatMap(([name, value]) => (value === undefined ? [] : [[name, hashOf(value)]])))
}

/** The parts in which two calls differ. */
const differing = (one: AskedParts, other: AskedParts): string[] =>
  [...new Set([...Object.keys(one), ...Object.keys(other)])].filter(name => one[name] !== other[name])

export const writeAsked = (
  out: string,
  call: { readonly asked: AskedParts; readonly model: string } & Readonly<Record<string, unknown>>,
) => replaceText(join(out, askedName), `${JSON.stringify(call, null, 2)}\n`)

/** @throws GradpromptError `other-hints`, `folder-not-empty`, `run-corrupt` */
export async function refuseOthers(out: string, asked: AskedParts, model?: string): Promise<void> {
  const path = join(out, askedName)
  if (await isFile(path)) {
    const written = jsonOrUndefined(await readFile(path, 'utf8'))
    const parsed = schema.safeParse(written)
    if (!parsed.success)
      throw notWritten(path, valueProblem(parsed.error.issues, written).message, 'begin in another folder: --out')
    const before = parsed.data
    const others = differing(before.asked, asked)
    if (others.length === 0 && (model === undefined || before.model === model)) return
    throw new GradpromptError('other-hints', `${out} holds hints of another call`, {
      found: others.length === 0 ? 'another model of that name' : `another ${others.join(', another ')}`,
      expected: 'the same, to go on with it',
      hint: 'name another folder: --out',
    })
  }
  const names = (await readdir(out)).filter(name => name !== 'lock' && !name.startsWith('lock.'))
  if (names.length > 0)
    throw new GradpromptError('folder-not-empty', `${out} holds other files`, {
      found: names.slice(0, 5).join(', '),
      expected: 'a folder that does not exist, an empty one, or one that this command has begun',
      hint: ownCommand`hints --out DIR`,
    })
}
