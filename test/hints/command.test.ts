import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { goingOn, nextCommand } from '../../src/cli/commands/learning/hints.js'
import { command } from '../cli/command.js'
import { temporaryFolder, toyConfig } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

test('Ctrl-C says how to go on, and the same command does; of classes the next command names them', async () => {
  const [config, out] = [join(folder, 'hints.yaml'), join(folder, 'hints')]
  const { out: _, data, ...given } = toyConfig(folder, { train: { steps: 600, checkpointEvery: 10 }, threads: 1 })
  writeFileSync(config, stringify({ ...given, data: { ...data, limit: { train: 6 } } }))
  const args = [
    'hints',
    '--config',
    config,
    '--out',
    out,
    '--instruction',
    'say',
    '--samples',
    '3',
    '--hint-tokens',
    '3',
    ...['--temperature', '1', '--json'],
  ]
  const stopped = await command([...args, '--rounds', '1'], {
    onLine: (line, child) => line.event === 'step' && line.step === 2 && child.kill('SIGINT'),
  })
  expect(stopped.code).toBe(130)
  expect(stopped.stderr).toMatch(/^loading/)
  expect(stopped.stderr).toContain('stopped; the same command goes on')
  expect(existsSync(join(out, 'hints.json'))).toBe(false)
  const whole = await command([...args, '--rounds', '1'])
  expect(whole.code).toBe(0)
  expect(whole.stderr).toContain('--choices the,of')

  // What is learned is no run, and is known for what it is.
  const inspected = await command(['inspect', out])
  expect(inspected.code, inspected.stderr).toBe(0)
  expect(inspected.stdout).toContain('hints of the learned policy')
  expect(inspected.stdout).toContain(`--strategy-option from=${out}`)
  const resumed = await command(['resume', out])
  expect(resumed.code).toBe(2)
  expect(resumed.stderr).toContain('is not a run, but hints that were learned')
  const wrong = await command([...args, '--train.learning-rate', '-3'])
  expect(wrong.code).toBe(2)
  expect(wrong.stderr).toContain('--train.learning-rate')
})

test('a folder that was not named is named', () => {
  expect(goingOn({ flags: {} }, 'runs/hints-2')).toBe('the same command goes on with --out runs/hints-2')
  expect(goingOn({ flags: { out: 'runs/h' } }, 'runs/h')).toBe('the same command goes on')
  expect(nextCommand({ folder: 'h' }, 'c.yaml')).not.toContain('--choices')
  expect(nextCommand({ folder: 'h', classes: ['a, b', 'c'] }, 'c.yaml')).not.toContain('--choices')
  expect(nextCommand({ folder: 'h', classes: ['a', 'c'] }, 'c.yaml')).toContain('--choices a,c')
})
