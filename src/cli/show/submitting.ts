import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { GradpromptError, unknownName } from '../../errors.js'
import { replaceText } from '../../store/atomic.js'
import { type Engine, shellLine } from '../../sweep/engines/engine.js'
import { engines } from '../../sweep/engines/index.js'
import type { OptionValues } from '../terminal/command.js'
import type { Output } from '../terminal/output.js'

/** `--on ENGINE`: the file that starts a sweep's workers elsewhere, and its handing in. */

export const here = 'local'

/** Undefined: on this machine. @throws GradpromptError `invalid-option` */
export function engineOf({ on, set }: OptionValues): Engine | undefined {
  const engine = engines.find(({ name }) => name === on)
  if (engine !== undefined) return engine
  if (on !== undefined && on !== here)
    throw unknownName('invalid-option', `there is no engine ${String(on)}`, String(on), [
      here,
      ...engines.map(({ name }) => name),
    ])
  if (set !== undefined)
    throw new GradpromptError('invalid-option', '--set is for workers elsewhere', {
      expected: engines.map(({ name }) => `--on ${name}`).join(' or '),
    })
  return undefined
}

/**
 * What the engine's file says.
 * @param counts options of the command that each worker is told
 * @throws GradpromptError `invalid-option`, `missing-option`
 */
export function engineText(
  engine: Engine,
  folder: string,
  { workers, set }: OptionValues,
  counts: Readonly<Record<string, number | undefined>> = {},
): string {
  const settings = ((set ?? []) as readonly string[]).map((text): [string, string] => {
    const [, name, value = ''] = /^([^=]+)(?:=(.*))?$/s.exec(text) ?? []
    if (name === undefined)
      throw new GradpromptError('invalid-option', '--set cannot be read', { found: text, expected: 'name=value' })
    return [name, value]
  })
  const path = resolve(folder)
  const told = Object.entries(counts).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]))
  const gradprompt = engine.installedThere
    ? ['gradprompt']
    : [process.execPath, fileURLToPath(new URL('../main.js', import.meta.url))]
  return engine.text({
    folder: path,
    directory: process.cwd(),
    command: [...gradprompt, 'sweep', path, '--quiet', ...told],
    workers: (workers as number | undefined) ?? 1,
    settings: Object.fromEntries(settings),
  })
}

/**
 * Writes the file into the sweep's folder and hands it in.
 * @throws GradpromptError `engine-missing`, `engine-failed`; of a queue `package-missing`, `queue-unreachable`
 */
export async function submit(engine: Engine, folder: string, text: string, output: Output): Promise<void> {
  const path = join(resolve(folder), engine.file)
  await replaceText(path, text)
  const job = engine.handIn ? await engine.handIn(text) : byCommand(engine, path)
  output.object({ event: 'submitted', engine: engine.name, folder, file: path, job })
  output.text(`${engine.name}: ${job}\nsweep: ${folder}`)
}

function byCommand({ name, submit }: Engine, path: string): string {
  const [program, ...args] = submit!(path)
  const byHand = shellLine([program, ...args])
  const { error, status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (error !== undefined)
    throw new GradpromptError('engine-missing', `${program} cannot be started here`, {
      found: error.message,
      expected: `a machine that hands in work to ${name}`,
      hint: `the file is written: there, ${byHand}`,
      exitCode: 1,
    })
  if (status !== 0)
    throw new GradpromptError('engine-failed', `${program} has refused the file`, {
      found: stderr.trim().split('\n').at(-1) ?? `exit code ${status}`,
      hint: `mend it and ${byHand}`,
      exitCode: 1,
    })
  return stdout.trim()
}
