import { expect, test } from 'vitest'
import { refusedProgram } from '../../src/program/session.js'

test('weights that have gone from the cache are said to have gone', () => {
  const gone = 'ValidateExternalDataPathFromDir External data path does not exist: "cache/weights.bin"'
  expect(refusedProgram(gone)).toMatchObject({
    code: 'session-failed',
    exitCode: 1,
    hint: expect.stringContaining('cache was emptied'),
  })
  expect(refusedProgram('no such operator').hint).toBeUndefined()
})
