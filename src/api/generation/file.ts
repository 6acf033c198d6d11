import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { installedVersion } from '../../code-identity.js'
import { readRecords } from '../../data/read.js'
import { originOf } from '../../data/readers/records.js'
import { GradpromptError } from '../../errors.js'
import { exists } from '../../files.js'
import { answerRows } from '../../generate/answer-rows.js'
import { framed } from '../../generate/framing.js'
import { type InputRow, readAsked } from '../../generate/input.js'
import { acquireLock, type Lock } from '../../store/lock.js'
import { type GeneratedFile, type GenerateFileOptions, openAnswering, sourceOf } from './generate.js'

/** The rows of a file, answered into another: `generate.toFile`. */

/** @throws GradpromptError as `generate.toFile` says */
export async function answerFile(options: GenerateFileOptions): Promise<GeneratedFile> {
  const { input, output, maxNewTokens, signal, onProgress } = options
  await refuseExisting(output)
  // Mistakes in the rows are told before a model is loaded.
  const given = await sourceOf(options)
  const rows = (await askedIn(options)).map(
    ({ origin, value }): InputRow => ({ origin, input: framed(value, given.frame, origin) }),
  )
  await using _ = await lockOutput(output)
  await using opened = await openAnswering(options, given)
  const { engine, model, weights, prompt, settings, render } = opened
  const { active, frame } = prompt
  const hash = createHash('sha256').update(await readFile(input))
  const decisive = { model: model.hash, weights, frame, method: active?.config, settings, maxNewTokens, render, version }
  hash.update(JSON.stringify(decisive))
  for (const [name, data] of active?.parameters ?? [])
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  const started = performance.now()
  const { resumed, tokens } = await answerRows(rows, {
    generator: engine,
    tokenizer: prompt.tokenizer,
    render,
    settings,
    maxNewTokens,
    room: prompt.room,
    output,
    fingerprint: hash.digest('hex'),
    onProgress: (done, total) => onProgress?.(done, total, 'rows'),
    ...(signal && { signal }),
  })
  const seconds = (performance.now() - started) / 1000
  return { output, rows: rows.length, resumed, tokens, seconds, model: model.name }
}

interface Asked {
  readonly origin: string
  readonly value: unknown
}

/** JSON lines are read as they are; another data file is rows of columns. */
async function askedIn({ input }: GenerateFileOptions): Promise<Asked[]> {
  if (/\.(jsonl|ndjson)$/i.test(input) || !/\.(tsv|csv|json|parquet)$/i.test(input)) return readAsked(input)
  const { records } = await readRecords(input)
  return records.map((record, i) => ({ origin: originOf(record, i), value: record }))
}

/** Versions whose answers to the same request may differ. */
const version = installedVersion('onnxruntime-node')

async function refuseExisting(output: string): Promise<void> {
  if (!(await exists(output))) return
  throw new GradpromptError('file-exists', `there is already a file ${output}`, {
    found: output,
    expected: 'a new name: nothing is overwritten',
    hint: 'name another output, or remove it',
  })
}

/** Makes this process the only one that writes an output file. @throws GradpromptError `run-locked`, `cannot-write` */
async function lockOutput(output: string): Promise<Lock> {
  try {
    await mkdir(dirname(output), { recursive: true })
    return await acquireLock(`${output}.lock`)
  } catch (cause) {
    if (cause instanceof GradpromptError) throw cause
    throw new GradpromptError('cannot-write', `cannot write ${output}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a place for a file',
      cause,
    })
  }
}
