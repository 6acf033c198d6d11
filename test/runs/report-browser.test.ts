import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chromiumArguments, chromiumPath } from '../../scripts/bench/chromium.js'
import { writePage } from '../../src/report/parts/page.js'
import { temporaryFolder } from '../train/toy.js'
import { pages } from './report-data.js'

const executablePath = chromiumPath()
if (executablePath === undefined)
  console.warn('reports are not tried in a browser: there is no Chromium (GRADPROMPT_CHROMIUM names one)')

const { folder, remove } = temporaryFolder()
afterAll(remove)

// A browser is no part of what `npm ci` installs; the warning above says that one is missing.
describe.skipIf(executablePath === undefined)('in a browser', () => {
  let browser: Browser
  beforeAll(async () => {
    const { chromium } = await import('playwright-core')
    browser = await chromium.launch({ executablePath: executablePath!, args: chromiumArguments })
    for (const [name, page] of Object.entries(pages)) await writePage(join(folder, `${name}.html`), page)
  })
  afterAll(() => browser?.close())

  /** Opens a page and hears of everything that it should not do. */
  async function opened(name: string, { width = 1400, colorScheme = 'light' as 'light' | 'dark' } = {}) {
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme })
    const problems: string[] = []
    page.on('console', message => problems.push(message.text()))
    page.on('pageerror', error => problems.push(error.message))
    page.on('request', request => request.isNavigationRequest() || problems.push(`request of ${request.url()}`))
    page.on('dialog', dialog => {
      problems.push(`dialog ${dialog.message()}`)
      void dialog.dismiss()
    })
    await page.goto(pathToFileURL(join(folder, `${name}.html`)).href)
    return { page, problems }
  }

  const backgroundOf = (page: Page) => page.evaluate('getComputedStyle(document.body).backgroundColor') as Promise<string>

  describe.each(Object.keys(pages))('%s', name => {
    test.each([
      [400, 'light'],
      [400, 'dark'],
      [1400, 'light'],
      [1400, 'dark'],
    ] as const)('%i pixels wide, %s: fits, asks for nothing, draws its curves', async (width, colorScheme) => {
      const { page, problems } = await opened(name, { width, colorScheme })
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
      expect(await page.locator('.plot canvas').count()).toBe(await page.locator('.plot').count())
      const [red] = /\d+/.exec(await backgroundOf(page))!
      if (colorScheme === 'dark') expect(Number(red)).toBeLessThan(60)
      else expect(Number(red)).toBeGreaterThan(200)
      expect(problems).toEqual([])
      await page.close()
    })
  })

  test('curves are drawn anew for another width and another colour scheme', async () => {
    const { page, problems } = await opened('tune')
    const canvasWidth = () => page.locator('#loss canvas').evaluate(canvas => canvas.getBoundingClientRect().width)
    const before = await canvasWidth()
    await page.setViewportSize({ width: 400, height: 900 })
    await expect.poll(canvasWidth).not.toBe(before)
    expect(await canvasWidth()).toBeLessThan(400)
    await page.emulateMedia({ colorScheme: 'dark' })
    await expect.poll(() => page.locator('.plot canvas').count()).toBe(await page.locator('.plot').count())
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(400)
    expect(problems).toEqual([])
    await page.close()
  })

  test('rows are filtered by buttons, by a cell of the matrix and by words, with the keyboard alone', async () => {
    const { page } = await opened('tune')
    const table = page.locator('#table-of-rows')
    const shown = () => table.locator('tbody tr:not([hidden])').count()
    const count = () => table.locator('output').textContent()
    expect(await shown()).toBe(10)
    const all = table.getByRole('button', { name: /^all/ })
    await all.focus()
    await page.keyboard.press('Enter')
    expect(await shown()).toBe(40)
    expect(await all.getAttribute('aria-pressed')).toBe('true')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Space')
    expect(await shown()).toBe(10)
    expect(await count()).toBe('10 of 40 rows')

    const cell = page.locator('.confusion button').first()
    await cell.focus()
    await page.keyboard.press('Enter')
    const label = 'negative → negative ×'
    await expect.poll(() => page.evaluate('document.activeElement.textContent')).toBe(label)
    for (const row of await table.locator('tbody tr:not([hidden])').all())
      expect(await row.getAttribute('data-tags')).toMatch(/\bt0 p0\b/)
    await page.keyboard.press('Enter')
    expect(await shown()).toBe(40)

    await table.getByRole('searchbox').fill('ROW 17,')
    expect(await shown()).toBe(1)
    expect(await count()).toBe('1 of 40 rows')
    await table.getByRole('searchbox').fill('no such words')
    expect(await shown()).toBe(0)
    await page.close()
  })

  test('a long table is shown a part at a time', async () => {
    const many = Array.from({ length: 250 }, (_, index) => ({
      index,
      input: `row ${index}`,
      score: index,
      logProbability: index,
    }))
    const { rowTable } = await import('../../src/report/parts/rows.js')
    const body = rowTable({ id: 'many', after: many, before: [], names: { after: 'tuned', before: '' } })
    await writePage(join(folder, 'many.html'), {
      title: 'many',
      kind: 'test',
      tiles: [],
      sections: [{ id: 'rows', title: 'Rows', body }],
    })
    const { page, problems } = await opened('many')
    const shown = () => page.locator('tbody tr:not([hidden])').count()
    expect(await shown()).toBe(100)
    await page.getByRole('button', { name: 'show more' }).click()
    expect(await shown()).toBe(250)
    expect(await page.getByRole('button', { name: 'show more' }).isHidden()).toBe(true)
    expect(problems).toEqual([])
    await page.close()
  })
})
