import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { judgeRuns } from '../../src/api/judge.js'
import { endpointJudge, readVerdict } from '../../src/evaluate/judging/endpoint.js'
import { bothOrders, modelJudge } from '../../src/evaluate/judging/judge.js'
import { agreementOf, judgedPairs, judgementOf, rateAtEqualLength } from '../../src/evaluate/judging/verdicts.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'

/** Pairs of answers, and who judges them. */

const { folder, remove } = temporaryFolder()
const servers: Server[] = []
afterAll(() => {
  for (const server of servers) server.close()
  remove()
})

const pair = (index: number, baseline = 'x', other = 'y') => ({ index, input: 'q', baseline, other })

describe('verdicts', () => {
  test('both orders have to agree', () => {
    const score = (baselineFirst: number, otherFirst: number) => judgementOf(pair(0), baselineFirst, otherFirst).score
    expect(score(0.1, 0.9)).toBe(1)
    expect(score(0.9, 0.1)).toBe(0)
    // Whoever takes the first, or the second, whatever it says, decides nothing.
    expect(score(0.9, 0.9)).toBe(0.5)
    expect(score(0.1, 0.1)).toBe(0.5)
    expect(score(0.5, 0.9)).toBe(0.5)
  })

  test('the rate, the sign test, the place and the length', () => {
    const won = (index: number) => judgementOf(pair(index, 'x', 'longer'), 0.1, 0.9)
    const lost = (index: number) => judgementOf(pair(index, 'longer', 'x'), 0.9, 0.1)
    const tied = (index: number) => judgementOf(pair(index), 0.9, 0.9)
    const judged = judgedPairs([won(0), won(1), won(2), lost(3), tied(4)], { seed: 13 })
    expect(judged).toMatchObject({ rows: 5, wins: 3, ties: 1, losses: 1 })
    expect(judged.winRate.value).toBeCloseTo(0.7, 9)
    expect(judged.signTest).toBeCloseTo(0.625, 9)
    expect(judged.consistency).toBeCloseTo(0.8, 9)
    expect(judged.firstRate).toBeCloseTo((4 * 0.5 + 1) / 5, 9)
    // Here the longer one always wins, so that at equal length neither does.
    expect(judged.lengthControlled!.value).toBeGreaterThan(0.4)
    expect(judged.lengthControlled!.value).toBeLessThan(0.65)
    // The other way round every rate is the rest of 1.
    const swapped = judgedPairs([lost(0), lost(1), lost(2), won(3), tied(4)], { seed: 13 })
    expect(swapped.winRate.value + judged.winRate.value).toBeCloseTo(1, 9)
    expect(swapped.lengthControlled!.value + judged.lengthControlled!.value).toBeCloseTo(1, 6)
    expect(judgedPairs([tied(0)], { seed: 13 }).lengthControlled).toBeUndefined()
  })

  test('the rate at equal length is the rate where lengths say nothing, and stays finite where one side always wins', () => {
    expect(
      rateAtEqualLength(
        [1, 0, 1, 1],
        [1, 1, -1, -1].map(x => x * 0),
      ),
    ).toBeCloseTo(0.75, 6)
    expect(rateAtEqualLength([1, 1, 0, 1, 1, 0], [5, -5, 5, -5, 5, -5])).toBeCloseTo(2 / 3, 6)
    expect(rateAtEqualLength([1, 1, 1], [1, 2, 3])).toBeGreaterThan(0.9)
    // Wins are of the longer side alone.
    expect(rateAtEqualLength([1, 1, 0, 0], [4, 4, -4, -4])).toBeCloseTo(0.5, 6)
  })

  test('judges agree with themselves, and by chance with one that decides nothing', () => {
    const [one, other] = [
      [0.1, 0.9, 0.1],
      [0.9, 0.1, 0.1],
    ].map(said => said.map((p, i) => judgementOf(pair(i), p, 1 - p))) as never[]
    expect(agreementOf(one!, one!)).toEqual({ share: 1, kappa: 1 })
    expect(agreementOf(one!, other!).share).toBeCloseTo(1 / 3, 9)
    expect(agreementOf(one!, other!).kappa).toBeCloseTo((1 / 3 - 5 / 9) / (4 / 9), 9)
  })

  test('an endpoint says a or b, or nothing of use', () => {
    expect(['Output (a)', '(B) is better', 'b.', 'Output a'].map(readVerdict)).toEqual([1, 0, 0, 1])
    expect(['both (a) and (b)', 'I think a tie is fair', '', 'abba'].map(readVerdict)).toEqual([0.5, 0.5, 0.5, 0.5])
  })
})

/** An endpoint that says what it is told to. */
async function endpoint(answer: (body: string, times: number) => { status?: number; text: string }): Promise<string> {
  let times = 0
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', part => {
      body += part
    })
    request.on('end', () => {
      const { status = 200, text } = answer(body, times++)
      response.writeHead(status, { 'content-type': 'application/json' }).end(text)
    })
  })
  servers.push(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
}
const completion = (content: string) => JSON.stringify({ choices: [{ message: { content } }] })

const rows = (name: string, texts: readonly string[], more: object = {}) => {
  const path = join(folder, `${name}.jsonl`)
  writeFileSync(
    path,
    texts.map((text, index) => `${JSON.stringify({ index, score: 0, input: `question ${index}`, text, ...more })}\n`).join(''),
  )
  return path
}

test('an endpoint judges each pair twice, equal answers are not asked about, and what it said is kept', async () => {
  const asked: string[] = []
  // It likes what holds the word good, wherever that stands; and it is busy at first.
  const url = await endpoint((body, times) => {
    if (times === 0) return { status: 503, text: 'busy' }
    const { messages } = JSON.parse(body) as { messages: [{ content: string }] }
    asked.push(messages[0].content)
    const first = /# Output \(a\)\n(.*)/.exec(messages[0].content)![1]!
    return { text: completion(first.includes('good') ? 'Output (a)' : 'Output (b)') }
  })
  const [a, b] = [rows('a', ['bad', 'bad', 'same', 'good']), rows('b', ['good', 'good one', 'same', 'bad'])]
  const judgements = join(folder, 'judgements.jsonl')
  const judge = { url, model: 'judge' }
  const { judges, agreement } = await judgeRuns([a, b], { judges: [judge, judge], judgements })
  expect(judges[0]).toMatchObject({ name: 'judge', wins: 2, ties: 1, losses: 1, consistency: 1, firstRate: 0.5, leftOut: 0 })
  expect(judges[0]!.winRate.value).toBeCloseTo(0.625, 9)
  expect(agreement![0]![1]).toEqual({ share: 1, kappa: 1 })
  // Three pairs in both orders, and four answers beside themselves, each by two judges.
  expect(asked).toHaveLength(2 * (3 * 2 + 4))
  const kept = readFileSync(judgements, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as { judge?: string; score?: number })
  expect(kept.map(({ judge: name, score }) => name ?? score)).toEqual(['judge', 1, 1, 0.5, 0, 'judge', 1, 1, 0.5, 0])
  expect(await problemOf(judgeRuns([a, b], { judges: [judge], judgements }))).toMatchObject({ code: 'file-exists' })
  // A against A is even, whoever judges.
  expect((await judgeRuns([a, a], { judges: [judge] })).judges[0]).toMatchObject({
    winRate: { value: 0.5, low: 0.5, high: 0.5 },
    ties: 4,
  })
})

test('a judge that always says the same decides nothing, and that is said; one that says nothing fails', async () => {
  const same = await endpoint(() => ({ text: completion('(a)') }))
  const [a, b] = [rows('c', ['x', 'y']), rows('d', ['z', 'u'])]
  const warnings: string[] = []
  const { judges } = await judgeRuns([a, b], {
    judges: [{ url: same, model: 'm' }],
    onWarning: ({ code }) => warnings.push(code),
  })
  expect(judges[0]).toMatchObject({ ties: 2, firstRate: 1, firstOfEqual: 1, winRate: { value: 0.5 } })
  expect(warnings).toEqual(['judge-answers-alike'])
  const wrong = await endpoint(() => ({ text: '{"error": "no such model"}' }))
  expect(await problemOf(judgeRuns([a, b], { judges: [{ url: wrong, model: 'm', tries: 1 }] }))).toMatchObject({
    code: 'endpoint-bad-reply',
  })
  const misspelt = { url: wrong, modle: 'm' } as never
  expect(await problemOf(judgeRuns([a, b], { judges: [misspelt] }))).toMatchObject({ code: 'unknown-option' })
  expect(await problemOf(judgeRuns([a, b], { judges: [] }))).toMatchObject({ code: 'missing-option' })
  expect(
    await problemOf(judgeRuns([a, rows('e', ['x', 'y'], { text: undefined })], { judges: [{ url: wrong, model: 'm' }] })),
  ).toMatchObject({ code: 'no-texts' })
  const controller = new AbortController()
  controller.abort()
  const judge = await endpointJudge({ url: wrong, model: 'm' }, { instruction: '', seed: 1, signal: controller.signal })
  expect(await problemOf(judge.prefer(bothOrders(pair(0))[0]))).toMatchObject({ code: 'aborted' })
})

test('a model judges by how likely it says either, as its own log-probabilities have it', async () => {
  await using model = await LanguageModel.load(toyModel, { threads: 1 })
  const judge = modelJudge(model, 'Which?')
  const [question] = bothOrders(pair(0, 'the wine', 'the stone'))
  const found = await judge.prefer(question)
  const isChat = model.tokenizer.chatTemplate !== undefined
  const text = `Which?\n\n# Input\nq\n\n# Output (a)\nthe wine\n\n# Output (b)\nthe stone\n\nAnswer with "Output (a)" or "Output (b)" and nothing else.`
  const before = isChat
    ? model.tokenizer.applyChatTemplate([{ role: 'user', content: text }], { addGenerationPrompt: true })
    : `${text}\n\nAnswer: `
  const whole = ['a', 'b'].map(letter => model.tokenizer.encode(`${before}Output (${letter})`, { addSpecialTokens: !isChat }))
  expect(Math.max(...whole.map(({ length }) => length))).toBeLessThanOrEqual(model.config.maxPositionEmbeddings)
  const said = (await model.logProbabilities(whole)).map(values => [...values].filter(Number.isFinite).reduce((a, b) => a + b, 0))
  expect(found).toBeCloseTo(1 / (1 + Math.exp(said[1]! - said[0]!)), 4)
  expect(await judge.prefer({ input: 'q '.repeat(500), first: 'x', second: 'y' })).toBeNull()
})
