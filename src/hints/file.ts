import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import { GradpromptError } from '../errors.js'
import { isFile } from '../files.js'
import { jsonOrUndefined } from '../json.js'
import { ownCommand } from '../own-command.js'
import { hintsName } from '../store/other-folders.js'
import { requireSay } from './form.js'

const schema = z.object({
  instruction: z.string().min(1),
  say: z.string().refine(isSay, 'a text with {hint} in it, and no other column'),
  maxHintTokens: z.int().min(1),
  /** The run within the folder whose prompt writes hints; null where no text made any answer likelier. */
  policy: z.string().min(1).nullable(),
  /** The one text that is best before all training rows; '' where none gains. */
  fixed: z.string(),
  /** What was measured, for people and programs that look at it. */
  result: z.record(z.string(), z.unknown()),
})

function isSay(say: string): boolean {
  try {
    return requireSay(say) === say
  } catch {
    return false
  }
}

export type HintsFile = z.output<typeof schema>

/** @throws GradpromptError `not-hints`, `run-corrupt` */
export async function readHints(folder: string): Promise<HintsFile> {
  const path = join(folder, hintsName)
  if (!(await isFile(path)))
    throw new GradpromptError('not-hints', `${folder} is no finished folder of hints`, {
      found: `no ${hintsName} in it`,
      expected: 'the --out of gradprompt hints',
      hint: `${ownCommand`hints --config FILE --out DIR`} makes one, and goes on with one that was stopped`,
    })
  const written = jsonOrUndefined(await readFile(path, 'utf8'))
  const found = schema.safeParse(written)
  if (found.success) return found.data
  throw notWritten(path, valueProblem(found.error.issues, written).message)
}

/** A file of the folder that is damaged, or of something else. */
export const notWritten = (
  path: string,
  found: string,
  hint = 'remove it, and the same command makes it anew; or begin in another folder: --out',
): GradpromptError =>
  new GradpromptError('run-corrupt', `${path} is not what gradprompt hints wrote`, {
    found,
    expected: 'a file as it was written',
    hint,
  })
