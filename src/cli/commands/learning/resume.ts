import { compute } from '../../computing/computation.js'
import { chosenDevice } from '../../show/engine-options.js'
import { learningReport } from '../../show/learning.js'
import { searchReport } from '../../show/searching.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput } from '../../terminal/output.js'

/** `gradprompt resume RUN` */
export const run: CommandFunction = async ({ argument, options }) => {
  const folder = argument!
  const output = createOutput(options)
  const path = (name: string) => options[name] as string | undefined
  const data = { train: path('train'), dev: path('dev'), test: path('test') }
  const request = {
    folder,
    steps: options.steps as number | undefined,
    model: path('model'),
    device: chosenDevice(options),
    data,
  }
  if (await holdsSearch(folder)) {
    const report = searchReport(output, folder)
    return report.of(compute('resumeSearch', request, report))
  }
  const report = learningReport(output, folder)
  return report.of(compute('resume', request, report))
}

/** Whether a folder holds a search; what holds no run is for `resume` to refuse. */
async function holdsSearch(folder: string): Promise<boolean> {
  const { openRun } = await import('../../../store/run-folder.js')
  const run = await openRun(folder).catch(() => undefined)
  return run?.isSearch === true
}
