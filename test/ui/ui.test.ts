import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { acquireLock } from '../../src/store/lock.js'
import { readConfigText, withOption } from '../../src/ui/parts/config-text.js'
import { Overview } from '../../src/ui/parts/overview.js'
import { Places } from '../../src/ui/parts/places.js'
import { startUi } from '../../src/ui/server.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'
import { openedUi, token, writeRun } from './support/opened.js'

const elsewhere = temporaryFolder()
let opened: Awaited<ReturnType<typeof openedUi>>
beforeAll(async () => {
  opened = await openedUi()
  const { folder } = opened
  writeFileSync(join(folder, 'secret.txt'), 'secret')
  writeRun(join(folder, 'runs', 'a'))
  writeRun(join(elsewhere.folder, 'run'))
  symlinkSync(join(elsewhere.folder, 'run'), join(folder, 'runs', 'linked'))
  writeRun(join(folder, 'runs', 'é <b>#%2F 日本'), { finished: false })
})
afterAll(async () => {
  await opened.close()
  elsewhere.remove()
})

interface Acted {
  readonly status: number
  readonly job: string
  readonly state: string
  readonly html: string
}
const act = async (name: string, body: unknown, headers = {}): Promise<Acted> => {
  const { status, text } = await opened.ask(`/do/${name}`, { body: JSON.stringify(body), headers })
  return { status, ...(JSON.parse(text) as Omit<Acted, 'status'>) }
}
/** What a command came to, when it has ended. */
const ended = async (answer: Acted) => {
  await vi.waitFor(async () => expect((await act('job', { job: answer.job })).state).not.toBe('running'), { timeout: 10_000 })
  return act('job', { job: answer.job })
}

describe('who may ask', () => {
  test('the address that is printed gives a cookie; without it, or with another, nothing is said', async () => {
    const { ask, ui } = opened
    for (const path of ['/', '/at/runs/a/', '/assets/ui.js', '/live', '/do/job'])
      expect(await ask(path, { known: false })).toMatchObject({ status: 401, text: expect.stringContaining('no-token') })
    expect((await ask('/?token=wrong', { known: false })).status).toBe(401)
    const first = await ask(`/new?token=${token}&data=x`, { known: false })
    expect(first).toMatchObject({ status: 303, headers: { location: '/new?data=x' } })
    expect(first.headers['set-cookie']).toEqual([`gradprompt-${ui.port}=${token}; HttpOnly; SameSite=Strict; Path=/`])
    expect((await ask('/', { headers: { authorization: `Bearer ${token}` }, known: false })).status).toBe(200)
  })

  test('another host, origin or site is refused, whatever it knows', async () => {
    const { ask, ui } = opened
    for (const host of ['evil.example', `evil.example:${ui.port}`, '127.0.0.1.evil.example', 'localhost:1', '10.0.0.1'])
      expect(await ask('/', { headers: { host } }), host).toMatchObject({ status: 403 })
    expect((await ask('/', { headers: { host: `localhost:${ui.port}` } })).status).toBe(200)
    for (const headers of [
      { origin: 'http://evil.example' },
      { origin: 'null' },
      { origin: 'http://127.0.0.1:1' },
      { 'sec-fetch-site': 'cross-site' },
    ])
      expect(await act('job', { job: '1' }, headers), JSON.stringify(headers)).toMatchObject({ status: 403 })
    expect((await act('job', { job: '1' }, { 'content-type': 'text/plain' })).status).toBe(415)
    expect(
      await problemOf(startUi({ folder: '.', host: '0.0.0.0', port: 0, token, commandLine: { program: '', args: [] } })),
    ).toMatchObject({ code: 'invalid-option' })
  })

  test('nothing may be loaded from elsewhere, and no text of a run is a script', async () => {
    const { ask, ui } = opened
    const { headers, text } = await ask('/at/runs/a/')
    expect(headers['content-security-policy']).toContain("script-src 'self'")
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(text).not.toContain('<img')
    expect(text.match(/<script(?! type="application\/json")[^>]*>/g)).toEqual(['<script src="/assets/ui.js">'])
    mkdirSync(join(opened.folder, 'runs/a/evaluations'), { recursive: true })
    writeFileSync(join(opened.folder, 'runs/a/evaluations/x.html'), '<script>1</script>')
    const foreign = await ask('/at/runs/a/evaluations/x.html')
    expect(foreign.headers['content-security-policy']).toMatch(/^sandbox allow-scripts[^;]*; default-src 'none'/)
    expect(foreign.headers['content-security-policy']).not.toContain('allow-same-origin')
    expect(ui.url).toContain('http://127.0.0.1:')
  })

  test('no path leads out of the folder', async () => {
    const { ask, folder } = opened
    symlinkSync('/etc', join(folder, 'runs', 'etc'))
    symlinkSync('/etc/passwd', join(folder, 'runs/a/metrics.csv'))
    const paths = [
      '../secret.txt',
      '..%2fsecret.txt',
      'runs/..%2F..%2Fsecret.txt',
      'runs/a/../../secret.txt',
      'runs/etc/passwd',
      'runs/linked/',
      'runs/a/metrics.csv',
      'secret.txt',
      'runs/a/%00',
      'runs//a/',
      'runs/a/..%5c',
      'runs/a/%zz',
      '/',
    ]
    for (const path of paths) {
      const answer = await ask(`/at/${path}`)
      expect(answer.status, path).toBe(404)
      expect(answer.text, path).not.toMatch(/secret$|root:/)
    }
    expect((await ask('/at/runs/a/result.json')).headers['content-disposition']).toContain('attachment')
  })
})

describe('pages', () => {
  test('runs of any name are listed and opened; a damaged one is named and harms no other', async () => {
    const { ask, folder, errors } = opened
    writeRun(join(folder, 'runs', 'torn'), { text: 'model: [' })
    writeRun(join(folder, 'runs', 'odd'))
    writeFileSync(join(folder, 'runs/odd/result.json'), '{"metrics": {"accuracy": 3}, "steps": 1}')
    await vi.waitFor(async () => expect((await ask('/')).text).toContain('What cannot be read'))
    const { text } = await ask('/')
    expect(text).toContain('href="/at/runs/a/"')
    expect(text).toContain('href="/at/runs/%C3%A9%20%3Cb%3E%23%252F%20%E6%97%A5%E6%9C%AC/"')
    expect(text).not.toContain('é <b>#')
    expect(text).toContain('leads out of the folder')
    expect(await ask('/at/runs/%C3%A9%20%3Cb%3E%23%252F%20%E6%97%A5%E6%9C%AC/')).toMatchObject({
      status: 200,
      text: expect.stringContaining('Go on'),
    })
    expect(await ask('/at/runs/torn/')).toMatchObject({ status: 400, text: expect.stringContaining('cannot be read') })
    expect(await ask('/at/runs/odd/')).toMatchObject({
      status: 500,
      text: expect.stringContaining('not as gradprompt writes it'),
    })
    expect((await ask('/at/runs/a/', { headers: { 'x-part': 'page' } })).text).toMatch(/^<div id="page">/)
    expect(await ask('/at/runs/a/report.html')).toMatchObject({ status: 303, headers: { location: '/at/runs/a/' } })
    expect((await ask('/compare?run=runs/a')).status).toBe(400)
    // Nobody's code is run by looking at what it is named in.
    const mark = join(folder, 'was-run')
    writeFileSync(join(folder, 'own.mjs'), `import fs from 'node:fs'; fs.writeFileSync(${JSON.stringify(mark)}, '')`)
    const own = `{ type: ${JSON.stringify(join(folder, 'own.mjs'))} }`
    const named = `model: base\ndata: { train: train.tsv, dev: dev.tsv }\ntemplate: "{text}"\nanswer: " {label}"\nmethod: ${own}\n`
    writeRun(join(folder, 'runs', 'own'), { text: named })
    mkdirSync(join(folder, 'sweeps', 'own'), { recursive: true })
    writeFileSync(join(folder, 'sweeps/own/sweep.yaml'), `${named}sweep: { over: { train.learningRate: [0.1, 0.2] } }\n`)
    await vi.waitFor(async () => expect((await ask('/')).text).toContain('names modules'))
    expect((await ask('/')).text).toContain('href="/at/runs/own/"')
    expect((await ask('/at/runs/own/')).status).toBe(200)
    expect(existsSync(mark)).toBe(false)

    expect(errors).toEqual([])
  })

  test('a change on the disk is told soon, also of a line that is not whole yet', async () => {
    const { ui, folder } = opened
    const run = join(folder, 'runs', 'live')
    writeRun(run, { finished: false })
    const told: number[] = []
    const stream = get(
      { port: ui.port, path: '/live?id=runs/live', headers: { cookie: `gradprompt-${ui.port}=${token}` } },
      response =>
        response
          .setEncoding('utf8')
          .on('data', (text: string) => text.includes('event: changed') && told.push(performance.now())),
    )
    stream.on('error', () => {})
    await new Promise(resolve => setTimeout(resolve, 350))
    const written = performance.now()
    appendFileSync(join(run, 'events.jsonl'), '{"event":"step","step":4,"lo')
    await vi.waitFor(() => expect(told).toHaveLength(1), { timeout: 5000 })
    expect(told[0]! - written).toBeLessThan(2000)
    expect((await opened.ask('/at/runs/live/')).text).toContain('loss over 3 steps')
    stream.destroy()
  })
})

test('runs under way are looked at by themselves, so that their curves need not wait for a look at all others', async () => {
  const { folder, remove } = temporaryFolder()
  for (const name of ['ended', 'under-way']) writeRun(join(folder, 'runs', name), { finished: name === 'ended' })
  const log = (name: string) => join(folder, 'runs', name, 'events.jsonl')
  await using _lock = await acquireLock(join(folder, 'runs', 'under-way', 'run.lock'))
  const overview = new Overview(new Places(folder))
  await overview.look()
  const steps = () => Object.fromEntries(overview.runs.map(({ id, summary }) => [id, summary!.steps]))
  const known = steps()
  const { version } = overview
  await overview.glance()
  expect(overview.version).toBe(version)
  for (const name of ['ended', 'under-way']) appendFileSync(log(name), '{"event":"step","step":9,"loss":1}\n')
  await overview.glance()
  expect(overview.version).toBe(version + 1)
  expect(steps()).toEqual({ ...known, 'runs/under-way': 9 })
  remove()
})

describe('what is done', () => {
  test('a command is started with its arguments alone, followed, and stopped', async () => {
    const begun = await act('start', { command: 'tune', yaml: 'seed: 1', dryRun: false })
    await vi.waitFor(
      async () => expect(await act('job', { job: begun.job })).toMatchObject({ state: 'running', href: '/at/runs/new%20run/' }),
      { timeout: 10_000 },
    )
    await act('stop-job', { job: begun.job })
    expect(await ended(begun)).toMatchObject({ state: 'stopped' })
    const refused = await ended(await act('start', { command: 'tune', yaml: 'seed: 1', dryRun: true }))
    expect(refused).toMatchObject({ state: 'failed', html: expect.stringContaining('data is missing &lt;b&gt;') })
    const [, config] = /--config (\S+) --dry-run --json/.exec(refused.html)!
    expect(existsSync(config!)).toBe(false)
    expect(await act('start', { command: 'rm', yaml: '', dryRun: true })).toMatchObject({ status: 400 })
    expect(await act('start', { command: 'tune', yaml: '[', dryRun: true })).toMatchObject({
      status: 400,
      error: { code: 'invalid-config' },
    })
    expect(await act('export', { id: 'runs/a', to: '../x' })).toMatchObject({ status: 400 })
    expect(await act('stop', { id: 'runs/a' })).toMatchObject({ status: 409 })
    expect(await act('resume', { id: '../x' })).toMatchObject({ status: 404 })
    expect(await act('constructor', {})).toMatchObject({ status: 404 })
  })

  test('an example is a text to start from, whose paths hold from this folder', async () => {
    const { ask, folder } = opened
    const { text } = await ask('/new?example=sst2/quickstart')
    expect(text).toContain('<option selected>sst2/quickstart</option>')
    const [, train] = /^ {2}train: (\S+)$/m.exec(text) ?? []
    expect(existsSync(join(folder, train!)), train).toBe(true)
    expect((await ask('/new?example=sweeps/sst2')).text).toContain('<option selected>sweep</option>')
    expect((await ask('/new?example=../../package')).text).not.toContain('devDependencies')
  })

  test('a file that is dropped takes a free name in data/, whatever it is called', async () => {
    const send = (name: string) =>
      opened.ask(`/upload?name=${encodeURIComponent(name)}`, {
        method: 'POST',
        body: 'a\tb\n',
        headers: { 'content-type': 'application/octet-stream' },
      })
    for (const name of ['../../x.tsv', 'x.tsv', '.x.tsv', 'ä 文.jsonl', '-rf.csv'])
      expect((await send(name)).status, name).toBe(200)
    expect(readdirSync(join(opened.folder, 'data')).sort()).toEqual(['rf.csv', 'x-2.tsv', 'x-3.tsv', 'x.tsv', 'ä 文.jsonl'])
    expect(JSON.parse((await send('x.exe')).text)).toMatchObject({ error: { code: 'unknown-format' } })
    expect((await ended(await act('inspect', { path: '--report' }))).html).toContain('<b>./--report</b>')
  })

  test('a text is said with and without the prompt, and each token has its probability', async () => {
    expect(await act('template', { id: 'runs/a' })).toMatchObject({ text: '{text}', chat: false })
    const question = { run: 'runs/a', text: 'a <i>', chat: false, maxNewTokens: 1, temperature: 0 }
    const { html } = await act('speak', question)
    expect(html).toContain('base')
    expect(html).toContain('./runs/a')
    expect(html).toContain('75.0 %')
    expect(html).not.toContain('<i>')
    expect(await act('speak', { ...question, maxNewTokens: 1e9 })).toMatchObject({
      status: 400,
      error: { code: 'invalid-request', message: 'maxNewTokens is not valid: found 1000000000, expected at most 1024' },
    })
    expect(await act('speak', { ...question, text: 7 })).toMatchObject({
      error: { message: 'text is not valid: found 7, expected a text' },
    })
  })
})

test('a field of the form is written into the text, whose comments stay; another type takes the options of the old one', () => {
  const text = '# mine\nmethod: { type: prompt-tuning, numVirtualTokens: 5 } # so many\ntrain:\n  epochs: 2 # passes\n'
  expect(withOption('tune', text, 'train.learningRate', '0.02')).toBe(`${text}  learningRate: 0.02\n`)
  expect(readConfigText(withOption('tune', text, 'train.steps', '7'))).toMatchObject({ train: { steps: 7 } })
  expect(readConfigText(withOption('tune', text, 'train.steps', '7')).train).not.toHaveProperty('epochs')
  expect(readConfigText(withOption('tune', text, 'method.type', 'dept'))).toMatchObject({ method: { type: 'dept' } })
  expect(withOption('tune', text, 'train.epochs', '')).not.toContain('train')
  expect(readConfigText(withOption('tune', '', 'template', '[{ role: user, content: "{text}" }]')).template).toEqual([
    { role: 'user', content: '{text}' },
  ])
  expect(readConfigText(withOption('tune', '', 'template', 'a\n{text}')).template).toBe('a\n{text}')
  expect(() => withOption('tune', text, '__proto__.x', '1')).toThrow(/unknown|no option/i)
  expect(() => withOption('tune', text, 'train.nope', '1')).toThrow()
  expect(readFileSync(join(opened.folder, 'secret.txt'), 'utf8')).toBe('secret')
})
