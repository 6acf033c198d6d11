import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chromiumArguments, chromiumPath } from '../../scripts/bench/chromium.js'
import { startUi } from '../../src/ui/server.js'
import { openedUi, token, writeRun } from './support/opened.js'

const executablePath = chromiumPath()

describe.skipIf(executablePath === undefined)('in a browser', () => {
  let browser: Browser
  let opened: Awaited<ReturnType<typeof openedUi>>
  beforeAll(async () => {
    const { chromium } = await import('playwright-core')
    browser = await chromium.launch({ executablePath: executablePath!, args: chromiumArguments })
    opened = await openedUi()
    writeRun(join(opened.folder, 'runs', 'a'))
    writeRun(join(opened.folder, 'runs', 'b'), { finished: false })
  })
  afterAll(async () => {
    await browser?.close()
    await opened?.close()
  })

  /** Opens a page with the token, and hears of everything that goes wrong. */
  async function open(width: number, colorScheme: 'light' | 'dark') {
    // Axe is put into the page, which the page's own rules would forbid.
    const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme, bypassCSP: true })
    const problems: string[] = []
    page.on('console', message => problems.push(message.text()))
    page.on('pageerror', error => problems.push(error.message))
    await page.goto(opened.ui.url)
    const at = (path: string) => page.goto(new URL(path, opened.ui.url).href)
    return { page, problems, at }
  }

  test.each([
    [400, 'dark', ['/new', '/at/runs/a/']],
    [1600, 'light', ['/', '/data', '/speak', '/at/runs/b/']],
  ] as const)('%i pixels wide, %s: every page fits, and axe finds nothing serious', async (width, scheme, examined) => {
    const { page, problems, at } = await open(width, scheme)
    const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
    for (const path of ['/', '/new', '/data', '/speak', '/at/runs/a/', '/at/runs/b/']) {
      await at(path)
      if (path === '/new') await page.locator('#form .option').first().waitFor()
      expect(await page.evaluate('document.documentElement.scrollWidth'), path).toBeLessThanOrEqual(width)
      if (!(examined as readonly string[]).includes(path)) continue
      await page.evaluate(axe)
      const found = (await page.evaluate(
        "axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => id + ' ' + nodes.slice(0, 3).map(({ html }) => html).join(' ')))",
      )) as string[]
      expect(found, path).toEqual([])
    }
    expect(problems).toEqual([])
    await page.close()
  })

  test('a run that learns elsewhere is followed; when it has ended its result is there, and what is being typed stays', async () => {
    const { page, problems, at } = await open(1200, 'light')
    await at('/at/runs/b/')
    const steps = () => page.evaluate('charts.loss.data[0].length')
    expect(await steps()).toBe(3)
    const log = join(opened.folder, 'runs/b/events.jsonl')
    writeFileSync(log, `${readFileSync(log, 'utf8')}{"event":"step","step":4,"loss":1}\n`)
    await expect.poll(steps, { timeout: 10_000 }).toBe(4)
    writeRun(join(opened.folder, 'runs', 'b'))
    await page.getByRole('button', { name: 'Export' }).waitFor()
    const input = page.getByLabel('score on')
    await input.fill('test.tsv')
    writeFileSync(log, `${readFileSync(log, 'utf8')}{"event":"step","step":4,"loss":1}\n`)
    await expect.poll(steps, { timeout: 10_000 }).toBe(4)
    expect(await input.inputValue()).toBe('test.tsv')
    expect(problems).toEqual([])
    await page.close()
  })

  test('a page whose connection was cut for a while says so, and then shows what has come meanwhile', async () => {
    const { ui, folder, commandLine } = await openedUi()
    writeRun(join(folder, 'runs', 'b'), { finished: false })
    const page = await browser.newPage({ bypassCSP: true })
    await page.goto(ui.url)
    await page.goto(new URL('/at/runs/b/', ui.url).href)
    const [steps, said] = [() => page.evaluate('charts.loss.data[0].length'), () => page.locator('#connection').textContent()]
    expect(await steps()).toBe(3)
    await ui.stop()
    await expect.poll(said, { timeout: 10_000 }).toBe('not connected')
    const log = join(folder, 'runs/b/events.jsonl')
    writeFileSync(log, `${readFileSync(log, 'utf8')}{"event":"step","step":4,"loss":1}\n`)
    const again = await startUi({ folder, host: '127.0.0.1', port: ui.port, token, commandLine })
    await expect.poll(steps, { timeout: 10_000 }).toBe(4)
    expect(await said()).toBe('')
    await page.close()
    await again.stop()
  })

  test('the form and the text of a config are one, with the keyboard alone', async () => {
    const { page, at } = await open(1200, 'light')
    await at('/new')
    await page.getByLabel('find an option').fill('learningRate')
    const field = page.locator('[id="option-train.learningRate"]')
    await field.focus()
    await page.keyboard.type('0.05')
    await page.keyboard.press('Tab')
    const text = page.getByLabel('config as YAML')
    await expect.poll(() => text.inputValue(), { timeout: 10_000 }).toBe('train:\n  learningRate: 0.05\n')
    await text.fill('train: { learningRate: 0.1, steps: 3 }\n')
    await expect.poll(() => field.inputValue(), { timeout: 10_000 }).toBe('0.1')
    await text.fill('train: [')
    await page.locator('#said .warning').waitFor()
    await page.close()
  })
})
