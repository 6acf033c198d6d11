import { afterAll, beforeAll, expect, test } from 'vitest'
import { commands } from '../../src/cli/commands.js'
import { parseArguments } from '../../src/cli/parse.js'
import { describeError } from '../../src/cli/terminal/failure.js'
import { callAs, calledAs } from '../../src/own-command.js'
import { problem } from '../support/problem.js'

const called = calledAs()
beforeAll(() => callAs('npx gradprompt'))
afterAll(() => callAs(called))

/** What reading the arguments writes, in this process. */
function parsed(args: readonly string[]): string {
  let written = ''
  parseArguments(args, {
    version: '1.2.3',
    write: text => {
      written += text
    },
  })
  return written
}

test('the help of each command names its options and ends with its example', () => {
  for (const { name, options, example } of commands) {
    const help = parsed([name, '--help'])
    for (const option of options) expect(help).toContain(`--${option.name}`)
    expect(help.trimEnd().split('\n').at(-1)).toBe(`  $ npx ${example}`)
  }
})

test.each([
  [['tun'], 'unknown-command', 'did you mean npx gradprompt tune?'],
  [['--foo'], 'unknown-option', 'gradprompt --help'],
  [['tune', '--learnin-rate', '1'], 'unknown-option', 'did you mean --learning-rate?'],
  [['tune', '--steps'], 'invalid-option', 'gradprompt tune --help'],
  [['tune', '--steps', '5', '--steps', '6'], 'invalid-option', '--steps is given twice\n  found: --steps 5, --steps 6'],
  [['resume', 'a', '--steps', '5', '--steps=5'], 'invalid-option', '--steps is given twice'],
  [['tune', '--train.warmup', '1', '--train.warmup=2'], 'invalid-option', 'found: --train.warmup 1, --train.warmup 2'],
  [['tune', '--train.learningRate', '1', '--train.learning-rate', '2'], 'invalid-option', '--train.learning-rate is given twice'],
  [['tune', '--train.bucket', '--train.bucket=false'], 'invalid-option', 'found: --train.bucket true, --train.bucket false'],
  [['resume'], 'missing-argument', 'hint: npx gradprompt resume runs/sst2'],
  [['resume', 'a', 'b'], 'unexpected-argument', 'found: b\n  expected: RUN, and options\n  hint: npx gradprompt resume --help'],
  [['tune', 'my task.yaml'], 'unexpected-argument', "hint: npx gradprompt tune --config 'my task.yaml'"],
  [['resume', 'a', '--steps', 'many'], 'invalid-option', 'expected: a whole number'],
])('%j cannot be read', (args, code, text) => {
  const error = problem(() => parsed(args))
  expect(error).toMatchObject({ code, exitCode: 2 })
  expect(describeError(error)).toContain(text)
})
