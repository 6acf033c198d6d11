/** The module that `js` writes: its constants are those of a prompt. */
export const clientModule = ({
  template,
  answer,
  labels,
  promptTokens,
}: {
  readonly template: string | readonly { readonly role: string; readonly content: string }[]
  readonly answer: string
  readonly labels: readonly string[] | undefined
  readonly promptTokens: string
}): string => `/** A tuned prompt: its template, and how an endpoint that has the prompt is asked. Written by gradprompt; needs nothing but fetch. */

export type Message = { readonly role: string; readonly content: string }

/** \`{column}\` stands for a value, \`{{\` and \`}}\` for braces. */
export const template: string | readonly Message[] = ${JSON.stringify(template, null, 2)}
/** What the answer looks like. */
export const answer: string = ${JSON.stringify(answer)}
/** The words that an answer may be. */
export const labels: readonly string[] = ${JSON.stringify(labels ?? [])}
/** What stands before the text where an endpoint knows the prompt as tokens of its vocabulary (the gguf export). */
export const promptTokens: string = ${JSON.stringify(promptTokens)}

export interface AskOptions {
  /** Up to and with \`/v1\`. */
  readonly baseUrl: string
  readonly model?: string
  readonly apiKey?: string
  readonly maxTokens?: number
  /** Write the prompt's tokens before the text. */
  readonly promptTokens?: boolean
  readonly signal?: AbortSignal
}

/** Of a row: texts, and the turns of a conversation. */
export type Values = Readonly<Record<string, string | readonly Message[]>>

/** The template with the values of a row; a message of the role \`conversation\` stands for a column's turns. */
export function fill(values: Values): string | Message[] {
  const filled = (text: string) =>
    text.replace(/\\{\\{|\\}\\}|\\{([^{}]+)\\}/g, (found, column: string | undefined) => {
      if (column === undefined) return found[0]!
      const value = values[column]
      if (typeof value !== 'string') throw new Error(\`no value for {\${column}}\`)
      return value
    })
  return typeof template === 'string'
    ? filled(template)
    : template.flatMap(({ role, content }) => (role === 'conversation' ? turnsOf(values, content) : { role, content: filled(content) }))
}

function turnsOf(values: Values, content: string): readonly Message[] {
  const turns = values[content.slice(1, -1)]
  if (typeof turns !== 'object') throw new Error(\`no turns for \${content}\`)
  return turns
}

/** The answer to a row, as the endpoint writes it. */
export async function ask(values: Values, options: AskOptions): Promise<string> {
  const { baseUrl, model = 'default', apiKey, maxTokens = 16, signal } = options
  const text = fill(values)
  const isText = typeof text === 'string'
  const common = { model, max_tokens: maxTokens, temperature: 0 }
  const body = isText ? { ...common, prompt: (options.promptTokens ? promptTokens : '') + text } : { ...common, messages: text }
  const response = await fetch(\`\${baseUrl.replace(/\\/$/, '')}/\${isText ? 'completions' : 'chat/completions'}\`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(apiKey ? { Authorization: \`Bearer \${apiKey}\` } : {}) },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  })
  if (!response.ok) throw new Error(\`\${response.status} \${await response.text()}\`)
  const { choices } = (await response.json()) as { choices: { text?: string; message?: { content: string } }[] }
  return choices[0]!.text ?? choices[0]!.message!.content
}

/** The label that an answer begins with; undefined where it begins with none. */
export async function classify(values: Values, options: AskOptions): Promise<string | undefined> {
  const written = (await ask(values, options)).trimStart()
  const longestFirst = [...labels].sort((a, b) => b.length - a.length)
  return longestFirst.find(label => written.startsWith(label.trim()))
}
`
