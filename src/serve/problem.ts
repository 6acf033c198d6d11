import { GradpromptError } from '../errors.js'

/** An answer other than 2xx, in the API's shape. */
export class ApiProblem extends Error {
  readonly code: string
  /** The field of the request that it is about. */
  readonly param: string | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    readonly status: number,
    code: string,
    message: string,
    { param, headers = {} }: { param?: string | undefined; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message)
    this.name = 'ApiProblem'
    this.code = code
    this.param = param
    this.headers = headers
  }

  toJSON() {
    const type = this.status >= 500 ? 'server_error' : this.status === 429 ? 'rate_limit_error' : 'invalid_request_error'
    return { error: { message: this.message, type, param: this.param ?? null, code: this.code } }
  }
}

/** What a client hears of an error: the user's mistakes in words, of ours nothing but that there was one. */
export function problemOf(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error
  if (!(error instanceof GradpromptError)) return new ApiProblem(500, 'internal_error', 'the answer could not be computed')
  const { code, message, found, expected, hint } = error
  const details = [found && `found: ${found}`, expected && `expected: ${expected}`, hint].filter(Boolean)
  const isContext = code === 'context-exceeded'
  const text = [message, ...details].join('; ')
  return new ApiProblem(error.exitCode === 2 ? 400 : 500, isContext ? 'context_length_exceeded' : code.replaceAll('-', '_'), text)
}
