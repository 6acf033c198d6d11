import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { Refusal } from './guard.js'
import { apart, type CommandLine, type JobEvent } from './jobs.js'

/**
 * A model to speak with, with and without a prompt: `gradprompt serve` in a process of its own, opened when it is first asked, one at a time, and
 * closed when nobody has spoken for a while. What is asked goes to its OpenAI-compatible endpoint.
 */

const idleMilliseconds = 10 * 60_000
const openingMilliseconds = 5 * 60_000

interface Opened {
  readonly id: string
  readonly child: ChildProcess
  readonly token: string
  readonly listening: Promise<{ readonly url: string; readonly models: readonly string[]; readonly weights: string }>
}

export interface Question {
  /** A text that is gone on with, or one that is asked in the template of the model's chat. */
  readonly text: string
  readonly chat: boolean
  readonly maxNewTokens: number
  readonly temperature: number
}

export interface SpokenToken {
  readonly token: string
  readonly logProbability: number
  readonly others: readonly { readonly token: string; readonly logProbability: number }[]
}

export interface Answer {
  readonly model: string
  readonly text: string
  readonly tokens: readonly SpokenToken[]
  readonly error?: string
}

export class Speaker {
  readonly #commandLine: CommandLine
  readonly #root: string
  #opened: Opened | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(commandLine: CommandLine, root: string) {
    this.#commandLine = commandLine
    this.#root = root
  }

  /**
   * What the base model, and each prompt of a run, make of a text: the base model's first.
   * @param id the run's, a path from the root
   * @throws Refusal `cannot-open`
   */
  async ask(id: string, question: Question, signal: AbortSignal): Promise<Answer[]> {
    const opened = this.#open(id)
    clearTimeout(this.#timer)
    try {
      const { url, models } = await opened.listening
      return await Promise.all(models.map(model => answerOf(url, opened.token, model, question, signal)))
    } finally {
      this.#timer = setTimeout(() => this.close(), idleMilliseconds)
      this.#timer.unref()
    }
  }

  #open(id: string): Opened {
    if (this.#opened?.id === id && this.#opened.child.exitCode === null) return this.#opened
    this.close()
    const token = randomBytes(24).toString('base64url')
    const { program, args } = this.#commandLine
    const child = spawn(program, [...args, 'serve', `./${id}`, '--port', '0', '--json'], {
      cwd: this.#root,
      env: { ...process.env, GRADPROMPT_TOKEN: token },
      ...apart,
    })
    const listening = new Promise<Awaited<Opened['listening']>>((resolve, reject) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), openingMilliseconds)
      let [text, notes, said] = ['', '', '']
      child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
        const lines = (text + chunk).split('\n')
        text = lines.pop()!.slice(-65_536)
        for (const line of lines) {
          const event = parse(line)
          if (event?.event === 'error') said = [event.message, event.hint].filter(Boolean).join('; ')
          if (event?.event !== 'listening') continue
          clearTimeout(timer)
          resolve(event as unknown as Awaited<Opened['listening']>)
        }
      })
      child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
        notes = (notes + chunk).slice(-2000)
      })
      const fail = (why: string) => {
        clearTimeout(timer)
        reject(new Refusal(409, 'cannot-open', `the model cannot be opened: ${said || why}`))
      }
      child.on('error', error => fail(error.message))
      child.on('close', () => fail(notes.trim().split('\n').at(-1) ?? 'its process has ended'))
    })
    listening.catch(() => {})
    this.#opened = { id, child, token, listening }
    return this.#opened
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#opened?.child.kill('SIGTERM')
    this.#opened = undefined
  }
}

async function answerOf(
  url: string,
  token: string,
  model: string,
  { text, chat, maxNewTokens, temperature }: Question,
  signal: AbortSignal,
): Promise<Answer> {
  const common = { model, max_tokens: maxNewTokens, temperature }
  const body = chat
    ? { ...common, messages: [{ role: 'user', content: text }], logprobs: true, top_logprobs: 4 }
    : { ...common, prompt: text, logprobs: 4 }
  const response = await fetch(`${url}/${chat ? 'chat/completions' : 'completions'}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  })
  const said = (await response.json()) as Said
  if (said.error !== undefined) return { model, text: '', tokens: [], error: said.error.message }
  const [choice] = said.choices!
  const tokens = chat
    ? (choice!.logprobs?.content ?? []).map(({ token, logprob, top_logprobs }) => ({
        token,
        logProbability: logprob,
        others: top_logprobs.map(other => ({ token: other.token, logProbability: other.logprob })),
      }))
    : (choice!.logprobs?.tokens ?? []).map((token, i) => ({
        token,
        logProbability: choice!.logprobs!.token_logprobs![i]!,
        others: likeliestFirst(choice!.logprobs!.top_logprobs![i] ?? {}),
      }))
  return { model, text: choice!.message?.content ?? choice!.text ?? '', tokens }
}

/** An object has keys such as "7" first, whatever they are worth. */
export const likeliestFirst = (tokens: Readonly<Record<string, number>>): SpokenToken['others'] =>
  Object.entries(tokens)
    .map(([token, logProbability]) => ({ token, logProbability }))
    .sort((a, b) => b.logProbability - a.logProbability)

/** What of the endpoint's answers is read here. */
interface Said {
  readonly error?: { readonly message: string }
  readonly choices?: readonly {
    readonly text?: string
    readonly message?: { readonly content: string | null }
    readonly logprobs?: {
      readonly content?: readonly {
        readonly token: string
        readonly logprob: number
        readonly top_logprobs: readonly { readonly token: string; readonly logprob: number }[]
      }[]
      readonly tokens?: readonly string[]
      readonly token_logprobs?: readonly number[]
      readonly top_logprobs?: readonly Readonly<Record<string, number>>[]
    } | null
  }[]
}

function parse(line: string): JobEvent | undefined {
  try {
    return JSON.parse(line) as JobEvent
  } catch {
    return undefined
  }
}
