import { existsSync } from 'node:fs'
import { readError } from '../errors.js'
import { textOfFileSync } from '../files.js'

/**
 * The whole lines of a file that grows by lines; none where there is no file. What a kill has torn is no line.
 * @throws GradpromptError `run-corrupt`
 */
export function wholeLines(path: string): string[] {
  if (!existsSync(path)) return []
  try {
    return textOfFileSync(path).split('\n').slice(0, -1)
  } catch (error) {
    throw readError(error, path)
  }
}
