import OpenAI from 'openai'
import { afterEach, beforeAll } from 'vitest'
import { loadTokenizer, type Tokenizer } from '../../../src/formats/tokenizer.js'
import { openCheckpoint } from '../../../src/model/weights/checkpoint.js'
import { type RunningServer, type ServedRequest, type ServerOptions, startServer } from '../../../src/serve/server.js'
import { FakeGenerator, type Script } from '../../support/fake-generator.js'

export let tokenizer: Tokenizer
beforeAll(async () => {
  const checkpoint = await openCheckpoint('models/smollm2-135m-instruct')
  await checkpoint.file.close()
  tokenizer = await loadTokenizer(checkpoint.tokenizer)
})

export const token = 'secret-token'
export const capital: Script = { pieces: ['The', ' capital', ' is', ' Paris', '.'], finishReason: 'stop' }
export const hello = [{ role: 'user' as const, content: 'Hello' }]

export const servers: RunningServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
})

export async function serve(script: Script | ((index: number) => Script) = capital, options: Partial<ServerOptions> = {}) {
  const generator = new FakeGenerator((_, index) => (typeof script === 'function' ? script(index) : script))
  const served: ServedRequest[] = []
  const server = await startServer({
    generator,
    tokenizer,
    contextLength: 200,
    vocabSize: tokenizer.vocabSize,
    models: [
      { id: 'base', numVirtualTokens: 0 },
      { id: 'sst2', prompt: 'sst2', numVirtualTokens: 20 },
    ],
    weights: 'fp32',
    fingerprint: 'fp32-0123',
    maxNewTokens: 100,
    port: 0,
    token,
    onRequest: request => served.push(request),
    ...options,
  })
  servers.push(server)
  const client = new OpenAI({ baseURL: server.url, apiKey: token, maxRetries: 0 })
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  return { server, generator, client, post, served }
}

/** What a promise of the client is rejected with. */
export async function apiError(promise: Promise<unknown>) {
  const error = await promise.then(
    () => new Error('nothing was thrown'),
    (cause: unknown) => cause,
  )
  if (error instanceof OpenAI.APIError) return error
  throw error
}
