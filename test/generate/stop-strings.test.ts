import { beforeAll, expect, test } from 'vitest'
import { loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { splitStops } from '../../src/generate/text-stream.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { problem } from '../support/problem.js'

let tokenizer: Tokenizer
beforeAll(async () => {
  const checkpoint = await openCheckpoint('models/smollm2-135m-instruct')
  await checkpoint.file.close()
  tokenizer = await loadTokenizer(checkpoint.tokenizer)
})

test('a special token is met by its id, text by its letters', () => {
  const stops = splitStops(['\n', '<|im_end|>', '</s>', '<|im'], tokenizer)
  expect(stops).toEqual({ texts: ['\n', '</s>', '<|im'], ids: [2] })
  expect(problem(() => splitStops(['Q:<|im_end|>'], tokenizer))).toMatchObject({
    code: 'invalid-option',
    found: '"Q:<|im_end|>"',
    hint: expect.stringContaining('<|im_end|>'),
  })
})

test('the bytes of tokens make up the bytes of their text, characters in parts as well', () => {
  const text = 'naïve ☃ 😀 漢字 plain'
  const ids = tokenizer.encode(text)
  expect(Buffer.concat(ids.map(id => tokenizer.tokenBytes(id))).toString()).toBe(text)
  expect(ids.some(id => tokenizer.token(id).includes('\uFFFD'))).toBe(true)
  expect(Buffer.from(tokenizer.tokenBytes(2)).toString()).toBe('<|im_end|>')
})
