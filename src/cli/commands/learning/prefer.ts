import { randomBytes } from 'node:crypto'
import { compute } from '../../computing/computation.js'
import type { PreferNews } from '../../computing/messages.js'
import { inRange, machineRequest } from '../../show/engine-options.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput, type Output, plural, warningsTo } from '../../terminal/output.js'
import { createActivity } from '../../terminal/progress.js'

/** `gradprompt prefer PROMPTS DATA` */
export const run: CommandFunction = async ({ argument, secondArgument, options }) => {
  const output = createOutput(options)
  const text = (name: string) => options[name] as string | undefined
  const request = {
    ...machineRequest(options),
    prompts: argument!,
    data: secondArgument!,
    template: text('template'),
    journal: text('journal') ?? `${argument!.replace(/\.[^./\\]*$/, '')}-preferred.jsonl`,
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }),
    initial: inRange(options, 'initial', { least: 1 }),
    nu: inRange(options, 'nu', { above: 0 }),
    seed: inRange(options, 'seed', { least: 0, most: 0xffffffff }),
    host: text('host') ?? '127.0.0.1',
    port: inRange(options, 'port', { least: 0, most: 65535 }) ?? defaultPort,
    token: randomBytes(24).toString('base64url'),
  }
  const activity = createActivity()
  try {
    await compute('prefer', request, {
      onEvent: warningsTo(output),
      onProgress({ what, done, total }) {
        if (!output.quiet) activity.show(what, done, total)
      },
      onNews(news) {
        activity.clear()
        tell(news, request.journal, output)
      },
    })
    return 0
  } finally {
    activity.clear()
  }
}

const defaultPort = 8091

function tell(news: PreferNews, journal: string, output: Output): void {
  output.object(news)
  if (news.event === 'listening') {
    output.text(news.url)
    const before = news.answered > 0 ? `; ${plural(news.answered, 'answer')} of before` : ''
    output.note(`open this address in a browser of this machine (keys: left, right, down for neither); Ctrl-C ends it${before}`)
    return
  }
  const best = news.prompts.slice(0, 3).map(({ prompt, liking }, i) => `  ${i + 1}. ${prompt}  (${liking.toFixed(2)})`)
  output.text([`${plural(news.answered, 'answer')} in ${journal}; liked best:`, ...best].join('\n'))
}
