import { createCipheriv, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../../errors.js'
import { removeFile } from '../../files.js'

/**
 * Noise that nobody can compute again. A run's seed stands in its folder, so whoever has that could take noise drawn by it away: which
 * records a step takes, and its noise, come of a key that exists only while the run goes on.
 */

const fileName = 'privacy.key'
const keyBytes = 32

/**
 * The key of a run: made before its first step, found again where the run goes on.
 * @throws GradpromptError `run-corrupt` where steps were done and the key is gone
 */
export async function privacyKey(folder: string, stepsDone: number): Promise<Uint8Array> {
  const path = join(folder, fileName)
  const known = await readFile(path).catch(() => undefined)
  if (known?.length === keyBytes) return known
  if (stepsDone > 0)
    throw new GradpromptError('run-corrupt', `${path} is missing, by which the run draws its noise`, {
      found: `a run that has done ${stepsDone} steps`,
      expected: 'the file that stood beside its checkpoints',
      hint: 'begin a new run: noise of another key would not be the noise that is accounted for',
    })
  const key = randomBytes(keyBytes)
  await writeFile(path, key, { mode: 0o600, flush: true })
  return key
}

/** Forgets the key, once nothing is drawn by it any more. */
export const forgetKey = (folder: string): Promise<void> => removeFile(join(folder, fileName))

/** What a step draws: which records are in it, its noise, in which group a record is, the noise of a choice at the end, and what a group says. */
const purposes = { sample: 0, noise: 1, group: 2, choice: 3, vote: 4 } as const

/** Numbers from 0 to below 1 with 53 random bits, by key, step and purpose (AES-256 in counter mode). */
export function uniforms(key: Uint8Array, step: number, purpose: keyof typeof purposes, count: number): Float64Array {
  const counter = Buffer.alloc(16)
  counter.writeUInt32BE(step, 0)
  counter.writeUInt32BE(purposes[purpose], 4)
  const bytes = createCipheriv('aes-256-ctr', key, counter).update(Buffer.alloc(8 * count))
  return Float64Array.from({ length: count }, (_, i) => Number(bytes.readBigUInt64LE(8 * i) >> 11n) / 2 ** 53)
}

/** Places of the records of a step: each is in it with the chance `rate`, whatever the others are. */
export function poissonSample(records: number, rate: number, key: Uint8Array, step: number): number[] {
  const drawn = uniforms(key, step, 'sample', records)
  return [...drawn.keys()].filter(i => drawn[i]! < rate)
}

/** Standard normal numbers of a step, by Box and Muller. */
export function normals(count: number, key: Uint8Array, step: number): Float64Array {
  const drawn = uniforms(key, step, 'noise', 2 * Math.ceil(count / 2))
  return Float64Array.from({ length: count }, (_, i) => {
    const pair = 2 * (i >> 1)
    const radius = Math.sqrt(-2 * Math.log1p(-drawn[pair]!))
    const angle = 2 * Math.PI * drawn[pair + 1]!
    return radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
  })
}

/** Standard Gumbel numbers of a step: the highest of scores with such noise is drawn in proportion to the exponentials of the scores. */
export function gumbels(count: number, key: Uint8Array, step: number, purpose: 'noise' | 'choice' = 'noise'): Float64Array {
  // Half a unit of the last place, so that no logarithm is of 0.
  return uniforms(key, step, purpose, count).map(drawn => -Math.log(-Math.log(drawn + 2 ** -54)))
}
