/** Reads what a GGUF file says of its tokenizer, key by key: a value of another type than its key's is refused. */
import type { GradpromptError } from '../errors.js'
import type { GgufValue } from './gguf.js'
import { invalid } from './tokenize/definition.js'

export type Metadata = ReadonlyMap<string, GgufValue>

export function tokenTypes(metadata: Metadata, count: number): readonly number[] {
  if (!metadata.has('tokenizer.ggml.token_type')) return []
  return numbers(metadata, 'tokenizer.ggml.token_type', count)
}

export function scores(metadata: Metadata, count: number): readonly number[] {
  const values = numbers(metadata, 'tokenizer.ggml.scores', count)
  if (values.some(Number.isNaN)) throw invalid('A token has no score', 'NaN in tokenizer.ggml.scores', 'numbers')
  return values
}

export function tokenId(metadata: Metadata, key: string, count: number): number | undefined {
  const value = metadata.get(key)
  if (value === undefined) return undefined
  const id = Number(value)
  if (!Number.isInteger(id) || id < 0 || id >= count) {
    throw invalid(`${key} is not a token of the vocabulary`, String(value), `an id from 0 to ${count - 1}`)
  }
  return id
}

export function optionalString(metadata: Metadata, key: string): string | undefined {
  const value = metadata.get(key)
  if (value === undefined || typeof value === 'string') return value
  throw wrongType(key, value, 'a string')
}

export function optionalBoolean(metadata: Metadata, key: string): boolean | undefined {
  const value = metadata.get(key)
  if (value === undefined || typeof value === 'boolean') return value
  throw wrongType(key, value, 'a boolean')
}

export function strings(metadata: Metadata, key: string): readonly string[] {
  const value = metadata.get(key)
  if (Array.isArray(value) && value.length > 0 && value.every(item => typeof item === 'string')) return value
  throw wrongType(key, value, 'a list of strings')
}

export function numbers(metadata: Metadata, key: string, count: number): readonly number[] {
  const value = metadata.get(key)
  if (!Array.isArray(value) && !ArrayBuffer.isView(value)) throw wrongType(key, value, 'a list of numbers')
  const list = Array.from(value as unknown as ArrayLike<unknown>, Number)
  if (list.length !== count) {
    throw invalid(`${key} does not have one entry for each token`, `${list.length} entries`, `${count} entries`)
  }
  return list
}

function wrongType(key: string, value: unknown, expected: string): GradpromptError {
  const found = value === undefined ? 'nothing' : Array.isArray(value) ? 'a list' : `a ${typeof value}`
  return invalid(`The GGUF metadata of the tokenizer cannot be used: ${key}`, found, expected)
}
