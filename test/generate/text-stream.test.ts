import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openGguf } from '../../src/formats/gguf.js'
import { loadTokenizer } from '../../src/formats/tokenizer.js'
import { TextStream } from '../../src/generate/text-stream.js'

const loaded = (async () => {
  const file = await openGguf('models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf')
  await file.close()
  return loadTokenizer({ ggufMetadata: file.metadata })
})()

/** Pushes tokens until a stop string is met. */
async function stream(ids: readonly number[], stop: readonly string[] = [], prompt: readonly number[] = []) {
  const pieces: string[] = []
  const made = new TextStream(await loaded, prompt, stop, piece => pieces.push(piece))
  let met: string | undefined
  for (const id of ids) {
    met = made.push(id)
    if (met !== undefined) break
  }
  met ??= made.finish()
  return { pieces, text: made.text, met }
}

const words = fc.array(fc.constantFrom('a', 'b', 'ab', ' ', '\n', '\n\n', 'é', '漢字', '🙂', '👩‍👩‍👧', 'Q:', 'END', '1'), {
  maxLength: 30,
})

describe('text comes in pieces', () => {
  test('which are whole characters, and together the text', async () => {
    const tokenizer = await loaded
    await fc.assert(
      fc.asyncProperty(words, fc.boolean(), async (list, bytes) => {
        const wanted = list.join('')
        // Bytes one by one: as many tokens a character as can be.
        const ids = bytes ? [...wanted].flatMap(character => tokenizer.encode(character)) : tokenizer.encode(wanted)
        const { pieces, text } = await stream(ids)
        expect(text).toBe(wanted)
        expect(pieces.join('')).toBe(wanted)
        for (const piece of pieces) expect(piece).not.toContain('\uFFFD')
      }),
      { numRuns: 300 },
    )
  })

  test('and end before the first stop string, of which no piece shows a part', async () => {
    const tokenizer = await loaded
    const stops = fc.array(fc.constantFrom('END', '\n\n', 'bb', 'ab ', 'Q:', '🙂🙂', 'b\n'), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(words, stops, async (list, stop) => {
        const whole = list.join('')
        const { pieces, text, met } = await stream(tokenizer.encode(whole), stop)
        const places = stop.map(string => whole.indexOf(string)).filter(at => at >= 0)
        const end = places.length > 0 ? Math.min(...places) : whole.length
        expect(text).toBe(whole.slice(0, end))
        expect(pieces.join('')).toBe(text)
        expect(met !== undefined).toBe(places.length > 0)
        if (met !== undefined) expect(whole.startsWith(met, end)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })
})

test('a text goes on where its prompt ends', async () => {
  const tokenizer = await loaded
  const all = tokenizer.encode('The quick brown fox jumps')
  expect((await stream(all.slice(3), [], all.slice(0, 3))).text).toBe(tokenizer.decode(all.slice(3)))
})

test('a character that never becomes whole is shown at the end, and special tokens never', async () => {
  const tokenizer = await loaded
  const [first] = tokenizer.encode('🙂')
  const end = [...tokenizer.specialTokenIds][0]!
  const { text, pieces } = await stream([...tokenizer.encode('x'), end, first!])
  expect(text).toBe('x\uFFFD')
  expect(pieces).toEqual(['x', '\uFFFD'])
})
