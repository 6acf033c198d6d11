import { describe, expect, test } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import type { Conversation } from '../../src/generate/input.js'
import { strategies, strategyOf } from '../../src/strategies/index.js'
import { questionOf, shownBefore, told, withQuestion } from '../../src/strategies/inputs.js'
import { resampled } from '../../src/strategies/resampled.js'
import { rewritten } from '../../src/strategies/rewritten.js'
import type { Asked } from '../../src/strategies/strategy.js'
import { majority } from '../../src/strategies/votes.js'
import { problemOf } from '../support/problem.js'
import { generation, type Script, scripted } from './scripted.js'

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
    const { answer, answers, heard } = await run('derived', {
      answers: ['it is 5', '5'],
      instructed: ['<prompt>The sum of 2 and 3?</prompt>'],
    })
    expect(answer.text).toBe('5')
    // The other answers a question of the model's own: it is not what one call would have given.
    expect(answers.map(({ text }) => text)).toEqual(['5'])
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

describe('a context that is too short', () => {
  const full = (): never => {
    throw new GradpromptError('context-exceeded', 'too long')
  }
  const runIn = async (type: string, script: Script, overrides: object) => {
    const { strategy, options } = (await strategyOf(type))!
    const { model } = scripted(script)
    return strategy.answer(asked, { ...model, ...overrides }, options as never)
  }

  test.each([
    ['rewriting', { rewrites: 0, rejected: 0, noRoom: 1 }],
    ['derived', { derived: 0, noRoom: 1 }],
    ['recursive', { nodes: 1, depth: 0, noRoom: 1 }],
  ])('%s: what was answered until then counts where instructions have no room', async (type, figures) => {
    const answered = await runIn(type, { answers: ['a'] }, { instruct: async () => full(), rate: async () => full() })
    expect([answered.answer.text, answered.figures]).toEqual(['a', figures])
  })

  test.each([
    ['rewriting', { answers: ['a'], instructed: ['bad <prompt>Add 2 and 3.</prompt>'] }],
    ['derived', { answers: ['a'], instructed: ['<prompt>Add 2 and 3.</prompt>'] }],
    ['recursive', { answers: ['a'], rates: [4, 1, 1], instructed: ['What is 2?', 'Two.'] }],
  ])('%s: so does the question itself where what was made of it has none', async (type, script) => {
    const { model } = scripted(script)
    const answer = async (input: never) => (input === asked.input ? model.answer(input) : full())
    const answered = await runIn(type, script, { ...model, answer })
    expect([answered.answer.text, answered.figures!.noRoom]).toEqual(['a', 1])
  })
})

test('numbers of calls have an end, which is told', async () => {
  const far = [['self-consistency', 'samples'], ['retries', 'turns'], ['rewriting', 'rounds'], ['derived', 'prompts'], ['recursive', 'nodes']] as const // biome-ignore format: one line
  for (const [type, name] of far) {
    const problem = await problemOf(strategyOf({ type, [name]: 1e9 }))
    expect([problem.code, problem.message, problem.expected]).toEqual(['invalid-option', `strategy.${name} is not valid`, 'at most 1000']) // biome-ignore format: one line
  }
})

describe('what a strategy of people’s own gives back', () => {
  const answer = generation('5')
  test.each([
    [{ answer: { text: 'hi' }, answers: [answer] }, 'answer: an object with text'],
    [{ answer, answers: [] }, 'answers: an empty list'],
    [{ answer, answers: [answer, null] }, 'answers[1]: null'],
    [{ answer, answers: [answer], figures: 'abc' }, 'figures: the string abc'],
    [{ answer, answers: [answer], figures: { turns: Number.NaN } }, 'figures.turns: the number NaN'],
    [{ answer, answers: [answer], figures: { turns: 1n } }, 'figures.turns: the bigint 1'],
    [{ answer, answers: [answer], figures: { 'first answer': 1 } }, 'figures.first answer'],
  ])('is looked at: %#', async (given, found) => {
    const own = { type: 'own', paper: 'none', answer: async () => given } as never
    const { strategy, options } = (await strategyOf({ type: own }))!
    const problem = await problemOf(strategy.answer(asked, scripted({}).model, options as never))
    expect([problem.code, problem.found]).toEqual(['invalid-strategy', found])
  })
})

test('samples beside a strategy end with its tokens: what these cut off has no vote', async () => {
  const { strategy, options } = resampled(10)
  const texts = ['is 5', 'is really 6', 'is 6']
  const calls: unknown[] = []
  const model = {
    ...scripted({}).model,
    answer: async (_: unknown, call: { maxNewTokens?: number } = {}) => {
      const whole = generation(texts[calls.push(call.maxNewTokens) - 1]!)
      const { maxNewTokens: most = Number.POSITIVE_INFINITY } = call
      return whole.ids.length <= most ? whole : { ...whole, ids: whole.ids.slice(0, most), finishReason: 'length' as const }
    },
  }
  const { answers } = await strategy.answer(asked, model, options as never)
  expect([answers.map(({ text }) => text), calls]).toEqual([['is 5'], [undefined, 6]])
})

test('as many samples as the tokens of a strategy buy', async () => {
  const { strategy, options } = resampled(10)
  const { model, heard } = scripted({ answers: ['is 5', 'is 6', 'is 6'] })
  const { answer } = await strategy.answer(asked, model, options as never)
  // Four tokens each: a third sample would be more than ten.
  expect([answer.text, heard.answer.map(({ call }) => call.sample ?? 0)]).toEqual(['is 5', [0, 1]])
})

describe('inputs', () => {
  test('conversations without a turn of a user, or of anybody, keep what they have', () => {
    const system = { role: 'system', content: 'Be brief.' }
    expect(told({ messages: [system] }, 'Heed this.')).toEqual({
      messages: [{ role: 'system', content: 'Heed this.\n\nBe brief.' }],
    })
    expect(shownBefore({ messages: [system] }, chat, '5')).toEqual({
      messages: [system, ...chat.messages, { role: 'assistant', content: '5' }],
    })
  })

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
    const own = strategies.own.map(([name]) => name)
    for (const { type, paper } of strategies.values()) if (!own.includes(type)) expect(paper).toMatch(/arXiv \d{4}\.\d{5}/)
  })
})
