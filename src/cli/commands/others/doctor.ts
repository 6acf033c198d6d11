import { createRequire } from 'node:module'
import { cpus, freemem, totalmem } from 'node:os'
import { join } from 'node:path'
import { installedVersion } from '../../../code-identity.js'
import { GradpromptError } from '../../../errors.js'
import { type Adapter, adapters } from '../../../model/devices/adapters.js'
import { type TrialOutcome, tryDevice } from '../../../model/devices/isolated-trial.js'
import { availableMemory, comfortably } from '../../../model/memory.js'
import { bundledModel } from '../../../package-root.js'
import { cacheFolder } from '../../../program/cache.js'
import { type DeviceName, deviceNames, deviceProfile } from '../../../program/devices.js'
import type { HalfPrecision } from '../../../program/precision.js'
import type { CommandFunction } from '../../terminal/command.js'
import { bytes, createOutput, table } from '../../terminal/output.js'

interface Finding {
  readonly what: string
  readonly ok: boolean
  readonly detail: string
}

/** `gradprompt doctor` */
export const run: CommandFunction = async ({ options }) => {
  const output = createOutput(options)
  const findings: Finding[] = []
  const found = (what: string, ok: boolean, detail: string) => {
    findings.push({ what, ok, detail })
    output.object({ event: 'check', what, ok, detail })
  }
  const [processor] = cpus()
  found('node', true, `${process.versions.node} on ${process.platform}-${process.arch}`)
  found('processor', true, `${processor?.model.trim() ?? 'unknown'}, ${cpus().length} threads`)
  found('memory', true, memory())
  found(
    'weights',
    true,
    `in fp32 where they take ${bytes(comfortably(availableMemory()))} at most, compact otherwise (--keep-weights)`,
  )
  found(
    'cache',
    true,
    `${cacheFolder()}, ${bytes(await folderSize(cacheFolder()))} (GRADPROMPT_CACHE and GRADPROMPT_CACHE_LIMIT change it)`,
  )
  const isWhole = options.verify !== true || (await checkCache(found))
  found('onnxruntime', true, installedVersion('onnxruntime-node'))
  const tfjs = tfjsBackends()
  found('tf.js', true, `${installedVersion('@tensorflow/tfjs')}; backends for eager runs: ${tfjs.join(', ')}`)
  await checkModel(found)
  const graphics = await adapters()
  found('graphics adapters', graphics.length > 0, graphics.map(described).join('; ') || 'the system names none')
  const here = deviceNames.filter(name => deviceProfile(name).platforms.includes(process.platform))
  output.note(`trying ${here.join(', ')}: every kernel and a small training step …`)
  for (const name of deviceNames) {
    if (!here.includes(name)) {
      found(`device ${name}`, false, `not on ${process.platform}`)
      continue
    }
    found(`device ${name}`, ...deviceFinding(name, await tryDevice(name)))
  }
  output.text(table(findings.map(({ what, ok, detail }) => [ok ? 'ok' : 'no', what, detail])))
  return isWhole ? 0 : 1
}

/** An adapter in words. */
const described = ({ name, driver, memory, free, cuda }: Adapter): string =>
  [
    `${cuda === undefined ? '' : `cuda:${cuda} `}${name}`,
    ...(driver === undefined ? [] : [`driver ${driver}`]),
    memory === undefined ? 'memory not known' : `${bytes(memory)}${free === undefined ? '' : `, ${bytes(free)} free`}`,
  ].join(', ')

/** What came of a device's trial, in words; the command that brings what is missing, where there is one. */
function deviceFinding(name: DeviceName, outcome: TrialOutcome): [ok: boolean, detail: string] {
  if ('reason' in outcome) {
    const command = deviceProfile(name).libraries?.[process.platform]
    const reason = outcome.reason.length > 200 ? `…${outcome.reason.slice(-200)}` : outcome.reason
    return [false, command === undefined ? reason : `${reason}; \`${command}\` brings its libraries`]
  }
  const { deviations, productRate, halves } = outcome.trial
  const speed = `${(productRate / 1e9).toFixed(0)} GFLOP/s in products of matrices; ${halfPrecision(name, halves)}`
  if (deviations.length === 0)
    return [true, `${deviceProfile(name).alwaysThere ? 'works' : 'computes as the processor does'}; ${speed}`]
  const worst = deviations.slice(0, 5).map(({ what, error }) => `${what} (${error?.toExponential(1) ?? 'not a number'})`)
  const more = deviations.length > worst.length ? ` and ${deviations.length - worst.length} more` : ''
  return [false, `computes wrongly, errors as shares of the right values: ${worst.join(', ')}${more}`]
}

/** What of half precision a device has, in words. */
function halfPrecision(name: DeviceName, tried: Readonly<Record<string, number | string>>): string {
  const { halves } = deviceProfile(name)
  const has = Object.entries(halves).map(([precision, arithmetic]) => {
    if (arithmetic !== 'own') return `${precision} for trying programs, slower than fp32`
    const outcome = tried[precision]
    if (typeof outcome === 'number')
      return outcome < mostOff[precision as HalfPrecision]
        ? `${precision} (a step is off by ${outcome.toExponential(1)})`
        : `${precision} computes wrongly (${outcome.toExponential(1)})`
    return `no ${precision}${outcome === undefined ? '' : `: ${outcome.split('\n')[0]!.slice(0, 120)}`}`
  })
  return `--precision: ${has.join(', ') || 'fp32 alone'}`
}

/** As a share: what rounding to so many digits may make of a small model's step. */
const mostOff = { fp16: 0.02, bf16: 0.2 } as const

type Found = (what: string, ok: boolean, detail: string) => void

/** Reads every file of the cache. @returns whether all are as they were written */
async function checkCache(found: Found): Promise<boolean> {
  const { verifyCache } = await import('../../../program/verify-cache.js')
  const { files, damaged } = await verifyCache()
  for (const { path, reason } of damaged) found('cache file', false, `${path}: ${reason}; it is made anew when it is next used`)
  const isWhole = damaged.length === 0
  found('cache files', isWhole, isWhole ? `all ${files} are as they were written` : `${damaged.length} of ${files} are damaged`)
  return isWhole
}

async function checkModel(found: Found): Promise<void> {
  const { openCheckpoint } = await import('../../../model/weights/checkpoint.js')
  try {
    const { file, family, config, path } = await openCheckpoint(bundledModel)
    await file.close()
    found('bundled model', true, `${path}: ${family.name}, ${config.numLayers} layers`)
  } catch (error) {
    found('bundled model', false, reason(error))
  }
}

function reason(error: unknown): string {
  if (!(error instanceof GradpromptError)) return error instanceof Error ? error.message.split('\n')[0]! : String(error)
  // ONNX Runtime says where in its sources, then what.
  const cause = error.found !== undefined && error.found.length > 160 ? `…${error.found.slice(-160)}` : error.found
  return [error.message, cause].filter(part => part !== undefined).join(': ')
}

function memory(): string {
  const limit = process.constrainedMemory?.() ?? 0
  const capped = limit > 0 && limit < totalmem() ? `, limited to ${bytes(limit)}` : ''
  return `${bytes(totalmem())}, ${bytes(freemem())} free${capped}`
}

/** The backends that come with TF.js, and those that are installed beside it. */
function tfjsBackends(): string[] {
  const require = createRequire(import.meta.url)
  const isThere = (name: string) => {
    try {
      require.resolve(`${name}/package.json`)
      return true
    } catch {
      return false
    }
  }
  const packages = { wasm: ['@tensorflow/tfjs-backend-wasm'], tensorflow: ['@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu'] }
  return ['cpu', ...Object.entries(packages).flatMap(([backend, names]) => (names.some(isThere) ? [backend] : []))]
}

async function folderSize(folder: string): Promise<number> {
  const { readdir, stat } = await import('node:fs/promises')
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const sizes = entries
    .filter(entry => entry.isFile())
    .map(entry =>
      stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    )
  return (await Promise.all(sizes)).reduce((a, b) => a + b, 0)
}
