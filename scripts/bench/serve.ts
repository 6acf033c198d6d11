import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { LanguageModel } from '../../src/model/language-model.js'
import { modelFile } from './peer.js'
import { median, round } from './processes.js'
import { sst2 } from './protocol.js'

export const usage = `npm run bench -- serve [--tokens 6000] [--requests 20]

How long a client waits for one token behind a short text while another sends a long text after the other: seconds, of the whole request.`

const reviews = sst2('dev.tsv').map(({ text }) => text)

async function ended(server: ChildProcess): Promise<void> {
  server.kill('SIGTERM')
  if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
}

export async function run(args: readonly string[]): Promise<object> {
  const option = (name: string, fallback: number) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : fallback)
  const tokens = option('--tokens', 6000)
  const requests = option('--requests', 20)
  await using model = await LanguageModel.load(modelFile())
  // A process of its own: a run holds its thread, and a client's clock must not wait with it.
  const command = ['dist/src/cli/main.js', 'serve', '--model', modelFile(), '--port', '0', '--no-token', '--json']
  const server = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] })
  await using _ = { [Symbol.asyncDispose]: () => ended(server) }
  const [line] = (await once(createInterface(server.stdout), 'line')) as [string]
  const { url, models } = JSON.parse(line) as { url: string; models: string[] }
  const ask = async (prompt: string) => {
    const start = performance.now()
    const response = await fetch(`${url}/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: models[0], prompt, max_tokens: 1, temperature: 0 }),
    })
    if (!response.ok) throw new Error(await response.text())
    await response.json()
    return (performance.now() - start) / 1000
  }
  const all = model.tokenizer.encode(reviews.join('. '), { addSpecialTokens: false })
  // None begins as another does: what several begin with is computed once.
  const long = (i: number) => model.tokenizer.decode([...all.slice(i * 97), ...all].slice(0, tokens))
  await ask('A first one.')
  const alone = median([await ask(reviews[0]!), await ask(reviews[1]!), await ask(reviews[2]!)])
  const longAlone = await ask(long(0))
  let isOver = false
  const other = (async () => {
    for (let i = 1; !isOver; i++) await ask(long(i))
  })()
  const waits: number[] = []
  for (let i = 0; i < requests; i++) {
    await setTimeout(300 + 170 * (i % 7))
    waits.push(await ask(reviews[10 + i]!))
  }
  isOver = true
  await other
  return {
    ...{ tokens, alone: round(alone), longAlone: round(longAlone), requests },
    ...{ median: round(median(waits)), longest: round(Math.max(...waits)) },
  }
}
