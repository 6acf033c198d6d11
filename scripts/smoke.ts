/**
 * `npm run smoke -- [PATTERN] [--list]`: every method, every option of `train`, every search, every option of `search` and of `evaluate`
 * through two steps on the bundled model. Each run is stopped after its first step, resumed to its end, and evaluated. Prints a line a
 * case and `N passed, N failed`; exit code 1 when one failed. PATTERN, a regular expression, chooses among the names.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { evaluate } from '../src/api/evaluation/evaluate.js'
import { resume } from '../src/api/resume.js'
import { search } from '../src/api/search.js'
import { tune } from '../src/api/tune.js'
import { GradpromptError } from '../src/errors.js'
import { LanguageModel } from '../src/model/language-model.js'
import { bundledModel, packageRoot } from '../src/package-root.js'
import type { SearchConfigInput } from '../src/search/config.js'
import type { ConfigInput } from '../src/train/config.js'
import { scriptArguments } from './arguments.js'
import { type SmokeCase, smokeCases, teacherCase, testFile } from './smoke/cases.js'

const usage = `npm run smoke -- [PATTERN] [--list]
  npm run smoke -- '^train\\.loss'      what begins so; --list prints the names alone`

const { positionals, values } = scriptArguments(usage, { list: { type: 'boolean' } })
const pattern = new RegExp(positionals[0] ?? '')
const folder = mkdtempSync(join(tmpdir(), 'gradprompt-smoke-'))
const teacher = join(folder, 'teacher')
const chosen = smokeCases(teacher).filter(({ name }) => pattern.test(name))
if (values.list === true) {
  for (const { name } of chosen) console.log(name)
  rmSync(folder, { recursive: true })
} else process.exitCode = await main()

async function main(): Promise<number> {
  await using model = await LanguageModel.load(bundledModel)
  try {
    await run(teacherCase, teacher, model)
    let failed = 0
    for (const [i, one] of chosen.entries()) {
      const out = join(folder, `run-${i}`)
      const started = performance.now()
      const problem = await run(one, out, model).then(
        () => undefined,
        (error: unknown) => describe(error),
      )
      rmSync(out, { recursive: true, force: true })
      const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6)
      if (problem !== undefined) failed++
      console.log(
        `${problem === undefined ? 'passed' : 'FAILED'} ${seconds} s  ${one.name}${problem === undefined ? '' : `\n  ${problem}`}`,
      )
    }
    console.log(`${chosen.length - failed} passed, ${failed} failed`)
    return failed === 0 ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function run(one: SmokeCase, out: string, model: LanguageModel): Promise<void> {
  if (one.kind === 'unknown')
    throw new Error('its schema does not tell a value to try it with: give one in scripts/smoke/cases.ts')
  if (one.kind === 'evaluate') return command(['evaluate', ...missing(one.flags), ...one.flags])
  const controller = new AbortController()
  const onEvent = ({ event }: { readonly event: string }) => {
    if (event === 'step') controller.abort()
  }
  const config: unknown = { ...one.config, out, model }
  const listening = { onEvent, signal: controller.signal }
  try {
    // A config of options from schemas is checked by whoever takes it.
    if (one.kind === 'tune') await tune(config as ConfigInput, listening)
    else await search(config as SearchConfigInput, listening)
  } catch (error) {
    if (!(error instanceof GradpromptError && error.code === 'aborted')) throw error
  }
  await resume(out, { model })
  const { metrics } = await evaluate({ model, prompt: out, data: one.test ?? testFile, limit: 2 })
  if (Object.keys(metrics).length === 0) throw new Error('the evaluation has no figures')
}

function missing(flags: readonly string[]): string[] {
  return [
    ...(flags.includes('--prompt') ? [] : [teacher]),
    ...(flags.includes('--data') ? [] : ['--data', testFile]),
    ...(flags.includes('--limit') ? [] : ['--limit', '2']),
  ]
}

/** The built command line, as its users run it. */
function command(args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'src', 'cli', 'main.js'), ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    child.on('error', reject)
    child.on('close', code => (code === 0 ? resolve() : reject(new Error(`exit code ${code}: ${said.trim().slice(-600)}`))))
  })
}

function describe(error: unknown): string {
  const text =
    error instanceof GradpromptError ? error.format() : error instanceof Error ? (error.stack ?? error.message) : String(error)
  return text.replaceAll('\n', '\n  ')
}
