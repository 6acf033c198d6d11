import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { installedVersion } from '../../code-identity.js'
import { columnsGiven, nameInData } from '../../data/columns-given.js'
import { readRecords } from '../../data/read.js'
import { openInput } from '../../data/readers/input.js'
import { jsonLinesReader } from '../../data/readers/json.js'
import { originOf } from '../../data/readers/records.js'
import { toTable } from '../../data/readers/values.js'
import { readStandardInput, standardInput } from '../../data/record-stream.js'
import { withPaths } from '../../data/texts/paths.js'
import { compileMessages } from '../../data/texts/rendering.js'
import { GradpromptError, refuseFullDisk } from '../../errors.js'
import { exists, lineEndings, requireEnding } from '../../files.js'
import { answerRows } from '../../generate/answer-rows.js'
import { type Frame, framed } from '../../generate/framing.js'
import { askedLines, type InputRow, readAsked } from '../../generate/input.js'
import { limitsOf } from '../../generate/limits/asked.js'
import { isRecord } from '../../json.js'
import { acquireLock, type Lock } from '../../store/lock.js'
import { once } from './asked.js'
import { otherName } from './contrast.js'
import { type GeneratedFile, type GenerateFileOptions, openAnswering, sourceOf } from './generate.js'

/** The rows of a file, answered into another: `generate.toFile`. */

/** @throws GradpromptError as `generate.toFile` says */
export async function answerFile(options: GenerateFileOptions): Promise<GeneratedFile> {
  const { output, maxNewTokens, signal, onProgress } = options
  requireEnding(output, lineEndings, 'answers are written as JSON lines')
  await refuseExisting(output)
  // Mistakes in the rows are told before a model is loaded.
  const given = await sourceOf(options)
  const announce = once(options.onWarning)
  const { bytes, asked } = await askedIn(options, given.frame)
  const rows = asked.map(({ origin, value }): InputRow => ({ origin, input: framed(value, given.frame, origin, announce) }))
  await using _ = await lockOutput(output)
  await using opened = await openAnswering(options, given)
  const { generator, strategy, model, weights, prompt, settings, settingsFor, render } = opened
  const { active, frame } = prompt
  const underOwn = rows.map((row, i) => ({ ...row, prompt: settingsFor(asked[i]!.value, row.origin).prompt }))
  const byTask = underOwn.some(row => row.prompt !== settings.prompt) || undefined
  const other = opened.prompts.get(otherName)?.active
  const hash = createHash('sha256').update(bytes)
  const limits = limitsOf(options, frame, prompt.labels, announce)
  const { choices, grammar, rejectedMass } = limits
  const limited = { choices, grammar, rejectedMass: rejectedMass || undefined }
  const decisive = {
    model: model.hash,
    weights,
    frame,
    method: active?.config,
    ...(other && { against: other.config }),
    settings,
    maxNewTokens,
    render,
    ...limited,
    byTask,
    strategy: strategy?.key,
    version,
  }
  hash.update(JSON.stringify(decisive))
  for (const [name, data] of [...(active?.parameters ?? []), ...(other?.parameters ?? [])])
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  const started = performance.now()
  const { resumed, tokens } = await answerRows(underOwn, {
    generator,
    tokenizer: prompt.tokenizer,
    render,
    settings,
    maxNewTokens,
    room: prompt.room,
    limits,
    output,
    fingerprint: hash.digest('hex'),
    onProgress: (done, total) => onProgress?.(done, total, 'rows'),
    ...(signal && { signal }),
  })
  const seconds = (performance.now() - started) / 1000
  return { output, rows: rows.length, resumed, tokens, seconds, model: model.name, weights }
}

interface Asked {
  readonly origin: string
  readonly value: unknown
}

interface AskedFile {
  readonly bytes: Uint8Array
  readonly asked: readonly Asked[]
}

/** JSON lines are read as they are; another data file is rows of columns. */
async function askedIn({ input, columns, onWarning }: GenerateFileOptions, { template }: Frame): Promise<AskedFile> {
  const given = input === standardInput ? await readStandardInput() : undefined
  const { names, meant } = columnsGiven(columns)
  const needed = template === undefined ? [] : compileMessages(template).columns.map(column => nameInData({ meant }, column))
  const isLines =
    given === undefined
      ? /\.(jsonl|ndjson)$/i.test(input) || !/\.(tsv|csv|json|parquet)$/i.test(input)
      : given.reader === jsonLinesReader
  const lines = async () =>
    given === undefined ? readAsked(input) : askedLines(await (await openInput(given)).text(), given.name)
  const rows = async () => {
    const { records } = await readRecords(given ?? input, { columns: names, needed, format: given?.reader, onNotice: onWarning })
    return records.map((record, i) => ({ origin: originOf(record, i), value: record }))
  }
  const asked = isLines ? await lines() : await rows()
  const bytes = given?.bytes ?? (await readFile(input))
  const renamed = ({ origin, value }: Asked) => ({
    origin,
    value: isRecord(value) ? { ...value, ...meantIn(value, meant, origin) } : value,
  })
  return { bytes, asked: Object.keys(meant).length === 0 ? asked : asked.map(renamed) }
}

/** The columns of a template, under whose names, or by whose paths, the data have them. */
function meantIn(row: Readonly<Record<string, unknown>>, meant: Readonly<Record<string, string>>, origin: string) {
  const [record] = withPaths(toTable([row], [origin]), Object.values(meant)).records
  const valueIn = (column: string) => (Object.hasOwn(row, column) ? row[column] : record![column])
  return Object.fromEntries(
    Object.entries(meant).flatMap(([name, column]) => (valueIn(column) === undefined ? [] : [[name, valueIn(column)]])),
  )
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
    refuseFullDisk(cause, output)
    throw new GradpromptError('cannot-write', `cannot write ${output}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a place for a file',
      cause,
    })
  }
}
