import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { temporaryFolder, toyConfig } from '../train/toy.js'
import { command, type Line, type Outcome } from './command.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

const configPath = join(folder, 'toy.yaml')
const at = (name: string) => join(folder, name)
/** Arguments of a run that is long enough to be stopped, and the same for every caller. */
const long = (out: string) => [
  ...['tune', '--config', configPath, '--out', out, '--steps', '400', '--threads', '1', '--json', '--quiet'],
  ...['--train.evaluate-every', '100', '--train.checkpoint-every', '10'],
]
const isStep = (step: number) => (line: Line) => line.event === 'step' && line.step === step

let whole: Outcome
let finished: string
beforeAll(async () => {
  const { out: _, ...config } = toyConfig(folder)
  writeFileSync(configPath, stringify(config))
  finished = at('finished')
  whole = await command(['tune', '--config', configPath, '--out', finished, '--json'])
})

describe('tune', () => {
  test('prints an object a line, and text on standard error', () => {
    expect(whole.code).toBe(0)
    // The toy's few sentences stand in every part, which is said before anything is computed.
    const events = whole.lines.map(({ event }) => event)
    expect(events.slice(0, 5)).toEqual(['warning', 'warning', 'warning', 'loaded', 'control'])
    expect(events.filter(event => event === 'step')).toHaveLength(30)
    expect(events.filter(event => event === 'result')).toHaveLength(1)
    expect(events.at(-1)).toBe('result')
    expect(whole.lines.at(-1)).toMatchObject({ folder: finished, parameters: 128, steps: 30, rows: 12 })
    expect(whole.stderr).toMatch(/base model +base model, instructed +tuned/)
    expect(whole.stderr).toMatch(/step 30\/30 +loss/)
  })

  test('leaves a whole run folder', async () => {
    for (const name of ['config.yaml', 'events.jsonl', 'prompt.safetensors', 'result.json', 'report.html'])
      expect(existsSync(join(finished, name))).toBe(true)
    const logged = (await readFile(join(finished, 'events.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map(line => JSON.parse(line).event)
    expect(logged).toEqual(whole.lines.map(({ event }) => event))
  })

  test('refuses a folder that holds a run, and says how to go on', async () => {
    const { code, stderr } = await command(['tune', '--config', configPath, '--out', finished])
    expect(code).toBe(2)
    expect(stderr).toContain('error[run-exists]')
    expect(stderr).toContain(`gradprompt resume ${finished}`)
  })

  test('text goes to standard output without --json', async () => {
    const { code, stdout, stderr } = await command([
      'tune',
      '--config',
      configPath,
      '--out',
      at('text'),
      '--steps',
      '2',
      '--quiet',
    ])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`gradprompt export ${at('text')} --to peft`)
    expect((await command(['inspect', at('text')])).stdout).toContain('--to peft')
  })

  test('a prompt that nothing else can hold is not said to be exportable', async () => {
    const method = ['--method.type', 'lpt', '--method.num-virtual-tokens', '2', '--method.insertion-layer', '1']
    const { code, stdout } = await command(['tune', '--config', configPath, '--out', at('lpt'), '--steps', '1', ...method])
    expect(code).toBe(0)
    expect(stdout).toContain(`gradprompt evaluate ${at('lpt')}`)
    expect(stdout).not.toContain('gradprompt export')
  })

  test('stops at numbers that are not finite', async () => {
    const { code, stderr } = await command(['tune', '--config', configPath, '--out', at('nan'), '--learning-rate', '1e38'])
    expect(code).toBe(2)
    expect(stderr).toContain('error[loss-not-finite]')
  })
})

describe('a run that is stopped', () => {
  let expected: Buffer
  beforeAll(async () => {
    expect((await command(long(at('uninterrupted')))).code).toBe(0)
    expected = readFileSync(join(at('uninterrupted'), 'prompt.safetensors'))
  })

  test('by Ctrl-C ends with 130 and a checkpoint, and resumes to the same bits', async () => {
    const out = at('ctrl-c')
    const stopped = await command(long(out), {
      onLine: (line, child) => {
        if (isStep(55)(line)) child.kill('SIGINT')
      },
    })
    expect(stopped.code).toBe(130)
    expect(stopped.lines.at(-1)!.event).toBe('checkpoint')
    expect(stopped.lines.some(({ event }) => event === 'result')).toBe(false)
    const { code, lines } = await command(['resume', out, '--json'])
    expect(code).toBe(0)
    expect(lines.find(({ event }) => event === 'step')!.step).toBe((stopped.lines.at(-1)!.step as number) + 1)
    expect(readFileSync(join(out, 'prompt.safetensors')).equals(expected)).toBe(true)
  })

  test('by a killed command leaves no process behind, and resumes to the same bits', async () => {
    const out = at('killed')
    const stopped = await command(long(out), {
      onLine: (line, child) => {
        if (isStep(35)(line)) child.kill('SIGKILL')
      },
    })
    expect(stopped.code).toBe(null)
    expect((await command(['resume', out, '--quiet'])).code).toBe(0)
    expect(readFileSync(join(out, 'prompt.safetensors')).equals(expected)).toBe(true)
  })

  // The child is found through /proc, which Linux alone has.
  test.runIf(process.platform === 'linux')('by the death of the computing process fails, and says how to go on', async () => {
    const out = at('died')
    const { code, stderr } = await command(long(out), {
      onLine: (line, child) => {
        if (isStep(35)(line)) process.kill(childrenOf(child.pid!)[0]!, 'SIGKILL')
      },
    })
    expect(code).toBe(1)
    expect(stderr).toContain('error[computation-died]')
    expect(stderr).toContain(`gradprompt resume ${out}`)
  })

  test('goes on with more steps, and is shown again when there is nothing to do', async () => {
    const more = await command(['resume', finished, '--steps', '35', '--json'])
    expect(more.code).toBe(0)
    expect(more.lines.at(-1)).toMatchObject({ event: 'result', steps: 35 })
    const again = await command(['resume', finished, '--json'])
    expect(again.lines).toEqual([more.lines.at(-1)])
    const fewer = await command(['resume', finished, '--steps', '3'])
    expect(fewer.code).toBe(2)
    expect(fewer.stderr).toContain('error[invalid-steps]')
  })
})

describe('a finished run', () => {
  test('is scored beside the base model, against a threshold', async () => {
    const passed = await command(['evaluate', finished, '--data', at('toy.tsv'), '--threshold', '0', '--json'])
    expect(passed.code).toBe(0)
    const [warning, result] = passed.lines
    expect(warning).toMatchObject({
      event: 'warning',
      code: 'overlapping-rows',
      message: expect.stringMatching(/^48 of 48 rows/),
    })
    expect(result).toMatchObject({ event: 'result', rows: 48, passed: true, labels: ['the', 'of'] })
    expect(result!.control).toMatchObject({ instruction: 'Classify the text. Answer with one word: the or of.' })
    const text = await command(['evaluate', finished, '--data', at('toy.tsv'), '--limit', '8', '--no-control'])
    expect(text.stdout).toMatch(/8 rows on llama-gqa/)
    expect(text.stdout).not.toContain('base model')
  })

  test('is compared with another, by the rows that both scored themselves, as text and as a page', async () => {
    const other = at('other')
    await command(['tune', '--config', configPath, '--out', other, '--steps', '5', '--quiet'])
    // The test rows, which come before those of dev.
    const { code, stdout } = await command(['compare', `long=${finished}`, `short=${other}`])
    expect(code).toBe(0)
    expect(stdout).toContain('4 rows [95 % interval]')
    expect(stdout).toContain(`report: ${join(folder, 'compare.html')}\n`)
    expect(readFileSync(join(folder, 'compare.html'), 'utf8')).toContain('<code>train.steps</code>')
    const elsewhere = await command(['compare', finished, other, '--report', at('page.html'), '--json'])
    expect(elsewhere.lines[0]).toMatchObject({ rows: 4, report: at('page.html') })
    expect(elsewhere.lines[0]).not.toHaveProperty('replaced')
    const again = await command(['compare', finished, other])
    expect(again.stdout).toContain(
      `report: ${join(folder, 'compare.html')} (in place of the page that stood there; --report FILE`,
    )
    const none = await command(['compare', finished, other, '--no-report', '--json'])
    expect(none.lines[0]).not.toHaveProperty('report')
  })

  test('below the threshold the exit code is 1', async () => {
    const flags = ['--template', 'x {text}', '--answer', ' {label}', '--columns', 'text,label', '--labels', '0=the,1=of']
    const { code, stderr, lines } = await command([
      ...['evaluate', '--model', 'test/fixtures/models/llama-gqa', '--data', at('toy.tsv'), ...flags],
      ...['--instruction', 'Say it.', '--threshold', '1', '--json'],
    ])
    expect(code).toBe(1)
    expect(stderr).toContain('accuracy is below 1')
    expect(lines[0]).toMatchObject({ passed: false, control: { instruction: null } })
  })

  test('whose answers were generated before is judged again without a pace', async () => {
    const once = () =>
      command(['evaluate', finished, '--data', at('toy.tsv'), '--limit', '4', '--generate', '--max-new-tokens', '2'])
    expect((await once()).stdout).toMatch(/4 rows on llama-gqa, [\d.]+ rows\/s \[95 %/)
    const { stdout } = await once()
    expect(stdout).toMatch(/4 rows on llama-gqa \[95 %/)
    expect(stdout).toContain('0 tokens generated in exact arithmetic (fp32), 4 rows from before')
  })

  test('needs rows, which a part set aside is not', async () => {
    const { code, stderr } = await command(['evaluate', finished])
    expect(code).toBe(2)
    expect(stderr).toContain('expected: --data FILE')
  })

  test('is exported, once', async () => {
    const out = at('peft')
    const { code, lines } = await command(['export', finished, '--to', 'peft', '--out', out, '--json'])
    expect(code).toBe(0)
    expect(lines).toEqual([
      {
        event: 'result',
        folder: out,
        files: ['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'self-test.json'],
      },
    ])
    const again = await command(['export', finished, '--to', 'peft', '--out', out])
    expect(again.code).toBe(2)
    expect(again.stderr).toContain('error[folder-not-empty]')
    const unknown = await command(['export', finished, '--to', 'left', '--out', at('left')])
    expect(unknown.code).toBe(2)
    expect(unknown.stderr).toContain('did you mean peft?')
  })

  test('is described in words, and so is its prompt', async () => {
    const run = await command(['inspect', finished])
    expect(run.code).toBe(0)
    expect(run.stdout).toMatch(/^state +finished after/m)
    expect(run.stdout).toMatch(/^ +1 +norm \d/m)
    const prompt = await command(['inspect', join(finished, 'prompt.safetensors'), '--json'])
    expect(prompt.lines[0]).toMatchObject({ kind: 'prompt', numVirtualTokens: 4, hiddenSize: 32 })
    expect(prompt.lines[0]!.nearest).toHaveLength(4)
  })

  test('its report can be written anew', async () => {
    const path = join(finished, 'report.html')
    writeFileSync(path, '')
    const { code } = await command(['inspect', finished, '--report'])
    expect(code).toBe(0)
    expect(readFileSync(path, 'utf8')).toContain('What the vectors read as')
    const refused = await command(['inspect', 'test/fixtures/models/llama-gqa', '--report'])
    expect(refused.code).toBe(2)
  })
})

test('doctor tries the devices', async () => {
  const { code, lines } = await command(['doctor', '--json'])
  expect(code).toBe(0)
  expect(lines.find(({ what }) => what === 'device cpu')).toMatchObject({ ok: true })
  const dml = lines.find(({ what }) => what === 'device dml')
  if (process.platform !== 'win32') expect(dml).toMatchObject({ ok: false, detail: `not on ${process.platform}` })
})

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
