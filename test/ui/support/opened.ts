import { mkdirSync, writeFileSync } from 'node:fs'
import { type IncomingHttpHeaders, request } from 'node:http'
import { join } from 'node:path'
import { startUi, type Ui } from '../../../src/ui/server.js'
import { tuneReport } from '../../runs/report-data.js'
import { temporaryFolder } from '../../train/toy.js'

export const token = 'the-token'

/** A page over a folder of its own. */
export async function openedUi() {
  const { folder, remove } = temporaryFolder()
  const errors: unknown[] = []
  const commandLine = { program: process.execPath, args: [join(import.meta.dirname, 'fake-command.mjs')] }
  const ui: Ui = await startUi({
    ...{ folder, host: '127.0.0.1', port: 0, token, commandLine },
    onError: error => errors.push(error),
  })
  const close = async () => {
    await ui.stop()
    remove()
  }
  return { ui, folder, commandLine, errors, close, ask: asking(ui.port) }
}

const config = 'model: base\ndata: { train: train.tsv }\ntemplate: "{text}"\nanswer: " {label}"\n'
const step = (step: number) =>
  `${JSON.stringify({ event: 'step', step, loss: 3 - step / 10, learningRate: 0.1, gradientNorm: 1, rowsPerSecond: 16, seconds: step })}\n`

/** A run's folder, as far as the page reads it. */
export function writeRun(folder: string, { finished = true, text = config } = {}): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.yaml'), text)
  writeFileSync(join(folder, 'run.json'), JSON.stringify({ began: '2026-01-01T00:00:00.000Z' }))
  writeFileSync(join(folder, 'events.jsonl'), [1, 2, 3].map(step).join(''))
  if (finished) writeFileSync(join(folder, 'result.json'), JSON.stringify(tuneReport.result))
}

export interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

interface Asking {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Whether the token is sent. */
  readonly known?: boolean
}

/** Paths are sent as they stand: nothing tidies `..` away. */
const asking =
  (port: number) =>
  (path: string, { method, headers = {}, body, known = true }: Asking = {}): Promise<Answered> =>
    new Promise((resolve, reject) => {
      const all = {
        ...(known && { cookie: `gradprompt-${port}=${token}` }),
        ...(body && { 'content-type': 'application/json' }),
        ...headers,
      }
      const sent = request(
        { port, host: '127.0.0.1', path, method: method ?? (body === undefined ? 'GET' : 'POST'), headers: all },
        response => {
          let text = ''
          response.setEncoding('utf8').on('data', chunk => {
            text += chunk
          })
          response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }))
        },
      )
      sent.on('error', reject)
      sent.end(body)
    })
