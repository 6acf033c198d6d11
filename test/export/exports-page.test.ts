import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { exportsPage } from '../../scripts/docs.js'

test('docs/exports.md says what the exporters declare', () => {
  expect(readFileSync('docs/exports.md', 'utf8')).toBe(exportsPage())
})
