import type { ModelConfig } from '../../../models/blocks/family.js'
import { GradpromptError } from '../../errors.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import { outsideVocabulary } from '../../model/row.js'
import { numSoftTokens } from '../../prompts/soft-rows.js'
import type { ContrastAsked } from '../contrast.js'
import type { GenerationRequest } from '../request.js'
import type { Placement } from './sequence.js'

/** What a request may ask of a model. */

/**
 * @returns the positions that it may come to
 * @throws GradpromptError `context-exceeded`, `invalid-token-id`, `empty-prompt`, `invalid-option`
 */
export function requirePositions(
  { ids, maxNewTokens, stop, continuation }: GenerationRequest,
  { numVirtualTokens, afterFirst }: Placement,
  prompt: ActivePrompt | undefined,
  config: ModelConfig,
): number {
  const { vocabSize, maxPositionEmbeddings } = config
  // Behind the vocabulary are the prompt's soft tokens, which nothing predicts.
  const limit = vocabSize + (prompt ? numSoftTokens(prompt.config) : 0)
  const within = (end: number) => (id: number) => Number.isInteger(id) && id >= 0 && id < end
  const bad = ids.find(id => !within(limit)(id)) ?? continuation?.ids.find(id => !within(vocabSize)(id))
  if (bad !== undefined) throw outsideVocabulary('The prompt holds an id outside the vocabulary', bad, limit)
  if (ids.length <= (afterFirst ? 1 : 0)) {
    throw new GradpromptError('empty-prompt', 'There is nothing to go on from', {
      found: ids.length === 0 ? 'no tokens' : 'nothing behind the soft prompt',
      expected: afterFirst
        ? 'the BOS, which the soft prompt stands behind, and one token at least'
        : 'one token at least, be it the BOS',
    })
  }
  if (!(Number.isInteger(maxNewTokens) && maxNewTokens >= 0)) {
    throw new GradpromptError('invalid-option', 'maxNewTokens is not usable', {
      found: String(maxNewTokens),
      expected: 'a whole number from 0',
    })
  }
  if (stop?.includes('')) {
    throw new GradpromptError('invalid-option', 'A stop string is empty', { expected: 'strings of one character or more' })
  }
  const total = numVirtualTokens + ids.length + maxNewTokens + (continuation?.ids.length ?? 0)
  if (total > maxPositionEmbeddings) {
    const virtual = numVirtualTokens > 0 ? `${numVirtualTokens} virtual tokens + ` : ''
    throw new GradpromptError('context-exceeded', "The prompt and the new tokens do not fit into the model's context", {
      found: `${virtual}${ids.length} prompt tokens + ${maxNewTokens} new tokens${continuation === undefined ? '' : ` + ${continuation.ids.length} behind them`} = ${total}`,
      expected: `${maxPositionEmbeddings} at most`,
      hint:
        numVirtualTokens + ids.length < maxPositionEmbeddings
          ? `maxNewTokens can be ${Math.max(0, maxPositionEmbeddings - total + maxNewTokens)} here`
          : 'shorten the prompt',
    })
  }
  return total
}

/** @throws GradpromptError `invalid-option` */
export function requireContrast({ continuation }: GenerationRequest, { strength }: ContrastAsked): void {
  if (!(Number.isFinite(strength) && strength >= 0)) {
    throw new GradpromptError('invalid-option', 'The strength of a contrast is not usable', {
      found: String(strength),
      expected: 'a number from 0, which is no contrast; 0.5 and 1 are usual',
    })
  }
  if (continuation !== undefined) {
    throw new GradpromptError('invalid-option', 'What goes on behind an answer is not scored with a contrast', {
      found: `a continuation of ${continuation.ids.length} tokens`,
      expected: 'none',
    })
  }
}
