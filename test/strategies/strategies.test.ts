import { describe, expect, test } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import type { Conversation } from '../../src/generate/input.js'
import { strategies, strategyOf } from '../../src/strategies/index.js'
import { questionOf, shownBefore, withQuestion } from '../../src/strategies/inputs.js'
import { resampled } from '../../src/strategies/resampled.js'
import { rewritten } from '../../src/strategies/rewritten.js'
import type { Asked } from '../../src/strategies/strategy.js'
import { majority } from '../../src/strategies/votes.js'
import { problemOf } from '../support/problem.js'
import { type Script, scripted } from './scripted.js'

const question = 'How many are 2 and 3?'
const chat = { messages: [{ role: 'user', content: question }] }
const lastNumber = (text: string) => /\d+(?!.*\d)/s.exec(text)?.[0]
const asked: Asked = { input: chat, question, read: lastNumber }

async function run(given: Parameters<typeof strategyOf>[0], script: Script, of: Asked = asked) {
  const { strategy, options } = (await strategyOf(given))!
  const { model, heard } = scripted(script)
  return { ...(await strategy.answer(of, model, options as never)), heard }
}

describe('self-consistency', () => {
  test('most samples decide, each with a seed of its own and the temperature', async () => {
    const { answer, figures, heard } = await run(
      { type: 'self-consistency', samples: 5 },
      { answers: ['6', 'it is 5', 'none', '5', '6'] },
    )
    // As many votes: the one that was there first.
    expect(answer.text).toBe('6')
    expect(figures).toEqual({ agreement: 0.4 })
    expect(heard.answer.map(({ call }) => call)).toEqual([0, 1, 2, 3, 4].map(sample => ({ sample, temperature: 0.7 })))
  })

  test('texts without an answer have no vote; where none has one, the first stays', () => {
    expect(majority([undefined, 'a', undefined])).toEqual({ index: 1, agreement: 1 / 3 })
    expect(majority([undefined, undefined])).toEqual({ index: 0, agreement: 0 })
    expect(majority(['a', 'b', 'b'])).toEqual({ index: 1, agreement: 2 / 3 })
  })
})

describe('retries', () => {
  const answers = ['5', 'now 6', 'no, 6']

  test('each turn stands behind the answers before it', async () => {
    const { answer, heard, figures } = await run({ type: 'retries', say: 'Again.' }, { answers })
    expect(answer.text).toBe('now 6')
    expect(figures).toEqual({ turns: 3 })
    expect(heard.answer[2]!.input).toEqual({
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: '5' },
        { role: 'user', content: 'Again.' },
        { role: 'assistant', content: 'now 6' },
        { role: 'user', content: 'Again.' },
      ],
    })
  })

  test('of a text, the text comes once more', async () => {
    const { heard } = await run(
      { type: 'retries', turns: 2, say: 'Again.' },
      { answers },
      { ...asked, input: { prompt: 'Q: 2+3\nA:' } },
    )
    expect(heard.answer[1]!.input).toEqual({ prompt: 'Q: 2+3\nA:5\n\nAgain.\n\nQ: 2+3\nA:' })
  })

  test('the last one counts where that is asked for, and the turns end where there is no room', async () => {
    expect((await run({ type: 'retries', take: 'last' }, { answers: ['5', '5', '6'] })).answer.text).toBe('6')
    const { strategy, options } = (await strategyOf('retries'))!
    const { model } = scripted({ answers: ['5'] })
    const full = {
      ...model,
      answer: async (input: never, call?: { sample?: number }) => {
        if (call?.sample === undefined) return model.answer(input)
        throw new GradpromptError('context-exceeded', 'too long')
      },
    }
    const { answer, figures } = await strategy.answer(asked, full, options as never)
    expect([answer.text, figures]).toEqual(['5', { turns: 1 }])
  })
})

describe('rewriting', () => {
  test('bad, bad, good: three answers, three verdicts, and the third answer', async () => {
    const instructed = [
      'bad\n<prompt>What is 2 plus 3?</prompt>',
      'Bad <prompt>Add 2 and 3; reply with the number.</prompt>',
      'good',
    ]
    const { answer, heard, figures } = await run('rewriting', { answers: ['a', 'b', 'c'], instructed })
    expect(answer.text).toBe('c')
    expect([heard.answer.length, heard.instruct.length]).toEqual([3, 3])
    expect(heard.answer[2]!.input).toEqual({ messages: [{ role: 'user', content: 'Add 2 and 3; reply with the number.' }] })
    expect(figures).toEqual({ rewrites: 2, rejected: 0 })
  })

  test('the last of the rounds needs no verdict', async () => {
    const instructed = ['bad <prompt>2 and 3, added?</prompt>']
    const { answer, heard } = await run({ type: 'rewriting', rounds: 1 }, { answers: ['a', 'b'], instructed })
    expect([answer.text, heard.instruct.length]).toEqual(['b', 1])
  })

  test('what loses a number or a quotation is another question, and is not asked', async () => {
    const { answer, figures } = await run('rewriting', { answers: ['a'], instructed: ['bad <prompt>What is 2 plus 4?</prompt>'] })
    expect([answer.text, figures]).toEqual(['a', { rewrites: 0, rejected: 1 }])
    expect(rewritten('<prompt>Who said "to be"?</prompt>', 'who said "to be"')).toBe('Who said "to be"?')
    expect(rewritten('<prompt>Who said so?</prompt>', 'who said "to be"')).toBeUndefined()
    expect(rewritten('Who said so?', 'who said so')).toBeUndefined()
  })
})

describe('derived', () => {
  test('the other question and its answer stand before the question, which stays as it is', async () => {
    const { answer, heard } = await run('derived', {
      answers: ['it is 5', '5'],
      instructed: ['<prompt>The sum of 2 and 3?</prompt>'],
    })
    expect(answer.text).toBe('5')
    expect(heard.answer[1]!.input).toEqual({
      messages: [
        { role: 'user', content: 'The sum of 2 and 3?' },
        { role: 'assistant', content: 'it is 5' },
        { role: 'user', content: question },
      ],
    })
  })

  test('of several, the one behind which the question is likeliest', async () => {
    const script = {
      answers: ['x', 'y', 'end'],
      instructed: ['<prompt>2 with 3?</prompt>', '<prompt>3 with 2?</prompt>', 'no'],
      likelihoods: [-2, -1],
    }
    const { heard, figures } = await run({ type: 'derived', prompts: 3 }, script)
    expect(figures).toEqual({ derived: 2 })
    expect(heard.likelihood[0]).toEqual({ input: { prompt: '2 with 3?x\n\n' }, text: question })
    expect(JSON.stringify(heard.answer[2]!.input)).toContain('3 with 2?')
  })

  test('without one, the question is answered as it is', async () => {
    const { heard } = await run('derived', { answers: ['5'], instructed: ['I cannot.'] })
    expect(heard.answer).toEqual([{ input: chat, call: {} }])
  })
})

describe('recursive', () => {
  test('a question rated 4, and its two parts 1: a plan of two, an answer to each, and one to all: seven calls', async () => {
    const { answer, heard, figures } = await run('recursive', {
      rates: [4, 1, 1],
      instructed: ['1. What is 2?\n2. What is 3?\n3. Anything else?', 'Two.\nSo there.', 'Three.'],
      answers: ['5'],
    })
    expect(answer.text).toBe('5')
    expect([heard.rate.length, heard.instruct.length, heard.answer.length]).toEqual([3, 3, 1])
    expect(heard.instruct[2]).toContain('Known:\nWhat is 2? Two.')
    expect(questionOf(heard.answer[0]!.input)).toBe(`What is known:\nWhat is 2? Two.\nWhat is 3? Three.\n\n${question}`)
    expect(figures).toEqual({ nodes: 3, depth: 1 })
  })

  test('what is easy is answered at once; parts are not parted for ever', async () => {
    const easy = await run('recursive', { rates: [2], answers: ['5'] })
    expect(easy.heard.answer[0]!.input).toEqual(chat)
    const hard = await run(
      { type: 'recursive', nodes: 4, depth: 3 },
      {
        rates: [9, 9, 9, 9],
        instructed: Array.from({ length: 12 }, () => 'One part?\nAnother part?\nA third?\nA fourth?'),
        answers: ['5'],
      },
    )
    expect(hard.figures!.nodes).toBe(4)
  })
})

test('a search as a tree is asked for before the question, and its trace is counted', async () => {
  const trace = 'Node: 2 + 3 = 6\nBack: to the start\nNode: 2 + 3 = 5\nThe answer is 5'
  const { figures, heard } = await run({ type: 'tree-search', order: 'breadth' }, { answers: [trace] })
  expect(figures).toEqual({ nodes: 2, backtracks: 1 })
  expect(questionOf(heard.answer[0]!.input)).toMatch(new RegExp(`level by level[\\s\\S]*${question.replace('?', '\\?')}$`))
})

test('as many samples as the tokens of a strategy buy', async () => {
  const { strategy, options } = resampled(10)
  const { model, heard } = scripted({ answers: ['is 5', 'is 6', 'is 6'] })
  const { answer } = await strategy.answer(asked, model, options as never)
  // Four tokens each: a third sample would be more than ten.
  expect([answer.text, heard.answer.map(({ call }) => call.sample ?? 0)]).toEqual(['is 5', [0, 1]])
})

describe('inputs', () => {
  test('the question is replaced where it stands last, so that examples stay', () => {
    expect(withQuestion({ prompt: 'Q: a\nA: 1\n\nQ: a\nA:' }, 'a', 'b')).toEqual({ prompt: 'Q: a\nA: 1\n\nQ: b\nA:' })
    expect(withQuestion({ prompt: 'nothing of it' }, 'Q', 'b')).toEqual({ prompt: 'b' })
    const turns = [
      { role: 'system', content: 'a' },
      { role: 'user', content: 'see: a!' },
      { role: 'user', content: 'x' },
    ]
    expect(withQuestion({ messages: turns }, 'a', 'b')).toEqual({
      messages: [turns[0], { role: 'user', content: 'see: b!' }, turns[2]],
    })
  })

  test('an example stands behind the system message', () => {
    const system = { role: 'system', content: 's' }
    const of = (content: string) => ({ messages: [system, { role: 'user', content }] })
    const { messages } = shownBefore(of('q'), of('p'), 'r') as Conversation
    expect(messages.map(({ content }) => content)).toEqual(['s', 'p', 'r', 'q'])
  })
})

describe('what is asked for', () => {
  test.each([
    ['nobody-knows', 'unknown-strategy'],
    [{ type: 'retries', turns: 0 }, 'invalid-option'],
    [{ type: 'retries', samples: 3 }, 'invalid-option'],
    [{ type: 'self-consistency', samples: 'many' }, 'invalid-option'],
  ])('%j is refused', async (given, code) => {
    expect((await problemOf(strategyOf(given as never))).code).toBe(code)
  })

  test('defaults are filled in, and every strategy says where it comes from', async () => {
    expect((await strategyOf('retries'))!.options).toMatchObject({ type: 'retries', turns: 3, take: 'majority' })
    expect(await strategyOf(undefined)).toBeUndefined()
    for (const { paper } of strategies.values()) expect(paper).toMatch(/arXiv \d{4}\.\d{5}/)
  })
})
