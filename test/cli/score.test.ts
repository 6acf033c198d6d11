import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { temporaryFolder } from '../train/toy.js'
import { command } from './command.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
write('data.jsonl', Array.from({ length: 4 }, (_, i) => `{"question":"${i}","answer":"${i}"}\n`).join(''))
write('said.jsonl', Array.from({ length: 4 }, (_, i) => `{"prediction":"${i % 2}"}\n`).join(''))
write(
  'loud.mjs',
  'export default { name: "loud", score: (row, text) => (console.log("heard"), console.error("it"), text === row.answer) }\n',
)
const reached = join(folder, 'reached')
write(
  'slow.mjs',
  `import { writeFileSync } from 'node:fs'
  const wait = () => (writeFileSync(${JSON.stringify(reached)}, ''), new Promise(() => {}))
  export default { name: 'slow', score: async (row, text) => (row.question < 2 || (await wait()), text === row.answer) }
`,
)
const scored = ['score', 'said.jsonl', '--data', 'data.jsonl', '--answer', '{answer}', '--json', '--scorer']

test('a scorer of a module prints nothing among the results, and holds the command up no longer than its rows', async () => {
  const { code, lines, stderr } = await command([...scored, './loud.mjs'], { cwd: folder })
  expect(code, stderr).toBe(0)
  expect(stderr).not.toContain('it')
  expect(lines).toMatchObject([{ event: 'result', rows: 4, metrics: { accuracy: { value: 0.5 } } }])
})

test('Ctrl-C ends with 130, and the rows that are scored are kept', async () => {
  const rows = join(folder, 'kept.jsonl')
  const { code, stderr } = await command([...scored, './slow.mjs', '--rows', 'kept.jsonl'], {
    cwd: folder,
    onStart(child) {
      const watch = setInterval(() => existsSync(reached) && child.kill('SIGINT') && clearInterval(watch), 50)
      child.on('exit', () => clearInterval(watch))
    },
  })
  expect(code, stderr).toBe(130)
  expect(stderr).toContain('2 of 4 rows')
  expect(existsSync(rows)).toBe(true)
  expect(readFileSync(rows, 'utf8').trimEnd().split('\n')).toHaveLength(2)
})
