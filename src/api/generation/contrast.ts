import { GradpromptError } from '../../errors.js'
import { type ContrastAsked, contrastOf } from '../../generate/contrast.js'
import { openPrompt, type PromptGiven, type PromptSource } from '../../sources/open.js'
import { loadPromptMethod } from '../../sources/prompt.js'

/** The other prompt of a contrast, as callers give it. */
export interface ContrastOptions {
  /**
   * A prompt to answer against, learned on what answers should not be: each token has the score `(1 + contrast) z - contrast z'`, of
   * logits under `prompt` and under this one, among the tokens of at least a tenth of the likeliest one's probability.
   */
  readonly against?: PromptGiven
  /** How much; 0 is not at all. By default 0.5 with `against`. Without it answers are chosen against those of the model alone. */
  readonly contrast?: number | undefined
}

/** The name of the other prompt in an engine. */
export const otherName = 'against'

/** @throws GradpromptError as `openPrompt` does; `invalid-option` */
export async function otherSource({
  against,
  force,
}: ContrastOptions & { readonly force?: boolean | undefined }): Promise<PromptSource | undefined> {
  if (against === undefined) return undefined
  const source = await openPrompt(against, { force })
  if (source.file) await loadPromptMethod(source.file)
  if (source.kind === 'vectors') return source
  throw new GradpromptError('invalid-option', 'against is no soft prompt', {
    found: 'a prompt in words',
    expected: 'a run of tune, a prompt file, an adapter, or rows of vectors',
  })
}

/**
 * What the options ask for.
 * @param own the prompt to answer under, and the name by which the engine knows it
 * @throws GradpromptError as `contrastOf` does
 */
export const contrastIn = (
  { contrast }: ContrastOptions,
  { name, source }: { readonly name: string | undefined; readonly source: PromptSource },
  other: PromptSource | undefined,
): ContrastAsked | undefined =>
  contrastOf(contrast, { name, template: source.file?.template }, other && { name: otherName, template: other.file?.template })
