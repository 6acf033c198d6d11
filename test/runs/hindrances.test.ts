import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GradpromptError, writeError } from '../../src/errors.js'
import { applyScorer, loadScorer } from '../../src/evaluate/scorer.js'
import { createRun } from '../../src/store/run-folder.js'
import { command } from '../cli/command.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig } from '../train/toy.js'

let folder: string
let remove: () => void
beforeAll(() => {
  ;({ folder, remove } = temporaryFolder())
})
afterAll(() => remove())

const steps = { steps: 100_000, batchSize: 8, checkpointEvery: 1000 }
const configFile = (out: string): string => {
  const path = `${out}.json`
  writeFileSync(path, JSON.stringify(toyConfig(folder, { train: steps, out, threads: 1 })))
  return path
}

describe('a run that cannot go on ends in words', () => {
  test('its folder is deleted', async () => {
    const out = mkdtempSync(join(tmpdir(), 'gradprompt-deleted-'))
    await using run = await createRun(join(out, 'run'), { config: {}, name: 'run' })
    run.appendEvent({ event: 'step', step: 1 })
    rmSync(out, { recursive: true })
    expect(() => run.appendEvent({ event: 'step', step: 2 })).toThrow(
      expect.objectContaining({ code: 'run-deleted', exitCode: 1 }),
    )
    const tensors = [{ name: 'a', shape: [1], data: new Float32Array(1) }]
    expect(await problemOf(run.writeCheckpoint({ step: 2, tensors, state: {} }))).toMatchObject({ code: 'cannot-write' })
    expect(await problemOf(run.writeResult({}))).toMatchObject({ code: 'cannot-write', exitCode: 1 })
    expect(existsSync(out)).toBe(false)
  })

  test.each(['ENOSPC', 'EDQUOT', 'EFBIG'])('%s: the disk is full', code => {
    const error = Object.assign(new Error(code), { code, syscall: 'write' })
    expect(writeError(error, 'a file')).toMatchObject({ code: 'disk-full', exitCode: 1, cause: error })
    expect(writeError(new GradpromptError('other', ''), 'a file')).toMatchObject({ code: 'other' })
    expect(writeError(new RangeError('ours'), 'a file')).toBeInstanceOf(RangeError)
  })

  test.runIf(process.platform === 'linux')(
    'no byte may be written: every command says so, and leaves nothing in parts',
    async () => {
      const runs = join(folder, 'runs')
      const made = await createRun(join(runs, 'one'), { config: {}, name: 'one' })
      await made[Symbol.asyncDispose]()
      const rows = join(folder, 'rows.jsonl')
      writeFileSync(rows, '{"prompt":"a"}\n')
      const at = (name: string) => join(folder, 'full-disk', name)
      const model = ['--model', 'test/fixtures/models/llama-gqa', '--threads', '1']
      for (const args of [
        ['runs', runs, '--html'],
        ['init', at('started')],
        ['tune', '--config', configFile(join(folder, 'tuned')), '--out', at('tuned')],
        ['generate', ...model, '--input', rows, '--output', at('rows.jsonl')],
      ]) {
        const { code, stderr } = await command(args, { largestFile: 0 })
        expect([args[0], code, stderr]).toEqual([args[0], 1, expect.stringContaining('error[disk-full]')])
        expect(stderr).not.toContain('what was computed')
      }
      const kept = join(folder, 'evaluated')
      const short = join(folder, 'short.json')
      writeFileSync(short, JSON.stringify(toyConfig(folder, { train: { steps: 1, batchSize: 4 }, out: kept, threads: 1 })))
      expect((await command(['tune', '--config', short])).code).toBe(0)
      const scored = join(folder, 'scored.tsv')
      writeFileSync(scored, 'the wine\t0\n')
      const before = readdirSync(kept, { recursive: true }).sort()
      const { code, stderr } = await command(['evaluate', kept, '--data', scored, '--threads', '1'], { largestFile: 0 })
      expect([code, stderr]).toEqual([1, expect.stringMatching(/disk-full\]: .*evaluated.* cannot be written/)])
      expect(readdirSync(kept, { recursive: true }).sort()).toEqual([...before, 'evaluations'].sort())
      const left = readdirSync(at(''), { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
      expect(left).toEqual([])
      expect(readdirSync(runs)).toEqual(['one'])
      const again = await command(['init', at('started')])
      expect([again.code, again.stderr]).toEqual([0, ''])
    },
  )

  test.runIf(process.platform === 'linux')('standard output is full', async () => {
    const out = join(folder, 'full')
    const { code, stderr } = await command(['tune', '--config', configFile(out), '--json'], { stdout: '/dev/full' })
    expect([code, stderr]).toEqual([1, expect.stringContaining('error[disk-full]')])
  })

  test('whoever reads its events has left: with a checkpoint, and without its lock', async () => {
    const out = join(folder, 'left')
    const { code } = await command(['tune', '--config', configFile(out), '--json'], {
      onLine: ({ event }, child) => {
        if (event === 'step') child.stdout?.destroy()
      },
    })
    expect(code).toBe(0)
    expect(existsSync(join(out, 'run.lock'))).toBe(false)
    const { stdout } = await command(['inspect', out])
    const [, step] = /the last checkpoint is of step (\d+)/.exec(stdout) ?? []
    expect(Number(step)).toBeGreaterThan(0)
  })

  test('SIGTERM ends it with a checkpoint; while it runs, inspect says so', async () => {
    const out = join(folder, 'ended')
    let seen: Promise<string> | undefined
    const { code } = await command(['tune', '--config', configFile(out), '--json'], {
      onLine: ({ event }, child) => {
        if (event !== 'step' || seen !== undefined) return
        seen = command(['inspect', out]).then(({ stdout }) => {
          child.kill('SIGTERM')
          return stdout
        })
      },
    })
    expect(code).toBe(143)
    expect(await seen).toMatch(/running, in process \d+: step \d+ is done/)
    expect(readFileSync(join(out, 'events.jsonl'), 'utf8')).toContain('"checkpoint"')
  })
})

describe('scorers of people’s own have a limit of time', () => {
  const scorer = (name: string, text: string) => {
    const path = join(folder, `${name}.mjs`)
    writeFileSync(path, `export default { name: '${name}', seconds: 0.5, score: ${text} }`)
    return path
  }
  test.each([
    ['spins', '() => { for (;;); }', 'took longer than 0.5 s'],
    ['spins-later', 'async () => { await null; for (;;); }', 'took longer than 0.5 s'],
    ['waits', '() => new Promise(() => {})', 'took longer than 0.5 s'],
    ['exits', '() => process.exit(0)', 'ended its thread'],
    ['throws-anything', '() => { throw { get message() { throw 1 }, toString() { throw 2 } } }', 'cannot be shown'],
  ])('%s', async (name, text, said) => {
    const own = await loadScorer(scorer(name, text))
    expect(await applyScorer(own, { a: '1' }, 0, 'x')).toMatchObject({ score: 0, error: expect.stringContaining(said) })
  })

  test('the rows behind one that takes too long are scored', async () => {
    const own = await loadScorer(scorer('some', "(row, text) => { while (text === 'slow'); return text.length }"))
    const rows = await Promise.all(['a', 'slow', 'abc'].map((text, i) => applyScorer(own, { a: '1' }, i, text)))
    expect(rows.map(({ score }) => score)).toEqual([1, 0, 3])
  })

  test('functions in memory, too', async () => {
    for (const score of [
      () => new Promise<number>(() => {}),
      () => {
        for (;;);
      },
    ]) {
      const own = await loadScorer({ name: `memory-${score.toString().length}`, seconds: 0.2, score })
      expect(await applyScorer(own, { a: '1' }, 0, 'x')).toMatchObject({ error: expect.stringContaining('took longer') })
    }
  })
})
