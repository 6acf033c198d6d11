import { GradpromptError } from '../errors.js'

/** Answers that are chosen against those under another prompt: what is asked, and when it cannot be done. `engine/contrast.ts` does it. */

/** What a request says of it. */
export interface ContrastAsked {
  /** The name of the other prompt; without one it is the model alone. */
  readonly against?: string | undefined
  /** g in `(1 + g) z - g z'`, where z are the logits and z' those under the other prompt. */
  readonly strength: number
}

/** A prompt as the engine knows it, and the template that it was learned in. */
interface Side {
  readonly name: string | undefined
  readonly template: unknown
}

const usualStrength = 0.5

/**
 * @param strength by default 0.5 where there is another prompt, and otherwise no contrast
 * @param other the prompt to answer against
 * @throws GradpromptError `invalid-option`: there is nothing to answer against, or the prompts are for different texts
 */
export function contrastOf(strength: number | undefined, own: Side, other: Side | undefined): ContrastAsked | undefined {
  if (strength === undefined && other === undefined) return undefined
  if (own.name === other?.name) {
    throw new GradpromptError('invalid-option', 'There is nothing to answer against', {
      found: own.name === undefined ? 'a contrast, and no soft prompt' : 'one prompt on both sides',
      expected: 'a soft prompt, against another one or against the model alone',
    })
  }
  const templates = [own, ...(other ? [other] : [])].flatMap(({ template }) =>
    template === undefined ? [] : [JSON.stringify(template)],
  )
  if (new Set(templates).size > 1) {
    throw new GradpromptError('invalid-option', 'A prompt is held against one for the same texts', {
      found: `the templates ${templates.join(' and ')}`,
      expected: 'two prompts that were learned in one template',
    })
  }
  return { strength: strength ?? usualStrength, ...(other?.name !== undefined && { against: other.name }) }
}
