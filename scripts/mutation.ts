/**
 * `npm run mutation [-- FILE…] [--concurrency N]`: changes what decides, one place at a time, and runs the tests that belong to the file.
 * A change that no test notices is printed, unless `scripts/mutation/equivalent.json` says why it changes nothing. Exit code 1 when a file
 * scores below 85 %, or a line of that list says nothing any more.
 */
import { readFileSync } from 'node:fs'
import type { MutantResult } from '@stryker-mutator/api/core'
import { Stryker } from '@stryker-mutator/core'
import { scriptArguments } from './arguments.js'

/** Files that are mutated together, and the tests that belong to them: fast ones, which load no model. */
interface Subject {
  readonly files: readonly string[]
  readonly tests: readonly string[]
}

/** A change that makes no difference: the line it is made in (trimmed), what it puts there, and the reason. */
interface Equivalent {
  readonly file: string
  readonly line: string
  readonly replacement: string
  readonly why: string
}

const BAR = 85

const read = <T>(name: string) => JSON.parse(readFileSync(`scripts/mutation/${name}.json`, 'utf8')) as T
/** On one line. */
const shown = (text: string | undefined) => (text ?? '').replaceAll(/\s+/g, ' ').trim()

const subjects = read<Subject[]>('subjects')
const equivalents = read<Equivalent[]>('equivalent')
const lines = new Map<string, readonly string[]>()
const table = ['| file | mutants | noticed | judged equivalent | score |', '|---|---|---|---|---|']
let isBelow = false
await main()

async function main(): Promise<void> {
  const usage = 'npm run mutation [-- FILE…] [--concurrency N], FILE as scripts/mutation/subjects.json names it'
  const { values, positionals } = scriptArguments(usage, { concurrency: { type: 'string', default: '2' } })
  const known = subjects.flatMap(({ files }) => files)
  for (const file of positionals)
    if (!known.includes(file)) throw new Error(`scripts/mutation/subjects.json does not list ${file}`)
  for (const { files, tests } of subjects) {
    const mutate = files.filter(file => positionals.length === 0 || positionals.includes(file))
    if (mutate.length === 0) continue
    try {
      const results = await run(mutate, tests, Number(values.concurrency))
      for (const file of mutate) report(file, results)
    } catch (cause) {
      // A subject whose tests fail before anything is changed has no score, and the others have theirs all the same.
      console.log(`${mutate.join(', ')}: no score, ${cause instanceof Error ? cause.message : String(cause)}`)
      isBelow = true
    }
  }
  console.log(table.join('\n'))
  process.exitCode = isBelow ? 1 : 0
}

function run(mutate: string[], tests: readonly string[], concurrency: number): Promise<MutantResult[]> {
  process.env.GRADPROMPT_MUTATION_TESTS = JSON.stringify(tests)
  return new Stryker({
    mutate,
    testRunner: 'vitest',
    plugins: ['@stryker-mutator/vitest-runner', './dist/scripts/mutation/words.js'],
    ignorers: ['words'],
    vitest: { configFile: 'scripts/mutation/vitest.config.ts', related: false },
    coverageAnalysis: 'perTest',
    concurrency,
    // TypeScript 7 has no interface for Stryker to read its settings with, and the sandbox needs none.
    tsconfigFile: 'none',
    disableTypeChecks: false,
    ignorePatterns: ['/models/smollm2-135m-instruct', '/examples', '/docs', '/dist', '/.cache', '/test/fixtures/models'],
    tempDirName: '.cache/stryker',
    reporters: [],
    allowEmpty: true,
    timeoutMS: 20_000,
    thresholds: { high: 100, low: BAR, break: null },
    fileLogLevel: 'off',
    logLevel: 'error',
  } as ConstructorParameters<typeof Stryker>[0]).runMutationTest()
}

function report(file: string, results: readonly MutantResult[]): void {
  const own = results.filter(({ fileName }) => fileName.replaceAll('\\', '/').endsWith(file))
  const counted = own.filter(({ status }) => status !== 'Ignored' && status !== 'CompileError' && status !== 'RuntimeError')
  const noticed = counted.filter(({ status }) => status === 'Killed' || status === 'Timeout')
  const unnoticed = counted.filter(mutant => !noticed.includes(mutant))
  const reasons = equivalents.filter(each => each.file === file)
  const judged = unnoticed.filter(mutant => reasons.some(each => isOf(each, mutant, file)))
  for (const { location, replacement, status } of unnoticed.filter(mutant => !judged.includes(mutant)))
    console.log(
      `${file}:${location.start.line}:${location.start.column + 1} ${status}: ${shown(lineOf(file, location.start.line))}  ->  ${shown(replacement)}`,
    )
  for (const each of reasons.filter(each => !judged.some(mutant => isOf(each, mutant, file)))) {
    console.log(
      `scripts/mutation/equivalent.json: no unnoticed change of ${file} is ${shown(each.line)}  ->  ${shown(each.replacement)}`,
    )
    isBelow = true
  }
  const rest = counted.length - judged.length
  const score = rest === 0 ? 100 : (100 * noticed.length) / rest
  if (score < BAR) isBelow = true
  const row = `| \`${file}\` | ${counted.length} | ${noticed.length} | ${judged.length} | ${score.toFixed(1)} % |`
  table.push(row)
  console.error(row)
}

function isOf(each: Equivalent, { location, replacement }: MutantResult, file: string): boolean {
  return each.line === lineOf(file, location.start.line).trim() && each.replacement === shown(replacement)
}

/** A line of a file, counted from 1. */
function lineOf(file: string, line: number): string {
  const known = lines.get(file) ?? readFileSync(file, 'utf8').split('\n')
  lines.set(file, known)
  return known[line - 1]!
}
