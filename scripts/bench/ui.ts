import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { GradpromptError } from '../../src/errors.js'
import { tune } from '../../src/index.js'
import { packageRoot } from '../../src/package-root.js'
import { acquireLock } from '../../src/store/lock.js'
import { chromiumArguments, chromiumPath } from './chromium.js'
import { median, round } from './processes.js'

export const usage = `npm run bench -- ui [--runs 1000] [--rounds 3] [--events 20]

What a person waits for in front of \`gradprompt ui\`, in Chromium, seconds: from the address to the first rows of the list of runs and to all of them, when the command has
just begun and when it has read them; and from a line in a run's log to its point in the curve that stands on the screen, on the run's page and in the list.`

const main = join(packageRoot(), 'dist/src/cli/main.js')

export async function run(args: readonly string[]): Promise<object> {
  const option = (name: string, fallback: number) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : fallback)
  const [runs, rounds, events] = [option('--runs', 1000), option('--rounds', 3), option('--events', 20)]
  const executablePath = chromiumPath()
  if (executablePath === undefined)
    throw new GradpromptError('package-missing', 'there is no Chromium', {
      expected: 'one of the system, or its path in GRADPROMPT_CHROMIUM',
      hint: 'apt-get install chromium',
    })
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-bench-'))
  const { chromium } = await import('playwright-core')
  await using browser = await chromium.launch({ executablePath, args: chromiumArguments })
  // What is waited for is asked by evaluated texts, which the page's own rules would forbid.
  const newPage = () => browser.newPage({ viewport: { width: 1400, height: 900 }, bypassCSP: true })
  try {
    const live = await writeRuns(folder, runs)
    const views: View[] = []
    for (let i = 0; i < rounds; i++) {
      await using ui = await startedUi(folder)
      const page = await newPage()
      const begun = await viewed(() => page.goto(ui.url, { waitUntil: 'commit' }), page, runs)
      const again = await viewed(() => page.reload({ waitUntil: 'commit' }), page, runs)
      views.push({ begun, again })
      await page.close()
    }
    await using ui = await startedUi(folder)
    // The list shows curves of runs that somebody works on.
    await using _lock = await acquireLock(join(live, 'run.lock'))
    const page = await newPage()
    await page.goto(ui.url)
    const name = basename(live)
    const inList = await behind(page, `live-runs/${name}`, live, events)
    await page.goto(new URL(`/at/runs/${name}/`, ui.url).href)
    const onPage = await behind(page, 'loss', live, events)
    const of = (kind: keyof View, what: keyof Seen) => round(median(views.map(view => view[kind][what])))
    return {
      machine: `${cpus()[0]?.model}, ${cpus().length} cores`,
      ...{ runs, rounds, events },
      firstView: {
        justBegun: { firstRows: of('begun', 'first'), allRows: of('begun', 'all') },
        whenRead: { firstRows: of('again', 'first'), allRows: of('again', 'all') },
      },
      curveBehindEvent: { onPage, inList },
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Seen {
  readonly first: number
  readonly all: number
}

interface View {
  readonly begun: Seen
  readonly again: Seen
}

/** A real run of the tiny model of the tests, as often as is wanted. @returns the folder of one of them */
async function writeRuns(folder: string, count: number): Promise<string> {
  const words = ['wine', 'stone']
  const rows = Array.from({ length: 48 }, (_, i) => ({ text: `the ${words[i % 2]}`, label: String(i % 2) }))
  const run = await tune({
    model: join(packageRoot(), 'test/fixtures/models/llama-gqa'),
    data: { train: rows, split: { dev: 12 }, labels: { 0: 'the', 1: 'of' } },
    ...{ template: '{text} -', answer: ' {label}', answerEnd: 'none', threads: 1 },
    method: { type: 'prompt-tuning', numVirtualTokens: 4 },
    train: { steps: 100, batchSize: 8, evaluateEvery: 25 },
    out: join(folder, 'one'),
  })
  const details = JSON.parse(readFileSync(join(run.folder, 'run.json'), 'utf8')) as object
  const isSmall = (path: string) => !/checkpoints|report\.html/.test(path)
  const places = Array.from({ length: count }, (_, i) => join(folder, 'runs', `run-${String(i).padStart(4, '0')}`))
  for (const [i, place] of places.entries()) {
    cpSync(run.folder, place, { recursive: true, filter: isSmall })
    const began = new Date(Date.UTC(2026, 0, 1) + 60_000 * i).toISOString()
    writeFileSync(join(place, 'run.json'), JSON.stringify({ ...details, began }))
  }
  rmSync(run.folder, { recursive: true })
  const live = places.at(-1)!
  rmSync(join(live, 'result.json'))
  return live
}

async function startedUi(folder: string): Promise<{ url: string } & AsyncDisposable> {
  const child: ChildProcess = spawn(process.execPath, [main, 'ui', folder, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string]
  const { url } = JSON.parse(line) as { url: string }
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}

/** Seconds until rows of the list are painted, and until all are there. */
async function viewed(open: () => Promise<unknown>, page: Page, count: number): Promise<Seen> {
  const started = performance.now()
  await open()
  const until = async (rows: number) => {
    const painted = "performance.getEntriesByName('first-contentful-paint').length > 0"
    await page.waitForFunction(`${painted} && document.querySelectorAll('.explorer tbody tr').length >= ${rows}`)
    return (performance.now() - started) / 1000
  }
  return { first: await until(1), all: await until(count) }
}

/** Seconds from each line that is written to its point in the chart. */
async function behind(page: Page, chart: string, run: string, events: number): Promise<{ median: number; longest: number }> {
  const points = `(charts[${JSON.stringify(chart)}]?.data[0].length ?? 0)`
  await page.waitForFunction(`${points} > 0`)
  const lags: number[] = []
  const log = join(run, 'events.jsonl')
  for (let i = 0; i < events; i++) {
    // Whatever the page does by itself is done by then, and no two begin at the same moment of its round.
    await setTimeout(1500 + 137 * (i % 7))
    const known = (await page.evaluate(points)) as number
    const step = 10_000 + known
    const event = { event: 'step', step, loss: 1 + (i % 3), learningRate: 0.1, gradientNorm: 1, rowsPerSecond: 16, seconds: step }
    const written = performance.now()
    appendFileSync(log, `${JSON.stringify(event)}\n`)
    await page.waitForFunction(`${points} > ${known}`, undefined, { polling: 'raf', timeout: 60_000 })
    lags.push((performance.now() - written) / 1000)
  }
  return { median: round(median(lags)), longest: round(Math.max(...lags)) }
}
