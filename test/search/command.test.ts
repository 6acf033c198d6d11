import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { command, type Line } from '../cli/command.js'
import { ownCache } from '../support/cache.js'
import { temporaryFolder } from '../train/toy.js'
import { toySearch } from './toy.js'

ownCache()
const { folder, remove } = temporaryFolder()
afterAll(remove)

const { out: _, ...config } = toySearch(folder)
const path = join(folder, 'search.yaml')
writeFileSync(path, stringify(config))
const at = (name: string) => join(folder, name)

test('search prints an object a line, and leaves a whole run folder', async () => {
  const { code, lines, stderr } = await command(['search', '--config', path, '--out', at('run'), '--steps', '4', '--json'])
  expect(code).toBe(0)
  expect(lines.map(({ event }) => event).filter(event => event !== 'dev' && event !== 'checkpoint')).toEqual([
    'loaded',
    'initial',
    ...Array.from({ length: 4 }, () => 'step'),
    'result',
  ])
  expect(lines.find(({ event }) => event === 'step')).toMatchObject({
    step: 1,
    prompt: expect.any(String),
    objective: expect.any(Number),
    swap: { position: expect.any(Number), from: ' t', to: expect.any(String), exactScore: expect.any(Number), accepted: true },
    generatedTokens: 0,
  })
  for (const name of ['config.yaml', 'events.jsonl', 'prompt.json', 'result.json', 'report.html'])
    expect(existsSync(join(at('run'), name))).toBe(true)
  expect(stderr).toMatch(/first prompt +found prompt/)
  const evaluated = await command(['evaluate', at('run'), '--data', at('toy.tsv'), '--json'])
  expect(evaluated.lines[0]).toMatchObject({ rows: 40, condition: 'found prompt', control: { name: 'first prompt' } })
  expect(existsSync(join(at('run'), 'evaluations', 'toy.html'))).toBe(true)
  const again = await command(['resume', at('run')])
  expect(again.code).toBe(0)
  expect(again.stdout).toContain('found prompt')
})

test('killed at any moment, it keeps the best prompt and resumes to the same bits', async () => {
  const arguments_ = (out: string) => [
    ...['search', '--config', path, '--out', out, '--steps', '40', '--method', 'random-shortlist'],
    ...['--search.candidates', '3', '--search.checkpoint-every', '3', '--json', '--quiet'],
  ]
  await command(arguments_(at('killed')), {
    onLine: (line: Line, child) => {
      if (line.event === 'step' && line.step === 8) child.kill('SIGKILL')
    },
  })
  const kept = JSON.parse(readFileSync(join(at('killed'), 'prompt.json'), 'utf8')) as { prompt: string }
  expect(kept.prompt).toBeTruthy()
  expect(existsSync(join(at('killed'), 'result.json'))).toBe(false)
  const resumed = await command(['resume', at('killed'), '--json', '--quiet'])
  expect(resumed.code).toBe(0)
  await command(arguments_(at('whole')))
  const result = (name: string) => {
    const {
      seconds: _,
      folder: __,
      peakMemory: ___,
      ...rest
    } = JSON.parse(readFileSync(join(at(name), 'result.json'), 'utf8')) as Record<string, unknown>
    return rest
  }
  expect(result('killed')).toEqual(result('whole'))
})

test('help lists its own options; an unknown one is refused with the nearest', async () => {
  const { stdout } = await command(['search', '--help'])
  expect(stdout).toContain('--search.search-width')
  expect(stdout).not.toContain('--train.')
  const { code, stderr } = await command(['search', '--config', path, '--search.search-with', '3'])
  expect(code).toBe(2)
  expect(stderr).toContain('--search.search-width')
})
