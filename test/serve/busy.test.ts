import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test, vi } from 'vitest'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { bundledModel } from '../../src/package-root.js'
import { TokenizingThread } from '../../src/serve/tokenizing.js'
import { capital, serve, token } from './support/served.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

describe('whatever one client sends, another is answered within half a second', () => {
  /** The longest that a second client has waited while the first one was answered: all of them are in this process, at times busy. */
  async function waits(url: string, first: Promise<Response>): Promise<{ status: number; worst: number }> {
    let isDone = false
    const ended = first.finally(() => {
      isDone = true
    })
    let worst = 0
    while (!isDone) {
      const started = performance.now()
      const response = await fetch(`${url}/models`, { headers: { authorization: `Bearer ${token}` } })
      await response.arrayBuffer()
      worst = Math.max(worst, performance.now() - started)
    }
    return { status: (await ended).status, worst }
  }

  const million = 1_000_000
  test.each<[string, number, object]>([
    ['letters in a long context', 10 ** 6, { prompt: 'a'.repeat(million / 4) }],
    ['letters that cannot fit', 200, { prompt: 'a'.repeat(million) }],
    ['words', 10 ** 6, { prompt: 'word and '.repeat(million / 9) }],
    ['marks in the wrong order', 10 ** 6, { prompt: `a${'\u0301\u0323'.repeat(million / 8)}` }],
    ['tokens', 200, { prompt: Array.from({ length: million }, (_, i) => i % 1000) }],
    ['texts', 200, { prompt: Array.from({ length: million / 4 }, () => 'a') }],
    ['stops', 200, { prompt: 'a', stop: Array.from({ length: million / 4 }, () => 'a') }],
    ['fields', 200, Object.fromEntries(Array.from({ length: million / 20 }, (_, i) => [`temperatur${i}`, 1]))],
    ['letters of choices', 200, { prompt: 'a', guided_choice: Array.from({ length: 1000 }, (_, i) => `${i} `.repeat(250)) }],
    [
      'choices and prompts',
      200,
      { prompt: Array(256).fill('a'), guided_choice: Array.from({ length: 1000 }, (_, i) => `of ${i}`) },
    ],
    [
      'choices and samples',
      200,
      { prompt: 'a', n: 128, guided_choice: Array.from({ length: 1000 }, (_, i) => `of ${i} `.repeat(9)) },
    ],
    ['a field with a long name', 200, { ['temperature'.repeat(million / 11)]: 1 }],
  ])('a million %s', { retry: 2 }, async (_, contextLength, body) => {
    const checkpoint = await openCheckpoint(bundledModel)
    await checkpoint.file.close()
    const thread = new TokenizingThread(checkpoint.tokenizer)
    const { server, post } = await serve(capital, { contextLength, encodeLong: (text, options) => thread.encode(text, options) })
    await thread.encode('a')
    const { worst } = await waits(server.url, post('/completions', { model: 'base', max_tokens: 1, ...body }))
    await thread[Symbol.asyncDispose]()
    expect(worst).toBeLessThan(500)
  })

  test('lists in lists and names by the million are refused by their bytes; in a text they are letters', async () => {
    const { server, post, client } = await serve()
    for (const body of [
      '['.repeat(4 * million),
      JSON.stringify(Object.fromEntries(Array.from({ length: 3e5 }, (_, i) => [`k${i}`, null]))),
    ]) {
      const { worst, status } = await waits(server.url, post('/completions', body))
      expect(status).toBe(400)
      expect(worst).toBeLessThan(500)
    }
    const letters = '[{"a":\\'.repeat(20)
    expect((await client.completions.create({ model: 'base', prompt: letters, max_tokens: 1 })).choices).toHaveLength(1)
    const refused = await (await post('/completions', { model: 'base', prompt: '[{:"\\'.repeat(30_000) })).text()
    expect(refused).toContain('context_length_exceeded')
  })

  test('a path of slashes', async () => {
    const { server } = await serve()
    const started = performance.now()
    const response = await fetch(`${server.url}${'/'.repeat(15_000)}x`, { headers: { authorization: `Bearer ${token}` } })
    expect(response.status).toBe(404)
    expect(performance.now() - started).toBeLessThan(500)
  })

  test('connections on which nothing is asked make room', async () => {
    const { server } = await serve()
    const sockets: Socket[] = []
    // Few at a time: of many at once some wait in the system's queue, where no server knows of them.
    for (let i = 0; i < 11; i++) {
      const some = Array.from({ length: 100 }, () => connect(server.port, '127.0.0.1').on('error', () => {}))
      sockets.push(...some)
      await Promise.all(some.map(socket => once(socket, 'connect')))
    }
    const isClosed = (socket: Socket) => socket.destroyed || socket.closed
    await vi.waitFor(() => expect(sockets.filter(isClosed).length).toBeGreaterThan(300), 30_000)
    const response = await fetch(`${server.url}/models`, { headers: { authorization: `Bearer ${token}` } })
    expect(response.status).toBe(200)
    for (const socket of sockets) socket.destroy()
  })

  test('memory stays as it is over many requests and many that hang up', async () => {
    const { server, post } = await serve({ pieces: ['a', 'b'] })
    const body = { model: 'base', prompt: 'a'.repeat(2000), stream: true, max_tokens: 2 }
    const many = async (count: number) => {
      for (let i = 0; i < count; i += 20)
        await Promise.all(
          Array.from({ length: 20 }, async (_, j) => {
            const response = await post('/completions', body).catch(() => undefined)
            if (j % 4 === 0) await response?.body?.cancel()
            else await response?.text()
          }),
        )
      await vi.waitFor(() => expect(server.active).toBe(0))
      collectGarbage()
      return process.memoryUsage().heapUsed
    }
    await many(200)
    const before = await many(200)
    expect((await many(400)) - before).toBeLessThan(30e6)
  })
})
