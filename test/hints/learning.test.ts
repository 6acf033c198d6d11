import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { learnRounds, type TrainingRow } from '../../src/api/hints/rounds.js'
import { readTask } from '../../src/data/task.js'
import { evaluate, generate, hints, loadModel, serve } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import type { Asking } from '../../src/strategies/strategy.js'
import { parseConfig } from '../../src/train/config.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** A policy that learns to write hints for a tiny model, and answers that are given behind them. */

const { folder, remove } = temporaryFolder()
let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(async () => {
  await model.dispose()
  remove()
})

const configIn = (out: string) => {
  const { model: _, data, ...config } = toyConfig(folder, { train: { steps: 6 } })
  return { ...config, model, data: { ...data, limit: { train: 6 } }, out }
}
const small = { instruction: 'say', samples: 3, maxHintTokens: 3, fixedTexts: 2, temperature: 1 }
const linesOf = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n').map(line => JSON.parse(line)) // biome-ignore format: one line

/** Likelihoods of a table: one text makes every answer likelier. */
function ofTable(gainOf: (hint: string) => number) {
  const asked: string[] = []
  const likelihoods = {
    async of(_: string, rows: readonly { readonly hint: string }[]) {
      asked.push(...rows.map(({ hint }) => hint))
      return rows.map(({ hint }) => ({ score: hint === '' ? -3 : -3 + gainOf(hint) }))
    },
  }
  return { likelihoods: likelihoods as never, asked }
}

const rows = ['the wine', 'on stone', 'at hand'].map((text, index): TrainingRow => ({ record: {}, index, text, answers: [] }))
const rounds = (out: string, gainOf: (hint: string) => number, given: object = {}) => {
  mkdirSync(out, { recursive: true })
  const { likelihoods, asked } = ofTable(gainOf)
  const config = parseConfig(toyConfig(folder, { train: { steps: 30 } }))
  const form = { instruction: 'say', say: 'Hint: {hint}', maxHintTokens: 1 }
  const common = { model, config, form, rows, likelihoods, signal: undefined, onEvent: undefined, onProgress: () => {} }
  return learnRounds({ ...common, samples: 24, rounds: 3, temperature: 1, out, ...given }).then(learned => ({
    ...learned,
    asked,
  }))
}

test('the text of the highest gain is learned, and each round makes it likelier', async () => {
  // Which texts the model writes at all.
  const probe = await rounds(join(folder, 'probe'), () => -1, { rounds: 1 })
  const sought = probe.asked.filter(hint => hint !== '').sort()[0]!
  const out = join(folder, 'table')
  const { kept, figures } = await rounds(out, hint => (hint === sought ? 2 : -1))
  const found = kept.flatMap(one => one ?? [])
  expect(found.length).toBeGreaterThan(0)
  for (const one of found) expect(one).toEqual({ hint: sought, gain: 2, leaks: false })
  for (const [i, { kept, helping, gain }] of figures.entries()) {
    expect(kept).toBeGreaterThanOrEqual(figures[i - 1]?.kept ?? 1)
    // What the policy of each round writes is worth more than what the one before wrote.
    if (i > 0)
      expect([helping > figures[i - 1]!.helping, gain > figures[i - 1]!.gain], JSON.stringify(figures)).toEqual([true, true])
  }
  const likelihood = async (prompt: string | undefined) => {
    const data = rows.map(({ text }) => ({ ask: `${text}\n\nsay`, hint: sought }))
    const { metrics } = await evaluate({
      model,
      data,
      prompt,
      template: '{ask}\n',
      answer: '{hint}',
      answerType: 'text',
      answerEnd: 'none',
    })
    return metrics.logLikelihood!.value
  }
  const course = [await likelihood(undefined)]
  for (const round of [1, 2, 3]) course.push(await likelihood(join(out, `round-${round}`)))
  for (let round = 1; round < course.length; round++) expect(course[round]).toBeGreaterThan(course[round - 1]!)
  // Equal texts of a row are scored once.
  const scored = probe.asked.filter(hint => hint !== '')
  expect(scored.length).toBeLessThan(72)
})

test('texts that say the answer are not scored; where none gains nothing is learned', async () => {
  const out = join(folder, 'nothing')
  const { policy, kept, figures } = await rounds(out, () => -1, { rounds: 2 })
  expect(policy).toBeUndefined()
  expect(kept).toEqual([undefined, undefined, undefined])
  expect(figures).toHaveLength(2)
  expect(figures[0]).toMatchObject({ helping: 0, kept: 0, leaked: 0 })
  expect(readdirSync(out).some(name => name === 'round-1')).toBe(false)
  const texts = linesOf(join(out, 'round-1-texts.jsonl')).map(({ text }) => String(text).trim())
  const word = texts.find(text => /^\p{L}+$/u.test(text))!
  const answered = rows.map(row => ({ ...row, answers: [word] }))
  const { asked, figures: told } = await rounds(join(folder, 'leaking'), () => 1, { rounds: 1, rows: answered })
  expect(asked).not.toContain(word)
  expect(told[0]!.leaked).toBeGreaterThan(0)
})

const out = join(folder, 'hints')

test('goes on where it was stopped, measures every way, and is returned at once when it is whole', async () => {
  const stop = new AbortController()
  const stopped = hints(configIn(out), {
    ...small,
    signal: stop.signal,
    onEvent: event => event.event === 'step' && event.step === 2 && stop.abort(),
  })
  expect((await problemOf(stopped)).code).toBe('aborted')
  const before = statSync(join(out, 'round-1-texts.jsonl')).mtimeMs
  const result = await hints(configIn(out), small)
  expect(statSync(join(out, 'round-1-texts.jsonl')).mtimeMs).toBe(before)
  expect(result).toMatchObject({
    of: 'test',
    rows: 4,
    trainingRows: 6,
    say: 'Hint: {hint}',
    policy: join(out, 'round-2'),
    classes: ['the', 'of'],
  })
  expect(result.rounds).toHaveLength(2)
  for (const { texts, tokens, kept } of result.rounds) {
    expect(texts).toBe(18)
    expect(tokens).toBeLessThanOrEqual(54)
    expect(kept).toBeGreaterThan(0)
  }
  // The best of two rounds is no worse than that of one, row by row.
  const sums = result.rounds.map(({ kept, keptGain }) => kept * keptGain)
  expect(sums[1]).toBeGreaterThanOrEqual(sums[0]!)
  const { none, fixed, untrained, policy } = result.conditions
  expect([none, fixed, untrained, policy].map(({ calls }) => calls)).toEqual([1, 1, 2, 2])
  // What was scored is what an evaluation says of the same rows, and with the hint in the template.
  const { test: tested } = await readTask(parseConfig({ ...configIn(out), model: toyModel }))
  const task = { model, answer: ' {label}', answerEnd: 'none', labels: { 0: 'the', 1: 'of' } }
  const plain = await evaluate({ ...task, data: tested, template: '{text} -' })
  expect(none.accuracy!.value).toBe(plain.metrics.accuracy!.value)
  const sharesOf = ({ predictions }: typeof plain) =>
    predictions!.map(({ label, logLikelihoods: [the, of] }) => -Math.log1p(Math.exp(label === 'the' ? of! - the! : the! - of!)))
  const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  expect(none.score.value).toBeCloseTo(meanOf(sharesOf(plain)), 6)
  const texts = linesOf(join(out, 'measured-policy-scores.jsonl')).map(({ text }) => text)
  const hinted = await evaluate({ ...task, data: tested.map((row, i) => ({ ...row, z: texts[i] })), template: 'Hint: {z}\n\n{text} -' }) // biome-ignore format: one line
  expect(texts).not.toContain('')
  expect(policy.score.value).toBeCloseTo(meanOf(sharesOf(hinted)), 6)

  const time = statSync(join(out, 'hints.json')).mtimeMs
  expect(await hints(configIn(out), small)).toEqual(result)
  expect(statSync(join(out, 'hints.json')).mtimeMs).toBe(time)
  expect((await problemOf(hints(configIn(out), { ...small, samples: 4 }))).code).toBe('other-hints')
})

test('an uninterrupted call comes to the same', async () => {
  const other = join(folder, 'at-once')
  const { folder: _, policy, ...result } = await hints(configIn(other), small)
  const { folder: __, policy: ___, ...before } = await hints(configIn(out), small)
  expect(policy).toBe(join(other, 'round-2'))
  expect(result).toEqual(before)
})

const data = ['the wine', 'on stone'].map((text, i) => ({ text, answer: ['a', 'the'][i]! }))
const asked = {
  data,
  template: '{text} -',
  answer: ' {answer}',
  answerEnd: 'none',
  answerType: 'text',
  maxNewTokens: 4,
  seed: 5,
} as const
const strategy = (write: string, from = out) => ({ type: 'hints', from, write })

test('a hint of the policy stands before what is answered; the fixed one costs no call', async () => {
  const heard = await evaluate({ model, ...asked, strategy: strategy('policy') })
  for (const { scores } of heard.results) expect(scores).toMatchObject({ hinted: 1, calls: 2 })
  // The policy writes under its prompt, in the form that it was learned in.
  const ask = data.map(({ text }) => ({ ask: `${text} -\n\nsay` }))
  const written = await generate({ model, prompt: join(out, 'round-2'), inputs: ask, maxNewTokens: 3 })
  const first = written.map(({ text }) => text.split('\n').map(line => line.replaceAll(/\s+/g, ' ').trim()).find(line => /[\p{L}\p{N}]/u.test(line))) // biome-ignore format: one line
  const inputs = data.map(({ text }, i) => `Hint: ${first[i]}\n\n${text} -`)
  const answers = await generate({ model, inputs, maxNewTokens: 4 })
  expect(heard.results.map(({ text }) => text)).toEqual(answers.map(({ text }) => text))
  // Another policy would write something else.
  const untrained = await generate({ model, template: '{ask}\n', inputs: ask, maxNewTokens: 3 })
  expect(untrained.map(({ text }) => text)).not.toEqual(written.map(({ text }) => text))

  const { fixed } = await hints(configIn(out), small)
  const one = await evaluate({ model, ...asked, strategy: strategy('fixed') })
  const expected = await generate({ model, inputs: data.map(({ text }) => (fixed.hint === '' ? `${text} -` : `Hint: ${fixed.hint}\n\n${text} -`)), maxNewTokens: 4 }) // biome-ignore format: one line
  expect(one.results.map(({ text }) => text)).toEqual(expected.map(({ text }) => text))
  for (const { scores } of one.results) expect(scores).toMatchObject({ calls: 1 })
})

test('generate and serve answer with it as well, and what it has for itself is no model to be asked', async () => {
  const inputs = ['the wine']
  const [answer] = await generate({ model, inputs, strategy: strategy('policy'), maxNewTokens: 4, seed: 1 })
  expect(answer!.severally).toMatchObject({ calls: 2 })
  await using server = await serve({ model, port: 0, strategy: strategy('policy') })
  expect(server.models).toHaveLength(1)
  const body = JSON.stringify({ model: server.models[0], prompt: inputs[0], max_tokens: 4, temperature: 0 })
  const reply = await fetch(`${server.url}/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  expect(((await reply.json()) as { choices: { text: string }[] }).choices[0]!.text).toBe(answer!.text)
})

test('where nothing was learned, the answer is that of the base model', async () => {
  const from = join(folder, 'unlearned')
  const written = JSON.parse(readFileSync(join(out, 'hints.json'), 'utf8'))
  await hints(configIn(from), small)
  writeFileSync(join(from, 'hints.json'), JSON.stringify({ ...written, policy: null, fixed: '' }))
  const plain = await evaluate({ model, ...asked, generate: true })
  for (const write of ['policy', 'fixed']) {
    const same = await evaluate({ model, ...asked, strategy: strategy(write, from) })
    expect(same.results.map(({ text }) => text)).toEqual(plain.results.map(({ text }) => text))
    for (const { scores } of same.results) expect(scores).toMatchObject({ hinted: 0, calls: 1 })
  }
  rmSync(join(from, 'hints.json'))
  expect((await problemOf(evaluate({ model, ...asked, strategy: strategy('policy', from) }))).code).toBe('not-hints')
  writeFileSync(join(from, 'hints.json'), '{}')
  expect((await problemOf(evaluate({ model, ...asked, strategy: strategy('policy', from) }))).code).toBe('run-corrupt')
})

test("what a strategy of people's own prepares is looked at, and instructions may stand under its prompt", async () => {
  const heard: string[] = []
  const own = (prompts: unknown) => ({
    type: 'prepares',
    paper: 'none',
    prepare: async (options: object) => ({ options: { ...options, seen: true }, prompts }),
    async answer({ input }: { input: never }, model: Asking, options: { readonly seen?: boolean }) {
      heard.push(await model.instruct('the wine', { maxNewTokens: 3, under: 'mine' }), String(options.seen))
      const answer = await model.answer(input)
      return { answer, answers: [answer] }
    },
  })
  const asked = (prompts: unknown) =>
    generate({ model, inputs: ['it'], strategy: { type: own(prompts) as never }, maxNewTokens: 2 })
  expect(await problemOf(asked({ mine: 3 }))).toMatchObject({
    code: 'invalid-strategy',
    found: expect.stringContaining('prompts'),
  })
  const words = join(folder, 'words.txt')
  writeFileSync(words, 'say it')
  expect((await problemOf(asked({ mine: words }))).code).toBe('invalid-option')
  await asked({ mine: join(out, 'round-2') })
  const under = await generate({ model, prompt: join(out, 'round-2'), inputs: [{ ask: 'the wine' }], maxNewTokens: 3 })
  expect(heard).toEqual([under[0]!.text, 'true'])
})

test('mistakes are told before anything is written', async () => {
  const none = join(folder, 'none')
  const code = async (given: object, options: object = small) => (await problemOf(hints({ ...configIn(none), ...given } as never, options))).code // biome-ignore format: one line
  const { data } = configIn(none)
  expect(await code({ data: { ...data, split: undefined } })).toBe('no-rows')
  expect(await code({ train: { steps: 2, earlyStopping: { patience: 1 } } })).toBe('invalid-config')
  expect(await code({ train: { steps: 2, templates: ['{text} +'] } })).toBe('invalid-config')
  const found = async (given: object) => (await problemOf(hints({ ...configIn(none), ...given } as never, small))).found
  const steps = 2
  for (const [name, value] of Object.entries({
    ...{ evaluateEvery: 1, keep: 'best', samples: 2, privacy: { epsilon: 8 } },
    ...{ meta: { tasks: 'label' } },
  }))
    expect(await found({ train: { steps, [name]: value } })).toBe(`train.${name}`)
  for (const method of [
    { type: 'mpt', tasks: ['a', 'b'] },
    { type: 'personal', users: ['a', 'b'] },
  ])
    expect(await found({ method })).toBe(`method.type: ${method.type}`)
  expect(await code({ template: '{hint} {text}' })).toBe('unsupported-template')
  expect(await code({}, { ...small, kind: 'role' })).toBe('invalid-option')
  expect(await code({}, { kind: 'rol' })).toBe('invalid-option')
  expect(await code({}, { ...small, samples: 0 })).toBe('invalid-option')
  expect(await code({}, { ...small, temperature: 0 })).toBe('invalid-option')
  expect(await code({}, { ...small, say: 'Hint' })).toBe('invalid-option')
  expect(await code({}, { ...small, sample: 2 })).toBe('unknown-option')
  expect(existsSync(none)).toBe(false)
  writeFileSync(join(folder, 'other.txt'), '')
  expect(await code({ out: folder })).toBe('folder-not-empty')
})
