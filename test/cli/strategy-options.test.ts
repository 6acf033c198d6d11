import { expect, test } from 'vitest'
import { readStrategy } from '../../src/cli/show/strategy-options.js'

test('an option is a number, a truth value, a list or a quoted text where it reads as one, and otherwise a text', () => {
  const given = ['samples=3', 'deep=true', 'controls=["", "Be kind."]', 'from="2024"', 'yes=yes', 'judge=[a text']
  expect(readStrategy({ strategy: 'own', 'strategy-option': given })).toEqual({
    type: 'own',
    samples: 3,
    deep: true,
    controls: ['', 'Be kind.'],
    from: '2024',
    yes: 'yes',
    judge: '[a text',
  })
})
