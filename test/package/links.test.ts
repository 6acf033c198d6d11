import { expect, test } from 'vitest'
import { deadLinks, markdown } from './dead-links.js'

const pages = ['README.md', 'CONTRIBUTING.md', ...markdown('docs'), ...markdown('examples'), ...markdown('models')]

test.each(pages)('%s has no dead links', page => {
  expect(deadLinks(page)).toEqual([])
})

test('dead links are found', () => {
  const text =
    '[a](docs/nowhere.md) [b](README.md#no-such-heading) [c](#from-typescript) [d](docs) [e](https://example.org/x) `[f](g.md)`'
  expect(deadLinks('README.md', text)).toEqual(['docs/nowhere.md', 'README.md#no-such-heading'])
})
