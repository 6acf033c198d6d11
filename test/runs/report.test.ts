import { Script } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { wilsonInterval } from '../../src/evaluate/intervals.js'
import { reliabilityBins } from '../../src/report/parts/calibration.js'
import { classFigures } from '../../src/report/parts/confusion.js'
import { explorer, rowsAtOnce } from '../../src/report/parts/explorer.js'
import { html, trusted } from '../../src/report/parts/html.js'
import { pageHtml } from '../../src/report/parts/page.js'
import { difference } from '../../src/report/searches/timeline.js'
import { tunePage } from '../../src/report/tune.js'
import { hostile, pages, tuneReport } from './report-data.js'

const plotting = { script: 'globalThis.plotted = 1', style: '.u { }' }
const textOf = (name: string) => pageHtml(pages[name]!, plotting)

describe.each(Object.keys(pages))('the page of %s', name => {
  test('has nothing from data as markup or script', () => {
    const page = textOf(name)
    expect(page).not.toContain('<img')
    expect(page.match(/<\/script>/g)!.length).toBe(page.match(/<script[ >]/g)!.length)
    expect(page).toContain('&lt;img')
  })

  test('needs no network, and its scripts parse', () => {
    const page = textOf(name)
    expect(page).toContain("default-src 'none'")
    // What is linked stands beside the page.
    expect(page).not.toMatch(/\ssrc="|href="(?!#|[^":/]+\/)|@import|url\(/)
    for (const [, script] of page.matchAll(/<script>([\s\S]*?)<\/script>/g)) expect(() => new Script(script!)).not.toThrow()
  })

  test('has an element for everything that it links to or draws in, and no id twice', () => {
    const page = textOf(name)
    const ids = [...page.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id)
    expect(new Set(ids).size).toBe(ids.length)
    const wanted = [...page.matchAll(/href="#([^"]*)"|\sdata-explorer="([^"]*)"/g)].map(([, link, table]) => link ?? table)
    for (const id of [...wanted, ...Object.keys(pages[name]!.charts ?? {}).filter(id => !id.includes('<'))])
      expect(ids).toContain(id)
  })
})

test('a part is escaped unless it is markup', () => {
  expect(html`<p>${'<b>'}${trusted('<i>')}${html`<u>${"'"}</u>`}${[1, false, undefined, null, '&']}</p>`.text).toBe(
    '<p>&lt;b&gt;<i><u>&#39;</u>1&amp;</p>',
  )
})

test('a soft prompt is shown beside the better of the base models', () => {
  const page = textOf('tune')
  for (const text of [
    '90.0 %',
    '80.0 % to 95.0 %',
    'base model, template alone',
    '11,520',
    '1.5 GB at most',
    // Rows 3 mod 4 are wrong in the plain base model alone, rows 0 mod 4 in the tuned one alone.
    '+10</span> <span class="wrong-text">−10',
    'cosine to it',
    '0.83',
    'rows-truncated',
  ])
    expect(page).toContain(text)
})

test('a search shows each swap with both scores and whether it was accepted', () => {
  const page = textOf('search')
  const lines = [...page.matchAll(/<tr data-tags="(accepted|rejected)[^"]*">.*?<\/tr>/gs)].map(([line]) => line)
  expect(lines).toHaveLength(2)
  for (const line of lines) for (const text of ['-0.250', '0.750', '·</span>the']) expect(line).toContain(text)
  expect(page).toContain('1,234')
  expect(page).toContain('paired p')
})

test('an evaluation by generation says which rule found what, and marks where', () => {
  const page = textOf('evaluation')
  expect(page).toContain('so 2 + 2 = <mark>4</mark>')
  expect(page).toMatch(/hash-number<\/th>.*?<\/span>0<\/td>/s)
  expect(page).toMatch(/last-number<\/th>.*?<\/span>2<\/td>/s)
  expect(page).toMatch(/no rule<\/th>.*?<\/span>1<\/td>/s)
  expect(page).toContain('ended by the budget')
})

test('each class has its precision and recall', () => {
  const [first, second, third] = classFigures([
    [8, 2, 0],
    [4, 6, 0],
    [0, 0, 0],
  ])
  expect(first).toMatchObject({ rows: 10, predicted: 12, right: 8, f1: 16 / 22 })
  expect(first!.precision!.value).toBeCloseTo(8 / 12)
  expect(first!.recall).toEqual({ value: 0.8, ...wilsonInterval(8, 10) })
  expect(second!.recall!.value).toBeCloseTo(0.6)
  expect(third).toMatchObject({ rows: 0, predicted: 0, precision: undefined, recall: undefined, f1: 0 })
  expect(textOf('tune')).toContain('each class, with 95 % intervals')
})

test('rows, curves and prompts can be saved and copied', () => {
  const page = textOf('tune')
  const data = /<script type="application\/json" id="table-of-rows-data">([\s\S]*?)<\/script>/.exec(page)![1]!
  const saved = JSON.parse(data) as Record<string, unknown>[]
  expect(saved).toHaveLength(40)
  expect(saved[0]).toMatchObject({ row: 1, text: hostile, correct: false, beforeCorrect: true })
  expect(page).toContain('data-save="table-of-rows-data" data-kind="csv"')
  expect(page).toContain('data-save="loss" data-kind="json"')
  expect(textOf('search')).toContain('data-copy="a found prompt"')
})

test('the verdict stands at the top, and evaluations and answers on the way are listed', () => {
  const page = textOf('tune')
  expect(page.indexOf('class="verdict')).toBeLessThan(page.indexOf('class="tiles"'))
  expect(page).toContain('<a href="evaluations/test.html">test</a>')
  expect(page).toContain('not ended')
  expect(page).toContain('Answers on the way')
})

test('the list of runs can be sorted by what stands in its columns', () => {
  const page = textOf('runs')
  expect(page.match(/class="sort"/g)).toHaveLength(10)
  expect(page).toContain('data-sort="0.9"')
  expect(page).toMatch(/href="run%200[^"]*\/report\.html"/)
})

test('a comparison shows only the settings that differ', () => {
  const page = textOf('comparison')
  expect(page).toContain('<code>train.steps</code>')
  expect(page).toContain('not given')
})

test('reliability bins hold each row once', () => {
  const row = (confidence: number, correct: boolean) => ({ index: 0, score: 0, confidence, correct })
  const bins = reliabilityBins([row(0.55, true), row(0.51, false), row(1, true)])!
  expect(bins.map(({ rows }) => rows)).toEqual([0, 0, 0, 0, 0, 2, 0, 0, 0, 1])
  expect(bins[5]).toEqual({ rows: 2, accuracy: 0.5, confidence: 0.53 })
  expect(reliabilityBins([{ index: 0, score: 1 }])).toBeUndefined()
})

test('a run that has not ended has a page too', () => {
  const page = pageHtml(tunePage({ ...tuneReport, result: undefined, moved: [], rows: {}, events: [] }), plotting)
  expect(page).toContain('has not ended yet')
  expect(page).not.toContain('Before and after')
})

test('a prompt that came of another is shown word by word', () => {
  expect(difference('think step by step', 'now think by single step').text).toBe(
    '<ins>now </ins>think <del>step </del>by <ins>single </ins>step',
  )
  expect(difference('', 'a <b>').text).toBe('a &lt;b&gt;')
  const long = 'word '.repeat(2000)
  expect(difference(long, `${long}more`).text).toBe(`${long}more`)
})

test('of many rows those that are chosen first are shown, a hundred of them; without scripts all are', () => {
  const rows = Array.from({ length: 300 }, (_, i) => ({ tags: [i % 2 === 0 ? 'even' : 'odd'], cells: [{ content: String(i) }] }))
  const filters = [
    { tag: 'even', name: 'even' },
    { tag: 'odd', name: 'odd' },
  ]
  const table = explorer({ id: 'numbers', heads: ['number'], rows, filters, chosen: 'odd', search: 'numbers' }).text
  const shown = [...table.matchAll(/<tr data-tags="odd"><td data-name="number">(\d+)/g)].map(([, number]) => Number(number))
  expect(shown).toEqual(Array.from({ length: rowsAtOnce }, (_, i) => 2 * i + 1))
  expect(table.match(/<tr data-tags="\w+" hidden>/g)).toHaveLength(300 - rowsAtOnce)
  expect(table).toContain('<noscript>')
})
