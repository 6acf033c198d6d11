/** Stands for `gradprompt` in tests of the page: it says what the real one says, and computes nothing. */
import { createServer } from 'node:http'

const [command, ...args] = process.argv.slice(2)
const say = event => process.stdout.write(`${JSON.stringify(event)}\n`)
if (command === 'tune' && !args.includes('--dry-run')) {
  say({ event: 'loaded', folder: 'runs/new run' })
  process.on('SIGINT', () => process.exit(130))
  setInterval(() => {}, 1000)
} else if (command === 'tune') {
  say({ event: 'error', code: 'invalid-config', message: 'data is missing <b>', hint: args.join(' ') })
  process.exitCode = 2
} else if (command === 'inspect')
  say({
    event: 'inspect',
    kind: 'data',
    path: args[0],
    format: 'tsv',
    rows: 2,
    columns: [],
    suggestion: null,
    data: null,
    warnings: [],
  })
else if (command === 'serve') {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { model, prompt } = JSON.parse(body)
    const isKnown = request.headers.authorization === `Bearer ${process.env.GRADPROMPT_TOKEN}`
    const logprobs = { tokens: [' good'], token_logprobs: [Math.log(0.75)], top_logprobs: [{ ' bad': Math.log(0.25) }] }
    response.end(
      JSON.stringify(isKnown ? { choices: [{ text: `${model} ${prompt}`, logprobs }] } : { error: { message: 'who?' } }),
    )
  })
  server.listen(0, '127.0.0.1', () =>
    say({ event: 'listening', url: `http://127.0.0.1:${server.address().port}`, models: ['base', args[0]] }),
  )
} else say({ event: 'result', args })
