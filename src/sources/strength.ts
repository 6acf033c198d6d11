import { GradpromptError } from '../errors.js'
import { promptMethods } from '../prompts/methods/index.js'
import type { OpenOptions, PromptSource } from './open.js'
import { loadPrompt, loadPromptMethod } from './prompt.js'

/** The slider of a prompt: how strongly it acts, chosen when it is used and not when it is learned. */

/**
 * A prompt as it acts at a strength. Its tensors are those of that strength, so that whatever tells prompts apart by them tells strengths
 * apart as well.
 * @param strength 1 is as it was learned, 0 the model alone
 * @throws GradpromptError `invalid-option` where the prompt's method has no slider, or nothing was learned by gradprompt
 */
export async function atStrength(source: PromptSource, strength: number, options: OpenOptions): Promise<PromptSource> {
  if (!Number.isFinite(strength))
    throw new GradpromptError('invalid-option', 'strength is not valid', { found: String(strength), expected: 'a finite number' })
  const { file } = source
  const method = file && (await loadPromptMethod(file))
  if (file === undefined || method?.atStrength === undefined) {
    const sliding = [...promptMethods].filter(([, one]) => one.atStrength !== undefined).map(([type]) => type)
    throw new GradpromptError(
      'invalid-option',
      file
        ? `a prompt of ${file.method.type} has no strength to choose`
        : 'a strength is chosen of a prompt that gradprompt learned',
      {
        found: `strength: ${strength}${file ? '' : ` and ${found[source.kind]}`}`,
        expected: `a prompt of a method with a slider: ${sliding.join(', ')}`,
        ...(file && { hint: 'leave strength out: the prompt acts as it was learned' }),
      },
    )
  }
  const learned = new Map(file.tensors.map(({ name, data }) => [name, data]))
  const parameters = method.atStrength(file.method, learned, strength)
  refuseOverflow(parameters, method.atStrength(file.method, learned, 1), strength)
  const sliding = {
    ...file,
    tensors: file.tensors.map(tensor => ({ ...tensor, data: parameters.get(tensor.name) ?? tensor.data })),
  }
  return { ...source, file: sliding, active: model => loadPrompt(sliding, model, options) }
}

/** The squares of a state's numbers are added up in float32 wherever it is normalised: beyond this there is infinity, whose share is none. */
const largestSquares = 1e36

/** @throws GradpromptError `invalid-option` where what acts would overflow, so that a model computes with nothing and says so to nobody */
function refuseOverflow(
  acting: ReadonlyMap<string, Float32Array>,
  learned: ReadonlyMap<string, Float32Array>,
  strength: number,
): void {
  const squares = (values: Float32Array) => values.reduce((sum, x) => sum + x * x, 0)
  for (const [name, values] of acting) {
    // What was learned acts as it is.
    const own = squares(learned.get(name)!)
    if (squares(values) <= Math.max(largestSquares, own)) continue
    const most = Math.sqrt(largestSquares / own)
    throw new GradpromptError('invalid-option', 'strength is too large for the numbers of this prompt', {
      found: `${strength}`,
      expected: `from -${most.toPrecision(2)} to ${most.toPrecision(2)}, beyond which states of the model overflow`,
      hint: '1 is as it was learned, and a few times that is much',
    })
  }
}

const found: Readonly<Record<PromptSource['kind'], string>> = {
  vectors: 'vectors that say nothing of a method',
  found: 'words that a search has found',
  text: 'a text',
  none: 'no prompt',
}
