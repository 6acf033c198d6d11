import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporaryFolder } from '../train/toy.js'
import { command } from './command.js'

/** `gradprompt interview` as it is called: without a terminal, with answers from a file, and the search behind it. */

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())
const example = resolve('examples/interview/answers.json')

test('the example runs to a search that is valid', async () => {
  const out = join(folder, 'out')
  const { code, lines } = await command(['interview', out, '--no-model', '--answers', example, '--json'])
  expect(code).toBe(0)
  const { states, rows, config, next } = lines.at(-1) as unknown as {
    states: string[]
    rows: number
    config: string
    next: string
  }
  expect(states).toEqual(['engage', 'draft', 'evaluate', 'test', 'final'])
  expect(rows).toBe(3)
  expect(readFileSync(join(out, 'template.txt'), 'utf8')).toContain('Mail: {mail}\nAnswer:')
  expect(next).toContain(`search --config ${config}`)
  const dry = await command(['search', '--config', config, '--dry-run', '--json'])
  expect(dry.code).toBe(0)
  expect(dry.lines[0]).toMatchObject({ search: 'ipc', rows: { questions: 3 }, labels: ['complaint', 'question', 'praise'] })
})

test('answers in their order from standard input; where they end the same command goes on', async () => {
  const out = join(folder, 'out')
  const args = ['interview', out, '--no-model', '--answers', '-']
  const first = await command(args, { input: JSON.stringify(['Answer a question.', 'text']) })
  expect(first.code).toBe(2)
  expect(first.stderr).toContain('error[answers-spent]')
  const rest = ['a short text', '', '', '', '', 'one', 'two', 'three', 'yes', '', 'no']
  const second = await command(args, { input: JSON.stringify(rest) })
  expect(second.stderr).toBe('')
  expect(second.code).toBe(0)
  expect(second.stdout).toContain('rows.jsonl    2 rows')
})

test('answers that no question has asked for are named, but those of an earlier sitting', async () => {
  const out = join(folder, 'out')
  const given = { task: 'Answer a question.', inputs: 'text', 'input.1.text': 'a', 'input.2.text': 'b', 'input.3.text': 'c' }
  const args = ['interview', out, '--no-model', '--answers', '-']
  const first = await command(args, { input: JSON.stringify({ ...given, 'input.1.mail': 'a', 'verdict.1.1': '+' }) })
  expect(first.code).toBe(0)
  expect(first.stderr).toContain('warning[answers-unread]: -: no question has asked for input.1.mail, verdict.1.1')
  expect((await command(args, { input: JSON.stringify(given) })).stderr).toBe('')
})

test('with a model it says at once that it loads', async () => {
  const { stderr } = await command(['interview', join(folder, 'out'), '--model', join(folder, 'none'), '--answers', example])
  expect(stderr.split('\n')[0]).toBe('loading …')
})

test('nobody to ask, and answers that are none', async () => {
  const nobody = await command(['interview', folder])
  expect(nobody.code).toBe(2)
  expect(nobody.stderr).toContain('error[no-terminal]')
  const bad = async (input: string) => (await command(['interview', folder, '--no-model', '--answers', '-'], { input })).stderr
  expect(await bad('{')).toContain('error[invalid-answers]')
  expect(await bad('{"taks": "x"}')).toContain('did you mean')
  expect(await bad('{"task": 3}')).toContain('error[invalid-answers]')
  expect((await command(['interview', folder, '--answers', join(folder, 'none.json')])).stderr).toContain('error[file-not-found]')
})
