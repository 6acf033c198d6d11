import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import type { GenerationRequest } from '../../../src/generate/request.js'
import { activeRows } from '../../../src/sources/prompt.js'
import { count, engines, failure, open, tiny } from '../support/engines.js'

describe('an answer ends', () => {
  test('at the end token, which is not part of it', async () => {
    const engine = await engines
    const whole = await engine.generate({ ids: count(20), maxNewTokens: 30 })
    const end = whole.ids[7]!
    const first = whole.ids.indexOf(end)
    const found = await engine.generate({ ids: count(20), maxNewTokens: 30, stopTokenIds: [end], logProbabilities: true })
    expect(found).toMatchObject({ ids: whole.ids.slice(0, first), finishReason: 'stop', stoppedBy: end })
    expect(found.logProbabilities).toHaveLength(first)
    const own = await open(await tiny, { endTokenIds: [end] })
    expect((await own.generate({ ids: count(20), maxNewTokens: 30 })).ids).toEqual(found.ids)
    await own.dispose()
  })

  test('at a stop string, and the pieces are its text', async () => {
    const engine = await engines
    const whole = await engine.generate({ ids: count(20), maxNewTokens: 30 })
    const stop = whole.text.slice(5, 8)
    const pieces: string[] = []
    const found = await engine.generate({ ids: count(20), maxNewTokens: 30, stop: [stop], onText: piece => pieces.push(piece) })
    expect(found).toMatchObject({ text: whole.text.slice(0, whole.text.indexOf(stop)), finishReason: 'stop', stoppedBy: stop })
    expect(pieces.join('')).toBe(found.text)
    const never = await engine.generate({ ids: count(20), maxNewTokens: 30, stop: ['no such text'] })
    expect(never).toMatchObject({ text: whole.text, finishReason: 'length' })
  })

  test('when it is aborted: its place is free at once', async () => {
    const model = await tiny
    const engine = await open(model, { batchSize: 2 })
    const control = new AbortController()
    let pieces = 0
    const onText = () => {
      if (++pieces === 5) control.abort()
    }
    const long = engine.generate({ ids: count(8), maxNewTokens: 400, signal: control.signal, onText })
    const other = engine.generate({ ids: count(9), maxNewTokens: 3 })
    const waiting = engine.generate({ ids: count(10), maxNewTokens: 3, signal: control.signal })
    const found = await long
    expect(found.finishReason).toBe('aborted')
    expect(found.ids.length).toBeGreaterThan(3)
    expect(found.ids.length).toBeLessThan(40)
    expect((await other).finishReason).toBe('length')
    expect(['aborted', 'length']).toContain((await waiting).finishReason)
    const late = await engine.generate({ ids: [1], maxNewTokens: 5, signal: AbortSignal.abort() })
    expect(late).toMatchObject({ finishReason: 'aborted', ids: [] })
    expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
    await engine.dispose()
  })

  test('with an error where what is computed is no number, and only that one does', async () => {
    const model = await tiny
    const rows = (value: number) => new Float32Array(2 * model.config.hiddenSize).fill(value)
    const shape = [2, model.config.hiddenSize] as const
    const usual = activeRows({ data: rows(0.1), shape }, model)
    // What is read from files is refused before; what a method makes of it may be none all the same.
    const unreal = { ...usual, parameters: new Map([['prompt', rows(Number.NaN)]]) }
    const engine = await open(model, { prompts: { unreal, usual } })
    const [failed, other] = await Promise.all([
      failure(engine.generate({ ids: count(9), maxNewTokens: 3, prompt: 'unreal' })),
      engine.generate({ ids: count(9), maxNewTokens: 3, prompt: 'usual' }),
    ])
    expect(failed).toMatchObject({ code: 'not-finite', exitCode: 1 })
    expect(other.ids).toHaveLength(3)
    expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
    await engine.dispose()
    expect(() => activeRows({ data: rows(Number.NaN), shape }, model)).toThrow(/not finite/)
  })

  test('when all are aborted by one signal, which is listened to once', async () => {
    const engine = await open(await tiny, { batchSize: 1 })
    const control = new AbortController()
    const { signal } = control
    const requests = Array.from({ length: 12 }, (_, i) => engine.generate({ ids: [i + 1], maxNewTokens: 400, signal }))
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    control.abort()
    for (const { finishReason } of await Promise.all(requests)) expect(finishReason).toBe('aborted')
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    await engine.dispose()
  })

  test('with an error when what listens to its text fails, alone', async () => {
    const engine = await engines
    const broken = engine.generate({
      ids: count(8),
      maxNewTokens: 20,
      onText: () => {
        throw new Error('closed')
      },
    })
    const whole = engine.generate({ ids: count(8), maxNewTokens: 20 })
    await expect(broken).rejects.toThrow('closed')
    expect((await whole).finishReason).toBe('length')
    expect(engine.state).toMatchObject({ running: 0, blocks: 0 })
  })

  test('when the engine is disposed', async () => {
    const engine = await open(await tiny, { batchSize: 1 })
    let begin: () => void
    const begun = new Promise<void>(resolve => {
      begin = resolve
    })
    const requests = [1, 2, 3].map(i => engine.generate({ ids: [i], maxNewTokens: 500, onText: () => begin() }))
    await begun
    await engine.dispose()
    for (const { finishReason } of await Promise.all(requests)) expect(finishReason).toBe('aborted')
    expect(await failure(engine.generate({ ids: [1], maxNewTokens: 1 }))).toMatchObject({ code: 'disposed' })
  })

  test('at once when nothing is asked for', async () => {
    expect(await (await engines).generate({ ids: [1], maxNewTokens: 0 })).toEqual({
      ids: [],
      text: '',
      finishReason: 'length',
      promptTokens: 1,
    })
  })
})

describe('refused with what was found and expected', () => {
  test.each<[string, GenerationRequest]>([
    ['empty-prompt', { ids: [], maxNewTokens: 1 }],
    ['invalid-token-id', { ids: [1, 1e6], maxNewTokens: 1 }],
    ['invalid-token-id', { ids: [1.5], maxNewTokens: 1 }],
    ['invalid-option', { ids: [1], maxNewTokens: -1 }],
    ['invalid-option', { ids: [1], maxNewTokens: 1.5 }],
    ['invalid-option', { ids: [1], maxNewTokens: 1, stop: [''] }],
    ['invalid-option', { ids: [1], maxNewTokens: 1, temperature: -1 }],
    ['unknown-prompt', { ids: [1], maxNewTokens: 1, prompt: 'x' }],
  ])('%s: %j', async (code, request) => {
    expect(await failure((await engines).generate(request))).toMatchObject({ code })
  })

  test('a prompt and new tokens beyond the context, with the figures', async () => {
    const [model, engine] = await Promise.all([tiny, engines])
    const { maxPositionEmbeddings: most } = model.config
    const error = await failure(engine.generate({ ids: count(10), maxNewTokens: most }))
    expect(error).toMatchObject({
      code: 'context-exceeded',
      found: `10 prompt tokens + ${most} new tokens = ${most + 10}`,
      expected: `${most} at most`,
      hint: `maxNewTokens can be ${most - 10} here`,
    })
    const full = await engine.generate({ ids: count(10), maxNewTokens: most - 10 })
    expect(full.ids).toHaveLength(most - 10)
  })

  test('more keys and values than the cache may hold; what fits waits its turn', async () => {
    const model = await tiny
    const engine = await open(model, { cacheBytes: 12 * 3 * 2 * 2 * 8 * 32 * 4 })
    const error = await failure(engine.generate({ ids: count(10), maxNewTokens: 480 }))
    expect(error).toMatchObject({ code: 'not-enough-memory' })
    const found = await Promise.all(
      Array.from({ length: 12 }, (_, i) => engine.generate({ ids: count(i + 1), maxNewTokens: 40 })),
    )
    for (const { ids } of found) expect(ids).toHaveLength(40)
    await engine.dispose()
  })
})

test('memory does not grow with the number of requests', async () => {
  const engine = await open(await tiny, { batchSize: 16 })
  const round = (first: number, size: number) =>
    Promise.all(
      Array.from({ length: size }, (_, i) =>
        engine.generate({ ids: [...count(33), (first + i) % 90, (first * 7 + i) % 89], maxNewTokens: 2 }),
      ),
    )
  await round(0, 100)
  const early = engine.state
  for (let i = 1; i <= 15; i++) await round(i, 100)
  expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
  expect(engine.state.keptBytes).toBe(early.keptBytes)
  await engine.dispose()
})

test('a top-p of zero is refused also where a program has run, behind which the least numbers are zero', async () => {
  const engine = await engines
  await engine.generate({ ids: count(3), maxNewTokens: 1 })
  const error = await failure(engine.generate({ ids: count(3), maxNewTokens: 1, topP: 0 }))
  expect(error).toMatchObject({ code: 'invalid-option', found: '0', expected: 'a number above 0 to 1' })
})
