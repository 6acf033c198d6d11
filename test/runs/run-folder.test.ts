import { spawn, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createRun, openRun, type Run, refuseOccupied } from '../../src/store/run-folder.js'

const config = {
  model: 'models/tiny',
  data: { labels: { '0': 'negative', '1': 'positive' } },
  template: 'Review: {text}\nSentiment:',
}
const code = (code: string) => expect.objectContaining({ name: 'GradpromptError', code })

let folder: string
let open: Run[]
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-run-'))
  open = []
})
afterEach(async () => {
  for (const run of open) await run.close()
  await rm(folder, { recursive: true })
})
const create = async (out: string | undefined, name = 'sst2') => {
  const run = await createRun(out, { config, name, details: { threads: 2 }, parent: join(folder, 'runs') })
  open.push(run)
  return run
}
const openForWriting = async (path: string) => {
  const run = await openRun(path, { write: true })
  open.push(run)
  return run
}

describe('createRun', () => {
  test('writes config and details, which openRun reads', async () => {
    const out = join(folder, 'deep', 'er')
    const run = await create(out)
    expect(run.folder).toBe(out)
    expect((await readdir(out)).sort()).toEqual(['checkpoints', 'config.yaml', 'run.json', 'run.lock'])
    const read = await openRun(out)
    expect(read.config).toEqual(config)
    expect(read.details).toEqual({ threads: 2 })
    expect(await read.readResult()).toBeUndefined()
    expect(await read.readEvents()).toEqual([])
    await run.close()
    expect(await readdir(out)).not.toContain('run.lock')
  })

  test('without a folder makes a new name each time, also when many start at once', async () => {
    const runs = await Promise.all(Array.from({ length: 6 }, () => create(undefined)))
    expect(runs.map(run => run.folder).sort()).toEqual(
      ['sst2', 'sst2-2', 'sst2-3', 'sst2-4', 'sst2-5', 'sst2-6'].map(name => join(folder, 'runs', name)),
    )
    const odd = await create(undefined, '../../e v/il')
    expect(odd.folder).toBe(join(folder, 'runs', 'e-v-il'))
  })

  test('refuses a folder that holds a run, and offers to resume it', async () => {
    const out = join(folder, 'run')
    await (await create(out)).close()
    const before = await readFile(join(out, 'config.yaml'))
    await expect(create(out)).rejects.toThrow(
      expect.objectContaining({ code: 'run-exists', hint: `npx gradprompt resume ${out}, or another --out` }),
    )
    await expect(refuseOccupied(out)).rejects.toThrow(code('run-exists'))
    expect(await readFile(join(out, 'config.yaml'))).toEqual(before)
  })

  test('refuses other files and leaves them alone; takes an empty folder', async () => {
    const out = join(folder, 'mine')
    await mkdir(out)
    await writeFile(join(out, 'thesis.tex'), 'x')
    await expect(create(out)).rejects.toThrow(expect.objectContaining({ code: 'folder-not-empty', found: 'thesis.tex' }))
    expect(await readdir(out)).toEqual(['thesis.tex'])
    await expect(create(join(out, 'thesis.tex'))).rejects.toThrow(code('cannot-write'))
    await expect(create(join(out, 'thesis.tex', 'run'))).rejects.toThrow(code('cannot-write'))
    await mkdir(join(folder, 'empty'))
    await create(join(folder, 'empty'))
    await expect(refuseOccupied(join(folder, 'absent'))).resolves.toBeUndefined()
  })

  test('of two that want one folder at once, one gets it', async () => {
    for (const exists of [false, true]) {
      const out = join(folder, `wanted-${exists}`)
      if (exists) await mkdir(out)
      const results = await Promise.allSettled(Array.from({ length: 4 }, () => create(out)))
      const refused = results.flatMap(result => (result.status === 'rejected' ? [result.reason.code] : []))
      expect(refused).toHaveLength(3)
      for (const reason of refused) expect(['run-exists', 'run-locked', 'folder-not-empty']).toContain(reason)
      expect((await openRun(out)).config).toEqual(config)
    }
  })

  test('takes what a process left that was killed before the config was written', async () => {
    const out = join(folder, 'half')
    await mkdir(join(out, 'checkpoints'), { recursive: true })
    await writeFile(join(out, 'run.json'), '{}')
    await writeFile(join(out, 'config.yaml.123-0.tmp'), 'mod')
    await writeFile(join(out, 'run.lock'), JSON.stringify({ pid: deadPid(), started: 'x' }))
    await create(out)
    await (await create(join(folder, 'whole'))).close()
  })
})

describe('openRun', () => {
  test('says what is not a run', async () => {
    await expect(openRun(join(folder, 'absent'))).rejects.toThrow(
      expect.objectContaining({ code: 'not-a-run', found: 'no such folder' }),
    )
    await expect(openRun(folder)).rejects.toThrow(expect.objectContaining({ code: 'not-a-run', found: 'no config.yaml in it' }))
  })

  test.each([
    ['config.yaml', 'a: [1'],
    ['config.yaml', 'just words'],
    ['config.yaml', '[1, 2]'],
    ['run.json', '{"threads": 2'],
  ])('says that %s is broken: %s', async (name, text) => {
    const run = await create(join(folder, 'run'))
    await run.close()
    await writeFile(join(run.folder, name), text)
    await expect(openRun(run.folder, { write: true })).rejects.toThrow(code('run-corrupt'))
    expect(await readdir(run.folder)).not.toContain('run.lock')
  })

  test.each(['events.jsonl', 'run.lock', 'checkpoints'])(
    'says that %s cannot be read where something else stands',
    async name => {
      const run = await create(join(folder, 'run'))
      await run.close()
      const path = join(run.folder, name)
      await rm(path, { recursive: true, force: true })
      await (name === 'checkpoints' ? writeFile(path, '') : mkdir(path))
      const read = async () => {
        await using opened = await openRun(run.folder, { write: name === 'run.lock' })
        await opened.readEvents()
        await opened.latestCheckpoint()
      }
      await expect(read()).rejects.toThrow(code('run-corrupt'))
      await rm(path, { recursive: true })
    },
  )

  test.skipIf(process.platform === 'win32')('refuses a pipe in the place of its log, and does not wait for it', async () => {
    const run = await create(join(folder, 'run'))
    await run.close()
    await rm(join(run.folder, 'events.jsonl'), { force: true })
    spawnSync('mkfifo', [join(run.folder, 'events.jsonl')])
    const opened = await openRun(run.folder)
    await expect(opened.readEvents()).rejects.toThrow(code('run-corrupt'))
  })

  test.each(['result.json', 'checkpoints/step-000001.safetensors'])(
    'says that a folder stands at %s where it is to go',
    async name => {
      const run = await create(join(folder, 'run'))
      await mkdir(join(run.folder, name), { recursive: true })
      await expect(run.rewind(0)).rejects.toThrow(code('cannot-write'))
    },
  )

  test('does not expand a YAML bomb', async () => {
    const run = await create(join(folder, 'run'))
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]']
    for (let i = 1; i < 12; i++) lines.push(`a${i}: &a${i} [${Array(10).fill(`*a${i - 1}`)}]`)
    await writeFile(join(run.folder, 'config.yaml'), lines.join('\n'))
    await expect(openRun(run.folder)).rejects.toThrow(code('run-corrupt'))
  })

  test('opened for reading it cannot be written', async () => {
    const { folder: path } = await create(join(folder, 'run'))
    const run = await openRun(path)
    expect(() => run.appendEvent({ event: 'step', step: 1 })).toThrow('opened for reading')
    await expect(run.writeResult({})).rejects.toThrow('opened for reading')
    await expect(run.rewind(0)).rejects.toThrow('opened for reading')
  })

  test('for writing removes what a kill left half-written', async () => {
    const run = await create(join(folder, 'run'))
    await run.close()
    await writeFile(join(run.folder, 'checkpoints', 'step-000007.safetensors.ab12.tmp'), 'half')
    await writeFile(join(run.folder, 'result.json.99-3.tmp'), '{')
    await writeFile(join(run.folder, `run.lock.${deadPid()}-0.tmp`), '{')
    await openForWriting(run.folder)
    expect((await readdir(run.folder)).sort()).toEqual(['checkpoints', 'config.yaml', 'run.json', 'run.lock'])
    expect(await readdir(join(run.folder, 'checkpoints'))).toEqual([])
  })
})

describe('the lock', () => {
  test('keeps a second writer out until the first is done', async () => {
    const run = await create(join(folder, 'run'))
    await expect(openRun(run.folder, { write: true })).rejects.toThrow(
      expect.objectContaining({ code: 'run-locked', found: expect.stringContaining(`process ${process.pid}`) }),
    )
    await expect(openRun(run.folder)).resolves.toBeDefined()
    await run.close()
    await openForWriting(run.folder)
  })

  test('is held by a living process and stale after its death', async () => {
    const run = await create(join(folder, 'run'))
    await run.close()
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {})'])
    await new Promise(resolve => child.once('spawn', resolve))
    await writeFile(join(run.folder, 'run.lock'), JSON.stringify({ pid: child.pid }))
    await expect(openRun(run.folder, { write: true })).rejects.toThrow(code('run-locked'))
    const exited = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGKILL')
    await exited
    await openForWriting(run.folder)
  })

  // When a process began, by which a reused id is told, is read from /proc, which Linux alone has.
  test.skipIf(process.platform !== 'linux')('is stale when its process id belongs to another process now', async () => {
    const run = await create(join(folder, 'run'))
    const lock = JSON.parse(await readFile(join(run.folder, 'run.lock'), 'utf8'))
    await run.close()
    await writeFile(join(run.folder, 'run.lock'), JSON.stringify({ ...lock, started: `${lock.started}0` }))
    await openForWriting(run.folder)
  })

  test.each(['', 'null', '{"pid":-1}', '{"pid":"1"}', '7'])('is stale when it is %j', async text => {
    const run = await create(join(folder, 'run'))
    await run.close()
    await writeFile(join(run.folder, 'run.lock'), text)
    await openForWriting(run.folder)
  })

  test('of many that find it stale, one takes it over', async () => {
    const run = await create(join(folder, 'run'))
    await run.close()
    for (let round = 0; round < 10; round++) {
      await writeFile(join(run.folder, 'run.lock'), JSON.stringify({ pid: deadPid(), round }))
      const results = await Promise.allSettled(Array.from({ length: 6 }, () => openRun(run.folder, { write: true })))
      const winners = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []))
      expect(winners).toHaveLength(1)
      await winners[0]!.close()
    }
  })
})

describe('events', () => {
  test('are lines; a resumed run drops those after its checkpoint, a torn one and the result', async () => {
    const run = await create(join(folder, 'run'))
    run.appendEvent({ event: 'loaded' })
    for (let step = 1; step <= 6; step++) {
      run.appendEvent({ event: 'step', step })
      if (step % 2 === 0) run.appendEvent({ event: 'dev', step })
    }
    await run.writeResult({ event: 'result' })
    run.appendEvent({ event: 'result' })
    await run.close()
    const path = join(run.folder, 'events.jsonl')
    const whole = await readFile(path, 'utf8')
    expect(whole.split('\n').slice(0, 2)).toEqual(['{"event":"loaded"}', '{"event":"step","step":1}'])
    await writeFile(path, `${whole}{"event":"st`)

    const resumed = await openForWriting(run.folder)
    expect(await resumed.readEvents()).toHaveLength(11)
    await resumed.rewind(4)
    expect((await resumed.readEvents()).at(-1)).toEqual({ event: 'dev', step: 4 })
    expect(await resumed.readResult()).toBeUndefined()
    for (let step = 5; step <= 6; step++) {
      resumed.appendEvent({ event: 'step', step })
      if (step % 2 === 0) resumed.appendEvent({ event: 'dev', step })
    }
    resumed.appendEvent({ event: 'result' })
    expect(await readFile(path, 'utf8')).toBe(whole)

    await resumed.rewind(0)
    expect(await readFile(path, 'utf8')).toBe('{"event":"loaded"}\n')
  })

  test('a log cut at any byte reads as its whole lines', async () => {
    const run = await create(join(folder, 'run'))
    for (let step = 1; step <= 3; step++) run.appendEvent({ event: 'step', step })
    const path = join(run.folder, 'events.jsonl')
    const text = await readFile(path, 'utf8')
    for (let length = 0; length <= text.length; length++) {
      await writeFile(path, text.slice(0, length))
      const lines = text
        .slice(0, length)
        .split('\n')
        .filter(line => line.endsWith('}')).length
      expect(await run.readEvents()).toHaveLength(lines)
    }
  })
})

function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid
}
