import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { exists, isFile } from '../files.js'
import { ownCommand } from '../own-command.js'

/** Folders that are taken for runs, and what they are. */

/** What stands in a folder of hints that were learned, which holds the run of each round. */
export const hintsName = 'hints.json'

/** @param wanted the file that a run has */
export async function notARun(folder: string, wanted: string): Promise<GradpromptError> {
  if (await isFile(join(folder, hintsName)))
    return new GradpromptError('not-a-run', `${folder} is not a run, but hints that were learned`, {
      found: `${hintsName} in it`,
      expected: 'the folder of an earlier `gradprompt tune`; the run of each round stands within',
      hint: ownCommand`inspect ${folder}`,
    })
  return new GradpromptError('not-a-run', `${folder} is not a run`, {
    found: (await exists(folder)) ? `no ${wanted} in it` : 'no such folder',
    expected: 'the folder of an earlier `gradprompt tune`',
  })
}
