import { GradpromptError } from '../errors.js'
import { type Checkpoint, shortName } from '../model/weights/checkpoint.js'
import { hashModel } from '../model/weights/weight-file.js'
import { elementCount } from '../numbers.js'
import { ownCommand } from '../own-command.js'
import type { PromptParameter } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { readSources } from '../sources/initial-prompts.js'

/**
 * Refuses options of a method that contradict each other or the model, and prompts to start from that do not fit, before any weight
 * is read.
 * @throws GradpromptError `invalid-config`, and as `readSources`
 */
export async function checkMethod(
  options: { readonly type: string; readonly init?: unknown },
  checkpoint: Checkpoint,
): Promise<void> {
  const { config: model, files } = checkpoint
  const method = promptMethods.get(options.type)
  const problem = method.check?.(options, model)
  if (problem !== undefined)
    throw new GradpromptError('invalid-config', problem, {
      hint: `\`${ownCommand`methods`}\` lists the options of ${options.type}`,
    })
  const init = options.init as { readonly type?: string; readonly from?: readonly string[] } | undefined
  if (init?.type !== 'runs') return
  const target = { name: shortName(checkpoint), hash: await hashModel(files), hiddenSize: model.hiddenSize }
  await readSources(init.from!, target, method.placement(options, model).numVirtualTokens)
}

/** How many numbers are learned. */
export const learnedNumbers = (parameters: readonly PromptParameter[]): number =>
  parameters.reduce((sum, { shape, frozen }) => sum + (frozen ? 0 : elementCount(shape)), 0)
