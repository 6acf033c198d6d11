import { randomBytes } from 'node:crypto'
import { GradpromptError } from '../../../errors.js'
import { isLoopback } from '../../../serve/loopback.js'
import { compute } from '../../computing/computation.js'
import type { ServeNews, ServeRequest } from '../../computing/messages.js'
import { arithmetic, engineRequest, inexactNote, inRange } from '../../show/engine-options.js'
import { readStrategy } from '../../show/strategy-options.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { createOutput, type Output, plural, warningsTo } from '../../terminal/output.js'
import { formatDuration } from '../../terminal/progress.js'

/** `gradprompt serve RUN` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const request = serveRequest(argument, options)
  output.note('loading …')
  await compute('serve', request, { onEvent: warningsTo(output), onNews: news => tell(news, request, output) })
  return 0
}

const defaultPort = 8080
const defaultNewTokens = 512

/** @throws GradpromptError `invalid-option` */
export function serveRequest(run: string | undefined, options: OptionValues): ServeRequest {
  const host = (options.host as string | undefined) ?? '127.0.0.1'
  const token = readToken(options)
  if (token === undefined && !isLoopback(host)) {
    throw new GradpromptError('invalid-option', '--no-token is for this machine alone', {
      found: `--host ${host}`,
      expected: 'a token, where others can reach the server',
      hint: 'leave --no-token or --host out',
    })
  }
  const prompts = ((options.prompt ?? []) as readonly string[]).map(readPrompt)
  return {
    ...engineRequest(options),
    strength: options.strength as number | undefined,
    strategy: readStrategy(options),
    prompts: run === undefined ? prompts : [{ path: run }, ...prompts],
    host,
    port: inRange(options, 'port', { least: 0, most: 65535 }) ?? defaultPort,
    token,
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }) ?? defaultNewTokens,
  }
}

/** `runs/sst2`, or `sentiment=runs/sst2`. */
function readPrompt(given: string): ServeRequest['prompts'][number] {
  const [, name, path] = /^([\w.:-]+)=(.+)$/s.exec(given) ?? []
  return name === undefined || path === undefined ? { path: given } : { name, path }
}

function readToken(options: OptionValues): string | undefined {
  const given = typeof options.token === 'string' ? options.token : undefined
  if (options['no-token'] === true) return undefined
  const token = given ?? process.env.GRADPROMPT_TOKEN ?? randomBytes(24).toString('base64url')
  if (/^[\x21-\x7e]{1,512}$/.test(token)) return token
  throw new GradpromptError('invalid-option', 'the token is not valid', {
    found: token === '' ? 'an empty text' : 'spaces or letters that a header cannot carry',
    expected: 'letters, digits and punctuation of ASCII',
    hint: 'leave --token out and a new one is made',
  })
}

function tell(news: ServeNews, { token, weights }: ServeRequest, output: Output): void {
  if (news.event === 'listening') {
    output.object({ ...news, token: token ?? null })
    output.text(`serving ${news.models.join(', ')} at ${news.url}`)
    output.text(token === undefined ? 'no token is needed' : `token: ${token}`)
    output.text(arithmetic(news.weights))
    if (news.weights === 'stored' && (weights ?? 'auto') === 'auto') output.note(inexactNote)
    output.note('Ctrl-C ends it')
    return
  }
  output.object(news)
  if (news.event === 'stopping') {
    if (news.active > 0) output.note(`ending ${plural(news.active, 'request')}; Ctrl-C again stops at once`)
    return
  }
  const { method, path, status, seconds, model, usage, notice, error } = news
  const tokens = usage && `${usage.prompt_tokens} + ${plural(usage.completion_tokens, 'token')}`
  const ending = status === 499 ? 'the client hung up' : error
  const parts = [`${method} ${path}`, model, String(status), formatDuration(seconds), tokens, ending]
  output.note(parts.filter(part => part !== undefined).join('  '))
  if (notice !== undefined) output.note(`${model}: ${notice}`)
}
