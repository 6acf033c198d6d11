import { GradpromptError } from '../../../errors.js'
import { type WrittenType, writtenTypes } from '../../../export/target.js'
import { ownCommand } from '../../../own-command.js'
import { compute } from '../../computing/computation.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput, warningsTo } from '../../terminal/output.js'

/** `gradprompt export RUN --to TARGET --out DIR` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const given = (name: 'to' | 'out') => {
    const value = options[name]
    if (typeof value === 'string') return value
    throw new GradpromptError('missing-option', `gradprompt export needs --${name}`, {
      found: 'nothing',
      expected: name === 'to' ? '--to TARGET, such as peft' : '--out DIR, the folder to make',
      hint: ownCommand`export ${argument!} --to peft --out ${`${argument}/peft`}`,
    })
  }
  const model = options.model as string | undefined
  const promptTask = options['prompt-task'] as string | undefined
  const force = options.force === true
  const delta = options.delta === true
  const dtype = dtypeOf(options.dtype)
  const request = { folder: argument!, to: given('to'), out: given('out'), model, promptTask, force, dtype, delta }
  output.note('loading the model, and computing what the self-test expects …')
  const { folder, files } = await compute('export', request, { onEvent: warningsTo(output) })
  output.object({ event: 'result', folder, files })
  output.text(`${folder}: ${files.join(', ')}`)
  return 0
}

function dtypeOf(given: unknown): WrittenType | undefined {
  const known = writtenTypes.find(dtype => dtype === String(given).toUpperCase())
  if (given === undefined || known !== undefined) return known
  throw new GradpromptError('invalid-option', '--dtype is none that weights are written in', {
    found: String(given),
    expected: `one of ${writtenTypes.join(', ')}`,
  })
}
