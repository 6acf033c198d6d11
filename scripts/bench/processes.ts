import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** A finished process: its JSON lines, how long it took, and the most memory that it and its children held (0: not followed). */
export interface Measured {
  readonly lines: readonly Record<string, unknown>[]
  readonly seconds: number
  readonly peakMemoryBytes: number
}

/**
 * Runs a command and reads its JSON lines.
 *
 * `quiet`: what it writes to stderr is shown only if it fails.
 *
 * `memory`: follow it ten times a second, as the proportional set size of the whole process tree, where a page that several mappings
 * or processes share counts once. It costs a quarter of a core and holds up the process that it looks at, so no time is taken beside it.
 */
export function measure(
  command: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; quiet?: boolean; memory?: boolean } = {},
): Promise<Measured> {
  const start = performance.now()
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-2000)
    if (!options.quiet) process.stderr.write(chunk)
  })
  let peak = 0
  const timer = options.memory ? setInterval(() => (peak = Math.max(peak, treeMemory(child.pid!))), 100) : undefined
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => {
      clearInterval(timer)
      const seconds = (performance.now() - start) / 1000
      if (code !== 0)
        return reject(
          new Error(`${command} ${args.slice(0, 3).join(' ')} … exited with ${code}\n${errors || output.slice(-2000)}`),
        )
      const lines = output
        .split('\n')
        .filter(line => line.startsWith('{'))
        .map(line => JSON.parse(line) as Record<string, unknown>)
      resolve({ lines, seconds, peakMemoryBytes: peak })
    })
  })
}

/** Bytes of a process and its descendants (Linux; 0 elsewhere). */
function treeMemory(root: number): number {
  if (!existsSync('/proc/self/smaps_rollup')) return 0
  const parents = new Map<number, number>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = read(`/proc/${entry}/stat`)
    const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
    if (parent) parents.set(Number(entry), Number(parent))
  }
  let total = 0
  for (const pid of parents.keys()) {
    let at: number | undefined = pid
    while (at !== undefined && at !== root) at = parents.get(at)
    if (at === root) total += Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0) * 1024
  }
  return total
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export const round = (value: number, digits = 3): number => Number(value.toPrecision(digits))

/** Measures a part of a benchmark, and prints its figures at once: parts take minutes, and one that fails must not take the others' with it. */
export async function measurePart(name: string, measured: () => Promise<object>): Promise<object> {
  console.error(`bench ${name}`)
  const figures = await measured()
  console.error(JSON.stringify({ [name]: figures }))
  return figures
}
