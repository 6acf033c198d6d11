import { isText, json, marked, plainMessages, type TextFormat } from './format.js'

/** A request for any OpenAI-compatible endpoint, of the first row where there is one. */
export const openai: TextFormat = {
  file: 'openai.json',
  usage:
    'a request: `curl $URL/v1/completions -H "Content-Type: application/json" -d @openai.json` (`/v1/chat/completions` where it has messages), with the values of a row filled in; `MODEL` is what the endpoint calls it.',
  content({ template, rows }) {
    const values = rows[0]?.values ?? {}
    const filled = (text: string) => marked(text, column => values[column] ?? `{${column}}`)
    const common = { model: 'MODEL', temperature: 0, max_tokens: 16 }
    if (isText(template)) return json({ ...common, prompt: filled(template) })
    const messages = plainMessages(template)
    return messages && json({ ...common, messages: messages.map(({ role, content }) => ({ role, content: filled(content) })) })
  },
}
