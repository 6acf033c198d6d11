import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { Journal } from '../../src/sweep/journal/journal.js'
import { type SweepRecord, Trials } from '../../src/sweep/journal/records.js'
import { joinWorkers } from '../../src/sweep/journal/workers.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

function opened(name: string) {
  const trials = new Trials()
  const path = join(folder, name)
  const journal = new Journal<SweepRecord>(path, record => trials.hear(record))
  return { journal, trials, path }
}

const begun = (trial: number): SweepRecord => ({ type: 'begun', trial, values: { a: trial }, worker: 'w', at: '' })
const adding = (journal: Journal<SweepRecord>, ...records: SweepRecord[]) => journal.add(() => ({ records, result: undefined }))

test('who adds at once adds one after the other, each knowing what the others have added', async () => {
  const sides = Array.from({ length: 4 }, () => opened('shared.log'))
  const numbers = await Promise.all(
    Array.from({ length: 40 }, (_, i) => {
      const { journal, trials } = sides[i % 4]!
      return journal.add(() => ({ records: [begun(trials.trials.length)], result: trials.trials.length }))
    }),
  )
  expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i))
  const late = opened('shared.log')
  await late.journal.sync()
  expect(late.trials.trials.map(({ number }) => number)).toEqual(Array.from({ length: 40 }, (_, i) => i))
})

test('a torn line is taken away by the next who adds; a changed one is refused', async () => {
  const { journal, path } = opened('torn.log')
  await adding(journal, begun(0), begun(1))
  const whole = readFileSync(path, 'utf8')
  for (const cut of [1, 9, 30]) {
    writeFileSync(path, whole)
    truncateSync(path, statSync(path).size - cut)
    const after = opened('torn.log')
    await after.journal.sync()
    expect(after.trials.trials).toHaveLength(1)
    await adding(after.journal, begun(1))
    expect(readFileSync(path, 'utf8')).toBe(whole)
  }
  writeFileSync(path, whole.replace('"a":0', '"a":7'))
  await expect(opened('torn.log').journal.sync()).rejects.toMatchObject({
    code: 'sweep-corrupt',
    message: expect.stringContaining('line 1'),
  })
  appendFileSync(path, 'no line of a journal\n')
  writeFileSync(path, `${whole}no line of a journal\n`)
  await expect(opened('torn.log').journal.sync()).rejects.toMatchObject({
    code: 'sweep-corrupt',
    message: expect.stringContaining('line 3'),
  })
})

test('a line that is missing among the others is refused, with the next one', async () => {
  const { journal, path } = opened('missing.log')
  await adding(journal, begun(0), begun(1), { type: 'left', trial: 1 })
  const lines = readFileSync(path, 'utf8').split('\n')
  for (const [missing, line, found] of [
    [0, 1, 'trial 1 is begun where trial 0 would be the next'],
    [1, 2, 'trial 1 was never begun'],
  ] as const) {
    writeFileSync(path, lines.toSpliced(missing, 1).join('\n'))
    const error = await problemOf(opened('missing.log').journal.sync())
    expect(error).toMatchObject({ code: 'sweep-corrupt', message: expect.stringContaining(`line ${line} `), found })
  }
})

test.skipIf(process.platform === 'win32')('a pipe in the place of a journal is refused, not waited for', async () => {
  const { journal, path } = opened('pipe.log')
  execFileSync('mkfifo', [path])
  expect(await problemOf(journal.sync())).toMatchObject({ code: 'run-corrupt', found: expect.stringContaining('a pipe') })
})

test('a journal that is replaced or deleted under a worker ends it in words', async () => {
  const path = join(folder, 'replaced', 'journal.log')
  const { journal } = opened('replaced/journal.log')
  await adding(journal, begun(0), begun(1))
  writeFileSync(path, readFileSync(path, 'utf8').split('\n')[0]!)
  await expect(adding(journal, begun(2))).rejects.toMatchObject({
    code: 'sweep-corrupt',
    message: expect.stringContaining('replaced'),
  })
  rmSync(path)
  await expect(journal.sync()).rejects.toMatchObject({ code: 'sweep-corrupt', found: 'no such file' })
  rmSync(join(folder, 'replaced'), { recursive: true })
  await expect(adding(journal, begun(2))).rejects.toMatchObject({ code: 'cannot-write' })
  expect(existsSync(join(folder, 'replaced'))).toBe(false)
})

test('a lock whose process is gone is taken over; one of another machine after its time', async () => {
  const { journal, path } = opened('locked.log')
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${path}.lock`, JSON.stringify({ host: hostname(), pid: 2 ** 30, started: 'x', token: 'a' }))
  await adding(journal, begun(0))
  writeFileSync(`${path}.lock`, 'no owner at all')
  const { utimesSync } = await import('node:fs')
  utimesSync(`${path}.lock`, new Date(Date.now() - 60_000), new Date(Date.now() - 60_000))
  await adding(journal, begun(1))
  expect(() => statSync(`${path}.lock`)).toThrow('ENOENT')
})

test('a worker that is gone is known by its process, or by its silence', async () => {
  const place = join(folder, 'workers')
  await using own = await joinWorkers(place)
  const write = (id: string, owner: object) => writeFileSync(join(place, `${id}.json`), JSON.stringify(owner))
  write('dead', { host: hostname(), pid: 2 ** 30, started: 'x' })
  write('elsewhere', { host: 'another-machine', pid: 1 })
  write('silent', { host: 'another-machine', pid: 1 })
  const { utimesSync } = await import('node:fs')
  utimesSync(join(place, 'silent.json'), new Date(Date.now() - 600_000), new Date(Date.now() - 600_000))
  expect([...(await own.gone([own.id, 'dead', 'elsewhere', 'silent', 'never-there']))].sort()).toEqual([
    'dead',
    'never-there',
    'silent',
  ])
})

test('ten thousand trials are read at once, and one more is added without reading them again', async () => {
  const { journal, path } = opened('long.log')
  const records = Array.from({ length: 10_000 }, (_, trial): SweepRecord[] => [
    begun(trial),
    { type: 'finished', trial, figures: { accuracy: { value: 0.5, low: 0.4, high: 0.6 } }, steps: 20, seconds: 1 },
  ]).flat()
  await adding(journal, ...records)
  const before = statSync(path).size
  const late = opened('long.log')
  const started = performance.now()
  await late.journal.sync()
  const opening = performance.now() - started
  expect(late.trials.trials).toHaveLength(10_000)
  await adding(late.journal, begun(10_000))
  expect(statSync(path).size).toBeGreaterThan(before)
  // One second is what is promised of a quiet machine.
  expect(opening).toBeLessThan(5000)
})
