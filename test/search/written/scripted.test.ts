import { describe, expect, test } from 'vitest'
import { bestOfN, bestOfNSchema } from '../../../src/search/methods/written/best-of-n.js'
import { bootstrapDemos, bootstrapDemosSchema } from '../../../src/search/methods/written/bootstrap-demos.js'
import { capo, capoSchema } from '../../../src/search/methods/written/capo.js'
import { evoprompt, evopromptSchema } from '../../../src/search/methods/written/evoprompt.js'
import { gepa, gepaSchema } from '../../../src/search/methods/written/gepa.js'
import { miprov2, miprov2Schema } from '../../../src/search/methods/written/miprov2.js'
import { opro, oproSchema } from '../../../src/search/methods/written/opro.js'
import { promptagent, promptagentSchema } from '../../../src/search/methods/written/promptagent.js'
import { snippets, snippetsSchema } from '../../../src/search/methods/written/snippets.js'
import { spo, spoSchema } from '../../../src/search/methods/written/spo.js'
import { writtenWorld } from '../support/written-world.js'

/** Methods over a scripted model: a prompt with `n` in it, such as `level 3`, is right on so many of the questions. */

const level = (text: string) => Number(/level (\d+)/.exec(text)?.[1] ?? 0)
const right = (text: string, question: number) => question < level(text)
const cost = (text: string, question: number) => (right(text, question) ? 0.1 : 1) - level(text) / 100
/** Ever better ones. */
const climbing = (_: unknown, index: number) => `level ${index + 1}</prompt>`
const world = (more: Partial<Parameters<typeof writtenWorld>[0]> = {}) =>
  writtenWorld({ start: 'level 0', rows: 12, right, cost, reply: climbing, ...more })

describe('GEPA', () => {
  const options = gepaSchema.parse({ type: 'gepa', minibatch: 3 })

  test('a child that is no better on the minibatch costs no more; one that is goes to all', async () => {
    const same = world({ reply: () => 'level 0 otherwise</prompt>' })
    const { best, outcomes } = await same.run(gepa, options, 4)
    expect(best).toBe('level 0')
    expect(outcomes.at(-1)!.figures).toMatchObject({ rejected: 1, repeated: 1 })
    // The first on the selecting half; then batches of three, and the child on the first of them alone.
    expect(same.answered.filter(([text]) => text !== 'level 0')).toHaveLength(3)
    const up = world()
    const { best: found, outcomes: steps } = await up.run(gepa, options, 12)
    expect(found).toBe('level 12')
    expect(steps[0]!.pool!.map(({ parents, origin }) => [parents, origin])).toEqual([
      [[], 'start'],
      [[0], 'reflection'],
    ])
    // What was scored once is never scored again.
    expect(new Set(up.answered.map(String)).size).toBe(up.answered.length)
  })

  test('the optimiser sees the questions of the feedback half alone', async () => {
    const { run, asked, contextAt } = world()
    const { outcomes } = await run(gepa, options, 8)
    const seen = new Set(asked.flatMap(({ ask }) => [...ask.matchAll(/question (\d+)/g)].map(([, n]) => Number(n))))
    const scored = Object.keys(outcomes.at(-1)!.pool!.at(-1)!.losses).map(Number)
    expect(seen.size).toBe(6)
    expect(
      contextAt(0)
        .questions.filter(({ index }) => !seen.has(index))
        .map(({ index }) => index),
    ).toSatisfy((select: number[]) => select.every(index => scored.includes(index)))
  })

  test('paragraphs are rewritten in turn, and prompts of one ancestor are joined', async () => {
    const start = 'first\n\nsecond'
    // Each new paragraph solves questions of its own.
    const solves = (text: string, q: number) =>
      (text.includes('FIRST') && q % 2 === 0) || (text.includes('SECOND') && q % 2 === 1)
    const { run } = writtenWorld({
      ...{ start, rows: 24, right: solves },
      reply: ({ ask }) => (ask.includes('"""\nfirst\n"""') ? 'FIRST</prompt>' : 'SECOND</prompt>'),
    })
    const { best, outcomes } = await run(gepa, gepaSchema.parse({ type: 'gepa', minibatch: 12, parents: 'epsilon' }), 14)
    expect(best).toBe('FIRST\n\nSECOND')
    const origins = outcomes.at(-1)!.pool!.map(({ origin }) => origin)
    expect(origins.slice(0, 2)).toEqual(['start', 'reflection'])
  })
})

test('OPRO shows rising scores beside surprise, and comes to the best text', async () => {
  const { run, asked } = world()
  const { best, outcomes } = await run(opro, oproSchema.parse({ type: 'opro', proposals: 4 }), 3)
  expect(best).toBe('level 12')
  const scores = [...asked[8]!.ask.matchAll(/^Score: (\d+)$/gm)].map(([, score]) => Number(score))
  expect(scores.length).toBe(9)
  expect(scores).toEqual([...scores].sort((a, b) => a - b))
  expect(asked[8]!.ask).toMatch(/Surprise: \d\.\d\d/)
  expect(outcomes[0]!.figures).toMatchObject({ written: 4, rejected: 0 })
})

describe('EvoPrompt', () => {
  test('the best of parents and children survive', async () => {
    const { run } = world()
    const { state } = await run(evoprompt, evopromptSchema.parse({ type: 'evoprompt', population: 4 }), 2)
    // Three rewrites, then four children twice: the best four of twelve.
    expect([...state.alive].sort((a, b) => b - a)).toEqual([11, 10, 9, 8])
  })

  test('by differences a child that is as good as its parent does not replace it', async () => {
    const { run } = world({
      reply: ({ ask }, i) => (ask.startsWith('Four') ? `level 4 ${i}</prompt>` : `level 4 (${i})</prompt>`),
    })
    const options = evopromptSchema.parse({ type: 'evoprompt', population: 4, evolution: 'differential' })
    const { state } = await run(evoprompt, options, 1)
    // Only the first prompt was worse.
    expect(state.alive).toEqual([4, 1, 2, 3])
  })
})

test('CAPO drops what is beaten before all questions are asked, and keeps as many as may live', async () => {
  const { run, answered } = world({
    rows: 40,
    right: (text, q) => q < 4 * level(text),
    reply: (_, i) => `level ${(i * 7) % 11}</prompt>`,
  })
  const options = capoSchema.parse({ type: 'capo', population: 3, children: 4, block: 5, demos: 2 })
  const { state, outcomes } = await run(capo, options, 4)
  expect(state.alive.length).toBeLessThanOrEqual(3)
  expect(level(state.pool[state.alive[0]!]!.components[0]!)).toBe(10)
  expect(outcomes.some(({ eliminated }) => eliminated!.length > 0)).toBe(true)
  expect(answered.length).toBeLessThan(state.pool.length * 20)
  expect(state.pool.some(({ demos }) => demos.length > 0)).toBe(true)
})

test('MIPROv2 chooses among instructions and sets of examples', async () => {
  // Right only with the second instruction and some example.
  const solves = (text: string, q: number) => text.includes('level 2') && text.includes('Q') && q >= 0
  const { run, asked } = world({ right: solves, reply: (ask, i) => (ask.begin === '' ? 'COMPLETE' : `level ${i}</prompt>`) })
  const options = miprov2Schema.parse({ type: 'miprov2', candidates: 6, minibatch: 4, startup: 6, bootstrapped: 0 })
  const { best, state } = await run(miprov2, options, 18)
  expect(best).toContain('level 2')
  expect(best).toMatch(/Q\d+ A\d+/)
  // One look at the data, which says that nothing is to be added; then all proposals but the first prompt.
  expect(asked).toHaveLength(3)
  expect(state.instructions).toHaveLength(3)
  expect(state.trials.length).toBeGreaterThan(18)
})

test('bootstrapped examples are those that the model answers rightly', async () => {
  const { run, asked } = world({ start: 'level 6' })
  const options = bootstrapDemosSchema.parse({ type: 'bootstrap-demos', labelled: 0, bootstrapped: 2, sets: 3 })
  const { outcomes } = await run(bootstrapDemos, options, 2)
  const demos = outcomes.at(-1)!.pool!.flatMap(member => member.demos)
  expect(demos.length).toBeGreaterThan(2)
  expect(Math.max(...demos)).toBeLessThan(6)
  expect(asked).toEqual([])
})

test('snippets: sixty combinations, and a snippet that alone decides has all of the effect', async () => {
  const openers = ['a', 'b', 'c', 'd', 'e']
  const options = snippetsSchema.parse({
    ...{ type: 'snippets', openers, descriptions: ['x', 'y', 'z'], closers: ['1', '2', '3', '4'], cells: 25 },
  })
  const { run } = world({ right: text => text.startsWith('b ') })
  const { outcomes } = await run(snippets, options)
  expect(outcomes).toHaveLength(3)
  const { pool, figures } = outcomes.at(-1)!
  expect(new Set(pool!.map(({ ids }) => ids.join())).size).toBe(61)
  expect(figures!['openers[1].effect']).toBe(1)
  for (const name of ['descriptions[0]', 'descriptions[2]', 'closers[3]']) expect(figures![`${name}.effect`]).toBeCloseTo(0, 12)
})

test('PromptAgent expands the best, with what led to it', async () => {
  const { run, asked } = world({ reply: (ask, i) => (ask.begin === '' ? 'It fails.' : `level ${i % 13}</prompt>`) })
  const options = promptagentSchema.parse({ type: 'promptagent', width: 2, depth: 3, minDepth: 3 })
  const { state, best } = await run(promptagent, options, 2)
  const rewards = state.nodes.map(({ reward }) => reward)
  expect(level(best)).toBeGreaterThan(0)
  expect(rewards[0]).toBe(0)
  expect(state.nodes.every(({ id }, i) => id === i)).toBe(true)
  expect(Math.max(...state.nodes.map(({ depth }) => depth))).toBe(3)
  expect(asked.some(({ ask }) => ask.includes('It came from these') && ask.includes('- level 0'))).toBe(true)
})

describe('SPO', () => {
  const options = spoSchema.parse({ type: 'spo', samples: 3 })
  const newAnswer = (ask: string, letter: string) => new RegExp(`Answer ${letter}: level [1-9]`).test(ask)

  test('a judge that knows the new answers in any place lets them win; labels have no say', async () => {
    const prefer = ({ ask }: { ask: string }) => Number(newAnswer(ask, 'A')) - Number(newAnswer(ask, 'B'))
    const { run, judged } = world({ prefer, right: text => text === 'level 0' })
    const { best, outcomes } = await run(spo, options, 1)
    expect(best).toBe('level 1')
    expect(outcomes[0]!.figures).toMatchObject({ won: 3, lost: 0, tied: 0, placeBias: 0 })
    expect(judged).toHaveLength(2 * 3 + 1)
  })

  test('a judge of the first place decides nothing, and its bias is said', async () => {
    const { run } = world({ prefer: () => 1 })
    const { best, outcomes } = await run(spo, options, 2)
    expect(best).toBe('level 0')
    expect(outcomes[0]!.figures).toMatchObject({ won: 0, tied: 3, placeBias: 1 })
  })
})

test('the control rewrites the first prompt and nothing else', async () => {
  const { run, asked } = world()
  const { best } = await run(bestOfN, bestOfNSchema.parse({ type: 'best-of-n', proposals: 3 }), 2)
  expect(best).toBe('level 6')
  for (const { ask } of asked) expect(ask).toContain('Instruction: level 0')
})
