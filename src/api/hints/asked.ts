import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { valueProblem } from '../../config/problems.js'
import { GradpromptError } from '../../errors.js'
import { isFile } from '../../files.js'
import { notWritten } from '../../hints/file.js'
import { jsonOrUndefined } from '../../json.js'
import { ownCommand } from '../../own-command.js'

/** What a call was asked: a folder goes on with the same call alone. */
export const askedName = 'asked.json'

const schema = z.looseObject({ asked: z.string(), model: z.string() })

/** @throws GradpromptError `other-hints`, `folder-not-empty`, `run-corrupt` */
export async function refuseOthers(out: string, asked: string, model?: string): Promise<void> {
  const path = join(out, askedName)
  if (await isFile(path)) {
    const written = jsonOrUndefined(await readFile(path, 'utf8'))
    const parsed = schema.safeParse(written)
    if (!parsed.success)
      throw notWritten(path, valueProblem(parsed.error.issues, written).message, 'begin in another folder: --out')
    const before = parsed.data
    if (before.asked === asked && (model === undefined || before.model === model)) return
    throw new GradpromptError('other-hints', `${out} holds hints of another call`, {
      found: before.asked === asked ? 'another model of that name' : 'another config, other rows, or other options',
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
