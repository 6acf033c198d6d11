import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { resumeSearch } from '../../src/api/search.js'
import type { SearchResult } from '../../src/search/run/events.js'
import { command, type Line } from '../cli/command.js'
import { temporaryFolder } from '../train/toy.js'
import { toySearch } from './toy.js'

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
  // Rows that were learned from are scored again here, which is said first.
  expect(evaluated.lines.map(({ event, code }) => code ?? event)).toEqual(['overlapping-rows', 'result'])
  expect(evaluated.lines[1]).toMatchObject({ rows: 40, condition: 'found prompt', control: { name: 'first prompt' } })
  expect(existsSync(join(at('run'), 'evaluations', 'toy.html'))).toBe(true)
  // The library takes the folder, or what the search returned.
  for (const prompt of [at('run'), await resumeSearch(at('run'))]) {
    const { metrics, labels } = await evaluate({ data: at('toy.tsv'), prompt })
    expect({ metrics, labels }).toMatchObject({ metrics: evaluated.lines[1]!.metrics, labels: evaluated.lines[1]!.labels })
  }
  const inspected = await command(['inspect', at('run'), '--json'])
  expect(inspected.lines[0]).toMatchObject({ kind: 'search', finished: true, result: { steps: 4 } })
  expect((await command(['inspect', at('run')])).stdout).toMatch(/state +finished after 4 steps/)
  const again = await command(['resume', at('run')])
  expect(again.code).toBe(0)
  expect(again.stdout).toContain('found prompt')
})

test('a prompt of a search over reasoning is evaluated as the search judged it', async () => {
  const { data, ...others } = config
  const rows = readFileSync(at('toy.tsv'), 'utf8').trimEnd().split('\n')
  writeFileSync(at('train.tsv'), `${rows.slice(0, 28).join('\n')}\n`)
  writeFileSync(at('test.tsv'), `${rows.slice(28).join('\n')}\n`)
  const { split: _, ...labels } = data
  const files = { ...labels, train: at('train.tsv'), test: at('test.tsv') }
  const search = { ...config.search, type: 'greater', extractor: ' =', maxNewTokens: 5, weights: 'fp32', steps: 2 }
  writeFileSync(at('greater.yaml'), stringify({ ...others, data: files, search }))
  const { lines } = await command(['search', '--config', at('greater.yaml'), '--out', at('greater'), '--json'])
  const { test } = lines.at(-1) as unknown as SearchResult
  const { lines: evaluated } = await command(['evaluate', at('greater'), '--data', at('test.tsv'), '--json'])
  expect(evaluated[0]).toMatchObject({
    condition: 'found prompt',
    metrics: { accuracy: test!.metrics.accuracy },
    control: { name: 'first prompt', metrics: { accuracy: test!.initial.metrics.accuracy } },
  })
  const [row] = readFileSync(join(at('greater'), 'evaluations', 'test.jsonl'), 'utf8').split('\n')
  expect(JSON.parse(row!)).toMatchObject({ index: 0, text: expect.any(String), correct: expect.any(Boolean) })
  const { metrics, results } = await evaluate({ data: at('test.tsv'), prompt: at('greater') })
  expect(metrics).toEqual(evaluated[0]!.metrics)
  expect(results[0]).toEqual(JSON.parse(row!))
  await expect(evaluate({ data: at('test.tsv'), prompt: at('greater'), template: '{text}' })).rejects.toMatchObject({
    code: 'invalid-option',
    message: expect.stringContaining('template'),
  })
  const refused = await command(['evaluate', at('greater'), '--data', at('test.tsv'), '--answer', ' {label}'])
  expect(refused.code).toBe(2)
  expect(refused.stderr).toMatch(/answer has no effect/)
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
