import { stringify } from 'yaml'
import { isText, marked, plainMessages, type TextFormat } from './format.js'

/** Nunjucks, which promptfoo fills in, may read braces as its own. */
const literal = (text: string) => (/[{}]/.test(text) ? `{% raw %}${text}{% endraw %}` : text)
const nunjucks = (template: string) => marked(template, column => `{{ ${column} }}`, literal)

/** A config of promptfoo: the text, an OpenAI-compatible endpoint, and rows of the data as tests. */
export const promptfoo: TextFormat = {
  file: 'promptfooconfig.yaml',
  usage:
    '`npx promptfoo eval -c promptfooconfig.yaml` asks the endpoint that `OPENAI_BASE_URL` names (by default `gradprompt serve --port 8080`; `OPENAI_MODEL` is the name and `OPENAI_API_KEY` the token that it prints) for every row, and tells which answers begin as they should.',
  content({ template, rows, labels, found }) {
    const messages = isText(template) ? undefined : plainMessages(template)
    if (!isText(template) && messages === undefined) return undefined
    const text = isText(template)
      ? nunjucks(template)
      : JSON.stringify(messages!.map(({ role, content }) => ({ role, content: nunjucks(content) })))
    const kind = isText(template) ? 'completion' : 'chat'
    const longest = Math.max(16, ...(labels ?? []).map(label => label.length))
    const config = {
      apiBaseUrl: "{{ env.OPENAI_BASE_URL | default('http://127.0.0.1:8080/v1') }}",
      temperature: 0,
      max_tokens: longest,
    }
    return stringify(
      {
        description: found.config.search ? 'A prompt found by gradprompt' : 'Words nearest to a soft prompt of gradprompt',
        prompts: [text],
        providers: [{ id: `openai:${kind}:{{ env.OPENAI_MODEL }}`, config }],
        defaultTest: { options: { transform: 'String(output).trim()' } },
        tests: rows.map(({ values, answer }) => ({
          vars: values,
          assert: [{ type: 'starts-with', value: answer.trim() }],
        })),
      },
      { lineWidth: 0 },
    )
  },
}
