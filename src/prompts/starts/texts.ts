import { GradpromptError } from '../../errors.js'
import type { InitialisationContext } from '../method.js'

/**
 * The ids of texts in turn.
 * @throws GradpromptError `empty-initialisation`
 */
export function idsOfTexts(
  texts: readonly string[],
  { tokenizer }: Pick<InitialisationContext, 'tokenizer'>,
  { addSpecialTokens }: { readonly addSpecialTokens: boolean },
): number[] {
  const ids = texts.flatMap(text => tokenizer.encode(text, { addSpecialTokens }))
  if (ids.length > 0) return ids
  throw new GradpromptError('empty-initialisation', 'There is nothing to start the soft prompt from', {
    found: `no tokens in ${JSON.stringify(texts)}`,
    hint: 'give method.init.text some text, or use method.init.type: vocabulary',
  })
}
