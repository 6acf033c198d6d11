import { createHash } from 'node:crypto'
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { readCalls } from '../../src/endpoint/journal.js'
import { type Subject, search, toyModel } from './subjects.js'

/** Searches by whole texts that `npm run crash` kills: with critics on this machine, and behind an endpoint that counts what it is asked. */

/** The tiny model with room for what a critic is asked: its positions are rotations, which go on for ever. */
function longModel(folder: string): string {
  const long = join(folder, 'long-toy')
  cpSync(toyModel, long, { recursive: true })
  const path = join(long, 'config.json')
  const config = JSON.parse(readFileSync(path, 'utf8')) as object
  writeFileSync(path, JSON.stringify({ ...config, max_position_embeddings: 4096 }))
  return long
}

const files = ['prompt.json', 'candidates.json', 'written.jsonl', 'config.yaml']
const words = ['a', 'the', 'of', 'and', 's', 'w', 'o', 't']

export interface WrittenSubjects extends AsyncDisposable {
  readonly subjects: readonly Subject[]
}

/** @param folder where the model stands */
export async function writtenSubjects(folder: string): Promise<WrittenSubjects> {
  const model = longModel(folder)
  /** Requests whose replies stood in a run's journal when it was killed, and of these those that were sent again. */
  const answered = new Set<string>()
  const repeated: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      const hash = createHash('sha256').update(body).digest('hex')
      if (answered.has(hash)) repeated.push(hash)
      // What is answered is a function of what is asked, so that a run can come to the same bits.
      const [a, b] = [0, 1].map(i => words[Number.parseInt(hash[i]!, 16) % words.length])
      const message = { content: `<prompt>${a} ${b}</prompt>` }
      const usage = { prompt_tokens: 20, completion_tokens: 5 }
      response.end(JSON.stringify({ model: 'stub', choices: [{ message, finish_reason: 'stop' }], usage }))
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  const written = (name: string, options: Readonly<Record<string, unknown>>): Subject => ({
    name,
    config: { ...search({ vocabulary: 'any', rerank: 1, maxWrittenTokens: 8, temperature: 1, ...options }), model },
    files,
  })
  return {
    subjects: [
      written('gepa', { type: 'gepa', minibatch: 2, questions: 8, steps: 5 }),
      written('spo', { type: 'spo', samples: 2, questions: 8, steps: 4 }),
      {
        ...written('opro-endpoint', {
          type: 'opro',
          ...{ proposals: 3, questions: 8, steps: 6 },
          optimizer: { url, model: 'stub', parallel: 2, price: { input: 1, output: 2 } },
        }),
        files: [...files, 'calls.jsonl'],
        sorted: ['calls.jsonl'],
        killed(out) {
          const path = join(out, 'calls.jsonl')
          if (existsSync(path)) for (const { request } of readCalls(path)) answered.add(request)
        },
        begun: () => answered.clear(),
        problems: () => repeated.splice(0).map(hash => `a request that was answered was sent again: ${hash.slice(0, 12)}…`),
      },
    ],
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
