import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../package-root.js'

/** What decides, besides the config, the bits of a result. It stands in a run's `run.json`. */
export interface Environment {
  readonly gradprompt: string
  readonly node: string
  readonly onnxruntime: string
  /** Operating system and architecture, such as `linux-x64`. */
  readonly platform: string
  readonly processor: string
  /** A hash of the instruction sets the processor has (of its name alone where the system does not list them). */
  readonly processorFeatures: string
  readonly device: string
  readonly threads: number
}

/** This machine and these versions, read without loading ONNX Runtime. */
export function currentEnvironment({ device, threads }: { device: string; threads: number }): Environment {
  const require = createRequire(import.meta.url)
  const processor = cpus()[0]?.model.trim() || 'unknown'
  return {
    gradprompt: versionIn(join(packageRoot(), 'package.json')),
    node: process.versions.node,
    onnxruntime: versionIn(require.resolve('onnxruntime-node/package.json')),
    platform: `${process.platform}-${process.arch}`,
    processor,
    processorFeatures: createHash('sha256')
      .update(processorFlags() ?? processor)
      .digest('hex')
      .slice(0, 16),
    device,
    threads,
  }
}

/**
 * The most memory that this process has held, in bytes. Of its usage Linux tells the most that it or the process that began it has held; its
 * status is of itself alone.
 */
export function peakMemory(): number {
  const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : ''
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]
  return 1024 * (kilobytes === undefined ? process.resourceUsage().maxRSS : Number(kilobytes))
}

/**
 * Where two environments differ, a line each: a resumed run reaches the same bits only where there is none. What is not an
 * environment (a `run.json` that was edited) differs in everything.
 */
export function environmentDifferences(before: unknown, now: Environment): string[] {
  const earlier = typeof before === 'object' && before !== null ? (before as Record<string, unknown>) : {}
  return Object.entries(now).flatMap(([key, value]) =>
    earlier[key] === value ? [] : `${key}: ${JSON.stringify(earlier[key]) ?? 'unknown'} before, ${JSON.stringify(value)} now`,
  )
}

const versionIn = (manifest: string): string => JSON.parse(readFileSync(manifest, 'utf8')).version

/** Linux lists them per core, as `flags` (x64) or `Features` (arm64). */
function processorFlags(): string | undefined {
  try {
    return /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ').sort().join(' ')
  } catch {
    return undefined
  }
}
