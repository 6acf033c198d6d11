import { readFile } from 'node:fs/promises'
import { GradpromptError, readError } from '../../../errors.js'
import type { InterviewQuestion } from '../../../interview/machine.js'
import { ownCommand } from '../../../own-command.js'
import { compute } from '../../computing/computation.js'
import type { Tasks } from '../../computing/messages.js'
import { inRange, machineRequest } from '../../show/engine-options.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput, plural, warningsTo } from '../../terminal/output.js'

/** `gradprompt interview [FOLDER]` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const folder = argument ?? 'interview'
  const path = options.answers as string | undefined
  if (path === undefined && process.stdin.isTTY !== true)
    throw new GradpromptError('no-terminal', 'there is nobody to ask', {
      found: 'a standard input that is no terminal',
      expected: 'a terminal, or --answers FILE (- for standard input)',
      hint: 'examples/interview/answers.json has the form of the answers',
    })
  const answers = path === undefined ? undefined : { given: await answersIn(path), source: path }
  const request = {
    ...machineRequest(options),
    folder,
    answers,
    model: options['no-model'] === true ? null : (options.model as string | undefined),
    rounds: inRange(options, 'rounds', { least: 1 }),
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }),
    seed: inRange(options, 'seed', { least: 0, most: 0xffffffff }),
  }
  if (request.model !== null) output.note('loading …')
  const result = await compute('interview', request, {
    onEvent: warningsTo(output),
    onNews(question) {
      output.object({ event: 'question', ...question })
      // Who answers from a file has read the questions.
      if (answers === undefined) output.text(asked(question))
    },
    readsInput: answers === undefined,
    hint: () => `${ownCommand`interview ${folder}`} goes on with what was answered`,
  })
  output.object({ event: 'result', ...result })
  output.text(describe(result))
  return 0
}

/** @throws GradpromptError `file-not-found`, `invalid-answers` */
async function answersIn(path: string): Promise<unknown> {
  let text = ''
  if (path === '-') for await (const chunk of process.stdin) text += String(chunk)
  else
    text = await readFile(path, 'utf8').catch((error: unknown) => {
      throw (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? new GradpromptError('file-not-found', `${path} cannot be read`, { found: 'nothing there', expected: 'a JSON file' })
        : readError(error, path)
    })
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new GradpromptError('invalid-answers', `${path}: these are no answers`, {
      found: error instanceof Error ? error.message : String(error),
      expected: 'JSON: a list of texts, or an object of them',
    })
  }
}

const words = { draft: 'the draft', input: 'input', before: 'before', now: 'now' } as const

function asked({ question, shown = {} }: InterviewQuestion): string {
  const parts = (Object.keys(words) as (keyof typeof words)[]).flatMap(name =>
    shown[name] === undefined ? [] : [`${words[name].padEnd(9)}  ${shown[name].replaceAll('\n', `\n${' '.repeat(11)}`)}`],
  )
  return ['', ...parts, question].join('\n')
}

function describe({ folder, template, placeholders, rows, config, next }: Tasks['interview']['result']): string {
  return [
    '',
    template,
    '',
    `${folder}/template.txt  the prompt above, with ${placeholders.map(name => `{${name}}`).join(', ')}`,
    ...(rows > 0 ? [`${folder}/rows.jsonl    ${plural(rows, 'row')}`] : []),
    ...(config === undefined ? [] : [`${config}   a search that begins with it`]),
    `next  ${next}`,
  ].join('\n')
}
