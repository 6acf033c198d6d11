import { afterAll, expect, test } from 'vitest'
import { LanguageModel } from '../../../src/model/language-model.js'
import type { SearchContext } from '../../../src/search/moves/method.js'
import { TokenSpace } from '../../../src/search/space/token-space.js'
import { readPrompt } from '../../../src/data/texts/reply.js'
import { promptsOf } from '../../../src/search/writing/written-prompts.js'
import { toyModel } from '../../train/toy.js'

const opened = LanguageModel.load(toyModel, { threads: 1 })
afterAll(async () => (await opened).dispose())

test.each([
  ['Sort the reviews.', 'Sort the reviews.'],
  ['Sort the reviews."', 'Sort the reviews.'],
  ['Sort the reviews." It says what to do."', 'Sort the reviews.'],
  ['Answer "good" or "bad" for each review."\nThe output was: "good"', 'Answer "good" or "bad" for each review.'],
  ['Answer (“good” or “bad”) for each.”', 'Answer (“good” or “bad”) for each.'],
  ['"Sort the reviews."', 'Sort the reviews.'],
  ['"\nSort the reviews.', 'Sort the reviews.'],
  ['\n\nHere is the new instruction:\n\n1. Sort the reviews.\n2. And so on.', 'Sort the reviews.'],
  ['Sure! <prompt>\nSort\n  the reviews.\n</prompt> I hope', 'Sort the reviews.'],
  ['<PROMPT>Sort the reviews.', 'Sort the reviews.'],
  ['The new instruction is: Sort the reviews.', 'Sort the reviews.'],
  ['In other words: Sort them.', 'Sort them.'],
  ['Instruction: **Sort the reviews.**', 'Sort the reviews.'],
  ['- Sort the reviews.', 'Sort the reviews.'],
  ["Don't sort the film's reviews", "Don't sort the film's reviews"],
  ['  ', undefined],
  ['""', undefined],
  ['3.14 …', undefined],
])('%j says %j', (answer, prompt) => expect(readPrompt(answer)).toBe(prompt))

async function contextOf(
  prompt: string | readonly (string | { frozen: string })[] = ' t t t',
  more: Partial<SearchContext> = {},
) {
  const { tokenizer, config } = await opened
  const record = { text: 'wine 3', label: 'the' }
  const options = { template: '{text}{prompt} -', answer: ' {label}', labels: undefined, prompt }
  const space = new TokenSpace(tokenizer, { ...options, contextLength: config.maxPositionEmbeddings }, record)
  const rows = [space.row(record, 0)]
  const context = {
    ...{ space, rows, maxLength: 100 },
    mayHold: (ids: readonly number[]) => space.isPlain(ids),
    readsBack: (ids: readonly number[]) => space.readsBack(ids, rows[0]!),
    ...more,
  } as unknown as SearchContext
  return {
    space,
    rows,
    context,
    texts: (prompts: readonly { ids: readonly number[] }[]) => prompts.map(({ ids }) => space.text(ids)),
  }
}
const limit = { maxPromptTokens: 20 }

test('prompts are the ids that the tokenizer finds in a row, with the white space of the first', async () => {
  const { space, context, texts } = await contextOf()
  const { candidates, figures } = promptsOf(['the a"', 'of the', 'the  a', '?!'], space.start, [], limit, context)
  expect(texts(candidates)).toEqual([' the a', ' of the'])
  const { tokenizer } = await opened
  for (const { ids } of candidates)
    expect(tokenizer.encode(`wine 3${space.text(ids)} - the`)).toEqual([
      ...tokenizer.encode('wine 3'),
      ...ids,
      ...tokenizer.encode(' - the', { addSpecialTokens: false }),
    ])
  expect(figures).toEqual({ written: 4, unread: 1, unfit: 0 })
  // A prompt is told apart from the one that it replaces token by token.
  const [first] = candidates
  expect(first!.swaps.at(-1)).toEqual({ position: 2, from: space.start[2], to: null })
})

test('what is too long is cut behind a sentence that fits, or left out', async () => {
  const { space, context, texts } = await contextOf()
  const answers = ['the a. of the. and so on it goes without an end', 'of and '.repeat(12)]
  const { candidates, figures } = promptsOf(answers, space.start, [], limit, context)
  expect(texts(candidates)).toEqual([' the a. of the.'])
  expect(figures.unfit).toBe(1)
  const narrow = { ...context, maxLength: 2 }
  expect(texts(promptsOf(['the a', 'the a of'], space.start, [], limit, narrow).candidates)).toEqual([' the a'])
})

test('known prompts, tokens that the vocabulary leaves out, special tokens and prompts that drift are no candidates', async () => {
  const { space, rows, context } = await contextOf()
  const known = [space.rewritten('the a', rows[0]!)]
  expect(promptsOf(['the a', 't t t'], space.start, [...known, space.start], limit, context).candidates).toEqual([])
  const { figures } = promptsOf(['the a'], space.start, [], limit, { ...context, mayHold: () => false })
  expect(figures.unfit).toBe(1)
  expect(promptsOf(['the a'], space.start, [], limit, { ...context, readsBack: () => false }).candidates).toEqual([])
  const { tokenizer } = await opened
  const [special] = tokenizer.specialTokenIds
  expect(space.isPlain([...space.start, special!])).toBe(false)
})

test('frozen text stays on both sides', async () => {
  const { space, context, texts } = await contextOf([{ frozen: ' of' }, ' t t', { frozen: ' and' }])
  expect(space.isOnePiece).toBe(true)
  expect(space.wordingOf(space.start)).toBe('t t')
  const { candidates } = promptsOf(['the a'], space.start, [], limit, context)
  expect(texts(candidates)).toEqual([' of the a and'])
  expect(space.wordingOf(candidates[0]!.ids)).toBe('the a')
  expect((await contextOf([' t', { frozen: ' and' }, ' t'])).space.isOnePiece).toBe(false)
})
