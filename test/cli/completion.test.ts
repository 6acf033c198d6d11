import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { commands } from '../../src/cli/commands.js'
import { completedCommands, completionScripts } from '../../src/cli/show/completion.js'
import { configJsonSchema } from '../../src/train/config.js'
import { temporaryFolder } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

const completed = completedCommands(commands, configJsonSchema)

test.skipIf(process.platform === 'win32')('bash completes commands, options and their values', () => {
  const path = join(folder, 'gradprompt.bash')
  writeFileSync(path, completionScripts.bash!(completed))
  const complete = (...words: string[]) =>
    execFileSync(
      'bash',
      [
        '-c',
        `source '${path}'; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gradprompt; echo "\${COMPREPLY[*]}"`,
        'bash',
        ...words,
      ],
      {
        encoding: 'utf8',
      },
    ).trim()
  expect(complete('gradprompt', 'tu')).toBe('tune')
  expect(complete('gradprompt', 'tune', '--train.optim')).toBe('--train.optimizer')
  expect(complete('gradprompt', 'tune', '--train.optimizer', '')).toBe('adamw adafactor sgd')
  expect(complete('gradprompt', 'tune', '--train.schedule', 'li')).toBe('linear')
  // A value that is a file is the shell's to complete.
  expect(complete('gradprompt', 'tune', '--config', 'ex')).toBe('')
})

test('fish has a line for every command and option', () => {
  const lines = completionScripts.fish!(completed).split('\n')
  for (const { name, options } of commands)
    for (const option of options)
      expect(
        lines.some(line => line.includes(`__fish_seen_subcommand_from ${name}'`) && line.includes(` -l ${option.name} `)),
      ).toBe(true)
})
