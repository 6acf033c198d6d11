import { join } from 'node:path'
import { z } from 'zod'
import { readHints } from '../hints/file.js'
import { askFor, hintIn, said } from '../hints/form.js'
import { questionOf, told } from './inputs.js'
import { unlessRoom, withRoom } from './room.js'
import type { Strategy } from './strategy.js'

const options = z.strictObject({
  from: z.string().min(1).describe('the folder of gradprompt hints'),
  write: z
    .enum(['policy', 'untrained', 'fixed'])
    .default('policy')
    .describe('who writes the hint: the learned policy, the same model without what was learned, or the one text for all'),
})

/** The options, and what stands in the folder. */
type Options = z.output<typeof options> & {
  readonly instruction?: string
  readonly say?: string
  readonly maxHintTokens?: number
  readonly fixed?: string
  /** Whether a policy was learned. */
  readonly isLearned?: boolean
}

const policyName = 'policy'

/**
 * A hint is written for the input, and stands before it when it is answered. Where nothing was learned (no hint made any answer likelier),
 * or nothing is written, the input is answered as it is.
 */
export const hints: Strategy<Options> = {
  type: 'hints',
  paper:
    'a hint that a learned policy writes stands before the question (directional stimulus, Li et al. 2023, arXiv 2302.11520)',
  options,
  async prepare({ from, write, ...plain }) {
    const { instruction, say, maxHintTokens, policy, fixed } = await readHints(from)
    const isLearned = policy !== null
    return {
      options: { ...plain, from, write, instruction, say, maxHintTokens, isLearned, ...(write === 'fixed' && { fixed }) },
      ...(write === 'policy' && isLearned && { prompts: { [policyName]: join(from, policy) } }),
    }
  },
  async answer({ input, question }, model, { write, instruction = '', say = '', maxHintTokens = 1, fixed = '', isLearned }) {
    const ask = () =>
      model.instruct(askFor({ instruction }, question === '' ? questionOf(input) : question), {
        maxNewTokens: maxHintTokens,
        ...(write === 'policy' && { under: policyName }),
      })
    const isWritten = write === 'untrained' || (write === 'policy' && isLearned === true)
    const written = isWritten ? await withRoom(ask) : fixed
    const hint = hintIn(written ?? '', { say })
    const hinted = hint === '' ? undefined : await withRoom(() => model.answer(told(input, said({ say }, hint))))
    const answer = hinted ?? (await model.answer(input))
    const hasRoom = written !== undefined && (hint === '' || hinted !== undefined)
    return { answer, answers: [answer], figures: { hinted: Number(hinted !== undefined), ...unlessRoom(hasRoom) } }
  },
}
