import { isRecord } from '../json.js'

/** The JSON of a safetensors header or index: measured before it is parsed, for it may claim anything. */

/** Makes the error for a header that is `what`. */
type Refusal = (what: string, details: { found: string; expected: string }) => Error

/** A tensor has four. The largest published models have 100,000 tensors. */
const maxKeys = 2 ** 20

/** Parses JSON that must be an object, without duplicate keys, and at most `maxDepth` deep. */
export function parseHeader(bytes: Uint8Array, maxDepth: number, invalid: Refusal): Record<string, unknown> {
  const { keys, depth } = scanJson(bytes)
  if (depth > maxDepth) {
    throw invalid('its JSON is nested too deep', { found: `depth ${depth} or more`, expected: `at most ${maxDepth}` })
  }
  if (keys > maxKeys) {
    throw invalid('its header has too many entries', { found: `${keys} keys`, expected: `at most ${maxKeys}` })
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw invalid('its JSON cannot be parsed', { found: (cause as Error).message, expected: 'a JSON object in UTF-8' })
  }
  if (!isRecord(parsed)) throw invalid('its JSON is not an object', { found: describe(parsed), expected: 'an object' })
  if (countKeys(parsed) !== keys) {
    throw invalid('its JSON has a key twice', { found: `${keys} keys`, expected: `${countKeys(parsed)} distinct ones` })
  }
  return parsed
}

/**
 * How deep the text nests (the scan stops at 8) and how many keys it has, before anything is made of it. JSON.parse keeps the last of
 * equal keys, so a text with duplicates has more keys than the object parsed from it. In JSON a string before a colon is a key.
 */
function scanJson(bytes: Uint8Array): { keys: number; depth: number } {
  let keys = 0
  let depth = 0
  let deepest = 0
  for (let i = 0, inString = false; i < bytes.length && depth < 8; i++) {
    const byte = bytes[i]!
    if (inString) {
      if (byte === 0x5c) i++
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x3a) keys++
    else if (byte === 0x7b || byte === 0x5b) deepest = Math.max(deepest, ++depth)
    else if (byte === 0x7d || byte === 0x5d) depth--
  }
  return { keys, depth: deepest }
}

function countKeys(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const own = Array.isArray(value) ? 0 : Object.keys(value).length
  return Object.values(value).reduce<number>((sum, inner) => sum + countKeys(inner), own)
}

export function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 120 ? `${text.slice(0, 120)}…` : text
}
