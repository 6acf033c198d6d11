import { readFile, stat } from 'node:fs/promises'
import { GradpromptError } from '../../errors.js'
import { type ImportedRows, mostBytes } from './imported.js'

/** What every reader of rows holds a file to. */

/** @throws GradpromptError `not-a-prompt` */
export async function wholeFile(path: string): Promise<Buffer> {
  const { size } = await stat(path)
  if (size <= mostBytes) return readFile(path)
  throw notAPrompt(path, `${size} bytes`, `at most ${mostBytes}: a soft prompt is small`)
}

/**
 * A matrix as rows of a prompt.
 * @throws GradpromptError `not-a-prompt` where it is no matrix, or a number is not finite
 */
export function matrixRows(path: string, shape: readonly number[], data: Float32Array): ImportedRows {
  if (shape.length !== 2 || shape.some(size => size < 1))
    throw notAPrompt(path, `numbers of shape [${shape.join(', ')}]`, 'a matrix, [rows, width]')
  return { kind: 'rows', data: finite(path, data), width: shape[1]! }
}

/** @throws GradpromptError `not-a-prompt` */
export function finite(path: string, data: Float32Array): Float32Array {
  const at = data.findIndex(value => !Number.isFinite(value))
  if (at < 0) return data
  throw notAPrompt(path, `number ${at} is ${data[at]}`, 'numbers that are finite')
}

export const notAPrompt = (path: string, found: string, expected: string, hint?: string): GradpromptError =>
  new GradpromptError('not-a-prompt', `${path} is not a prompt`, { found, expected, ...(hint !== undefined && { hint }) })
