import fc from 'fast-check'
import { expect, test } from 'vitest'
import { describeError, plainText } from '../../src/cli/terminal/failure.js'
import { packError, unpackError } from '../../src/error-message.js'
import { GradpromptError } from '../../src/errors.js'

test('an error is the same after its way between processes', () => {
  const error = new GradpromptError('some-code', 'message', { found: 'a', hint: 'b', exitCode: 1 })
  const received = unpackError(structuredClone(packError(error)))
  expect(received).toBeInstanceOf(GradpromptError)
  expect(received).toMatchObject({
    code: 'some-code',
    message: 'message',
    found: 'a',
    expected: undefined,
    hint: 'b',
    exitCode: 1,
  })
  expect(describeError(received, false)).toBe(error.format())
})

test('an error that is no one else’s is one line, with its stack for who asks', () => {
  const received = unpackError(structuredClone(packError(new TypeError('broken\nin two'))))
  expect(describeError(received, false)).toBe(
    'internal error: TypeError: broken\n  hint: set GRADPROMPT_DEBUG=1 and run it again for the details',
  )
  expect(describeError(received, true)).toMatch(/^ +at /m)
  expect(describeError('thrown text', false)).toContain('internal error: Error: thrown text')
})

test('plain text has no control characters but line ends and tabs', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      const plain = plainText(text)
      expect(plain).not.toMatch(/[^\P{Cc}\n\t]/u)
      expect(plain).not.toMatch(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/)
      expect(plainText(plain)).toBe(plain)
    }),
  )
  expect(plainText('a\u001b[31mb\r\nc\td\u202e')).toBe('a[31mb\nc\td')
})
