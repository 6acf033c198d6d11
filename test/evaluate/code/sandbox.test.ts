import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSandbox, type Sandbox } from '../../../src/evaluate/sandbox/sandbox.js'

const hasPython = spawnSync('python3', ['--version']).status === 0
if (!hasPython) console.log('no python3: the sandbox is not tested')
const isLinux = process.platform === 'linux'

describe.skipIf(!hasPython)('programs that a model wrote', { timeout: 60_000 }, () => {
  let sandbox: Sandbox
  /** For what takes all the time that there is. */
  let brief: Sandbox
  let outside: string
  beforeAll(async () => {
    sandbox = await openSandbox({ seconds: 3, memory: 512 })
    brief = await openSandbox({ seconds: 1, memory: 512 })
    outside = await mkdtemp(join(tmpdir(), 'outside-'))
  })
  afterAll(() => rm(outside, { recursive: true, force: true }))

  /** How long it took, too. */
  const run = async (program: string, by = sandbox) => {
    const started = performance.now()
    const { passed, how } = await by.run(program)
    expect(performance.now() - started).toBeLessThan(20_000)
    return { passed, how }
  }

  test.runIf(isLinux && ['x64', 'arm64'].includes(process.arch))('nothing is left open here', () => {
    expect(sandbox.open).toEqual([])
  })

  test('a program that comes to its end has passed, and what it wrote is gone', async () => {
    const ours = () => readdirSync(tmpdir()).filter(name => name.startsWith('gradprompt-program-'))
    const before = ours()
    const whole = [
      'import math, json, re, collections, dataclasses, random, itertools, threading',
      '@dataclasses.dataclass',
      'class Point:\n    x: int',
      'open("own.txt", "w").write("ü")',
      'thread = threading.Thread(target=lambda: None); thread.start(); thread.join()',
      'assert Point(1).x == 1 and open("own.txt").read() == "ü"',
      'if __name__ == "__main__": raise ValueError',
    ].join('\n')
    expect(await run(whole)).toEqual({ passed: true, how: 'passed' })
    expect(ours()).toEqual(before)
  })

  test.each([
    ['a wrong result', 'assert 1 == 2', 'AssertionError'],
    ['what is no Python', 'def (', 'SyntaxError'],
    ['null bytes', 'x = 1\0', 'SyntaxError'],
    ['leaving early, as if all were well', 'import sys; sys.exit(0)', 'SystemExit'],
    ['leaving earlier still', 'import os; os._exit(0)', 'ended with code 0'],
    ['a write that hears no failure', 'import os\nw = os.write\nos._exit = lambda c: None\nos.write = lambda f, b: None if b.startswith(b"failed") else w(f, b)\nassert False', 'AssertionError'], // biome-ignore format: a row
    ['asking for the word of success', 'import sys\nimport __main__, os\nos.write(3, (__main__.asked["done"] + "\\n").encode())\nos._exit(0)', 'AttributeError'], // biome-ignore format: a row
    ['endless recursion', 'f = lambda: f()\nf()', 'RecursionError'],
    ['10 GB', 'x = bytearray(10 * 1000 ** 3)', 'MemoryError'],
    ['a list without end', 'x = [0]\nwhile True: x += x', 'MemoryError'],
    ['output without end', 'while True: print("x" * 1000)', 'output'],
    ['a large file', 'f = open("x", "wb")\nfor i in range(100): f.write(bytes(1 << 20)); f.flush()', 'OSError'],
    ['many files', 'i = 0\nwhile True:\n  open(str(i), "w").close(); i += 1', 'files'],
    ['a death of its own', 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)', 'ended by SIGKILL'],
  ])('%s has failed', async (_, program, how) => {
    expect(await run(program)).toEqual({ passed: false, how })
  })

  test.each([
    ['sleeping for ever', 'import time; time.sleep(1e6)', 'time'],
    ['a loop without end', 'while True: pass', 'time'],
    ['a loop that hears no signal', 'import signal\nfor n in range(1, 30):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass\nwhile True: pass', expect.stringMatching(/^(time|ended by SIGKILL)$/)], // biome-ignore format: a row
  ])('%s has failed', async (_, program, how) => {
    expect(await run(program, brief)).toEqual({ passed: false, how })
  })

  describe.runIf(isLinux && ['x64', 'arm64'].includes(process.arch))('on Linux', () => {
    test('a fork bomb starts nothing', async () => {
      const bomb = 'import os\nwhile True:\n  try: os.fork()\n  except PermissionError: raise'
      expect(await run(bomb)).toEqual({ passed: false, how: 'PermissionError' })
      expect(await run('import os\nwhile True:\n  try: os.fork()\n  except OSError: pass')).toEqual({
        passed: false,
        how: 'time',
      })
      expect((await run('import subprocess; subprocess.run(["true"])')).how).toBe('PermissionError')
      const threads = 'import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(100,)).start()'
      expect((await run(threads)).passed).toBe(false)
    })

    test('nothing outside its folder is written, moved or removed', async () => {
      const path = join(outside, 'written')
      for (const act of [
        `open(${JSON.stringify(path)}, "w")`,
        `import os; os.mkdir(${JSON.stringify(path)})`,
        `import os; os.symlink("/", ${JSON.stringify(path)})`,
        `import os; os.rmdir(${JSON.stringify(outside)})`,
        `import os; os.rename(${JSON.stringify(outside)}, "here")`,
        `import os; os.chmod(${JSON.stringify(outside)}, 0o777)`,
        `import os; os.symlink(${JSON.stringify(outside)}, "link"); open("link/written", "w")`,
      ])
        expect(await run(act), act).toEqual({ passed: false, how: 'PermissionError' })
      expect(existsSync(outside) && readdirSync(outside)).toEqual([])
    })

    test('nobody else is killed, and there is no network', async () => {
      expect((await run('import os; os.kill(os.getppid(), 9)')).how).toBe('PermissionError')
      expect((await run(`import os; os.kill(${process.pid}, 9)`)).how).toBe('PermissionError')
      expect((await run('import os; os.kill(0, 9)')).how).toBe('PermissionError')
      expect((await run('import socket; socket.create_connection(("127.0.0.1", 9))')).how).toBe('PermissionError')
      expect((await run('import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))')).passed).toBe(false)
    })

    test('what ends it with whoever asked cannot be taken back', async () => {
      const refused = 'import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.prctl(1, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1\nassert libc.prctl(3, 0, 0, 0, 0) >= 0' // biome-ignore format: one program
      expect(await run(refused)).toEqual({ passed: true, how: 'passed' })
    })

    test('nothing of the environment is told', async () => {
      process.env.GRADPROMPT_TEST_SECRET = 'told'
      expect(await run('import os; assert "GRADPROMPT_TEST_SECRET" not in os.environ')).toEqual({ passed: true, how: 'passed' })
      delete process.env.GRADPROMPT_TEST_SECRET
    })
  })

  test('folders too deep for a path are over the limit, and are removed', async () => {
    const ours = () => readdirSync(tmpdir()).filter(name => name.startsWith(`gradprompt-program-${process.pid}-`))
    const deep = 'import os\nfor i in range(40):\n  os.mkdir("d" * 200); os.chdir("d" * 200)\n'
    expect(await run(deep)).toMatchObject({ how: expect.stringMatching(/^(passed|files)$/) })
    expect(await run(`${deep}import time; time.sleep(60)`)).toEqual({ passed: false, how: 'files' })
    expect((await run('import os\nos.umask(0)\nos.makedirs("a/b"); os.mkdir("c", 0)')).how).toMatch(/^(passed|files)$/)
    expect(ours()).toEqual([])
  })

  test('what a process that is gone has left is swept at the start', async () => {
    const gone = spawnSync('true').pid
    const left = join(tmpdir(), `gradprompt-program-${gone}-abcdef`)
    mkdirSync(join(left, 'inside'), { recursive: true })
    await openSandbox()
    expect(existsSync(left)).toBe(false)
  })

  test('an interpreter that is not there is an error that says so', async () => {
    await expect(openSandbox({ interpreter: ['no-such-python'] })).rejects.toMatchObject({ code: 'no-interpreter' })
  })
})
