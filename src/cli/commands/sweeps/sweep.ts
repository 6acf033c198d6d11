import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parse as parseValue } from 'yaml'
import { kindOf, type Plan, planOf, sweepConfigSchema, sweepFolder } from '../../../api/sweep/plan.js'
import { type SweepSummary, summarizeSweep, sweepCsv } from '../../../api/sweep/summary.js'
import { addTrial } from '../../../api/sweep/sweep.js'
import { configOrigin, loadConfigFile, mergeFlags } from '../../../config/load.js'
import { GradpromptError } from '../../../errors.js'
import { isFile, requireEnding } from '../../../files.js'
import { ownCommand } from '../../../own-command.js'
import { replaceText } from '../../../store/atomic.js'
import { compute } from '../../computing/computation.js'
import { chosenDevices } from '../../show/engine-options.js'
import { engineOf, engineText, submit } from '../../show/submitting.js'
import { describePlan, describeSweep, sweepReport } from '../../show/sweeping.js'
import type { CommandFunction, Invocation } from '../../terminal/command.js'
import { createOutput, type Output } from '../../terminal/output.js'

/** `gradprompt sweep CONFIG|SWEEP` */
export const run: CommandFunction = async invocation => {
  const { options } = invocation
  const output = createOutput(options)
  const isConfig = await isFile(invocation.argument!)
  const number = (name: string) => options[name] as number | undefined
  for (const name of ['workers', 'trials', 'max-failures'])
    if (number(name) === 0)
      throw new GradpromptError('invalid-option', `--${name} is not valid`, { found: '0', expected: 'at least 1' })
  if (isConfig) refuseWithConfig(invocation)
  if (typeof options.csv === 'string') await refuseOtherTable(options.csv)
  const engine = engineOf(options)
  if (engine !== undefined && options.show === true)
    throw new GradpromptError('invalid-option', '--show hands nothing in', {
      found: `--on ${engine.name} beside it`,
      expected: 'one of both',
    })
  if (options['dry-run'] === true) {
    const { plan, out } = isConfig
      ? await newPlan(invocation, 1)
      : { plan: await folderPlan(invocation), out: invocation.argument! }
    if (engine !== undefined) {
      const text = engineText(engine, plannedFolder(plan, out), options)
      output.object({ event: 'dry-run', engine: engine.name, file: text })
      output.text(text)
      return 0
    }
    output.object({ event: 'dry-run', ...(await describePlan(plan)).object })
    output.text((await describePlan(plan)).text)
    return 0
  }
  const devices = chosenDevices(options)
  const workers = devices?.length ?? number('workers') ?? 1
  let folder = invocation.argument!
  let trials = number('trials')
  if (isConfig) {
    const { plan, out } = await newPlan(invocation, engine === undefined ? workers : 1)
    // What cannot be handed in is told before there is a folder.
    if (engine !== undefined) engineText(engine, plannedFolder(plan, out), options)
    folder = await sweepFolder(plan, out)
    trials = plan.trials
    output.note(`sweep: ${folder}`)
  } else await folderPlan(invocation)
  const added = ((options.add ?? []) as readonly string[]).map(readValues)
  for (const values of added) await addTrial(folder, values)
  if (engine !== undefined) {
    const counts = isConfig ? {} : { trials, 'max-failures': number('max-failures') }
    await submit(engine, folder, engineText(engine, folder, options, counts), output)
    return 0
  }
  if (options.show !== true && (added.length === 0 || isConfig || trials !== undefined)) {
    const report = sweepReport(output, folder)
    const request = { folder, trials, maxFailures: number('max-failures') }
    const parts = Array.from({ length: workers }, (_, i) => compute('sweep', { ...request, device: devices?.[i] }, report))
    await report.of(parts)
  } else for (const values of added) output.note(`added: ${JSON.stringify(values)}`)
  const summary = await summarizeSweep(folder)
  await show(summary, options, output)
  return 0
}

/** A table of data that stands where the trials are to be written is not ours to replace; told before anything is computed. */
async function refuseOtherTable(path: string): Promise<void> {
  requireEnding(path, ['.csv'], 'trials are written as comma-separated values')
  if (!(await isFile(path)) || (await readFile(path, 'utf8')).startsWith('trial,state,steps')) return
  throw new GradpromptError('file-exists', `there is already a file ${path}`, {
    found: 'a file that is no table of trials',
    expected: 'a new name, or an earlier table of trials',
  })
}

/** Where a sweep will be, as far as that is known before its folder is made. */
const plannedFolder = ({ name }: Plan, out: string | undefined) => out ?? join('sweeps', name)

async function show(summary: SweepSummary, { html, csv }: Invocation['options'], output: Output): Promise<void> {
  output.object({ event: 'result', ...summary, parameters: summary.parameters.map(({ name }) => name) })
  output.text(describeSweep(summary))
  if (html === true) {
    const { sweepPage } = await import('../../../report/sweeps/page.js')
    const { writePage } = await import('../../../report/parts/page.js')
    const path = join(summary.folder, 'sweep.html')
    await writePage(path, sweepPage(summary))
    output.text(`page: ${path}`)
  }
  if (typeof csv === 'string') {
    await replaceText(csv, sweepCsv(summary))
    output.text(`table: ${csv}`)
  }
}

/** The plan of a config with its flags, and the folder that they name. */
async function newPlan(
  { argument, options, flags, flagNames }: Invocation,
  workers: number,
): Promise<{ readonly plan: Plan; readonly out: string | undefined }> {
  const path = argument!
  const file = { path, config: await loadConfigFile(path) }
  const root = sweepConfigSchema(kindOf(file.config))
  const given = {
    ...flags,
    ...(options.trials !== undefined && { 'sweep.trials': String(options.trials) }),
    ...(options['max-failures'] !== undefined && { 'sweep.maxFailures': String(options['max-failures']) }),
  }
  const input = mergeFlags(file.config, given, root)
  const origin = configOrigin(
    file,
    given,
    { ...flagNames, 'sweep.trials': '--trials', 'sweep.maxFailures': '--max-failures' },
    root,
  )
  // Processes of one machine share its cores.
  const threads =
    workers > 1 && input.threads === undefined ? { threads: Math.max(1, Math.floor(availableParallelism() / workers)) } : {}
  const out = options.out ?? input.out
  if (out !== undefined && (typeof out !== 'string' || out === ''))
    throw new GradpromptError('invalid-config', `${path}: out is not valid`, { found: JSON.stringify(out), expected: 'a folder' })
  return { plan: await planOf({ ...input, ...threads }, origin), out }
}

async function folderPlan({ argument, flags, options }: Invocation): Promise<Plan> {
  const { readPlan } = await import('../../../api/sweep/plan.js')
  const [flag] = Object.keys(flags)
  if (flag !== undefined || options.out !== undefined)
    throw new GradpromptError('invalid-option', `a sweep that is gone on with stays as it is`, {
      found: `--${flag ?? 'out'} beside the folder ${argument}`,
      expected: '--trials, --max-failures, --workers, --devices, --add, --show, --html, --csv',
      hint: 'give the config to begin another sweep',
    })
  return readPlan(argument!)
}

function refuseWithConfig({ argument, options }: Invocation): void {
  if (options.show !== true) return
  throw new GradpromptError('invalid-option', '--show needs the folder of a sweep', {
    found: `the file ${argument}`,
    expected: `such as gradprompt sweep sweeps/sst2 --show`,
    hint: `${ownCommand`sweep ${argument!}`} begins it`,
  })
}

/** `a.b=1,c=[1, 2]` or `{ a.b: 1 }` */
function readValues(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = text.trimStart().startsWith('{')
      ? parseValue(text, { maxAliasCount: 0 })
      : Object.fromEntries(
          text.split(/,(?=[\w.]+=)/).map(part => {
            const at = part.indexOf('=')
            if (at < 1) throw new Error(`${part} has no =`)
            return [part.slice(0, at).trim(), parseValue(part.slice(at + 1), { maxAliasCount: 0 }) as unknown]
          }),
        )
    if (typeof parsed === 'object' && parsed !== null) return parsed as Record<string, unknown>
    throw new Error('no values')
  } catch (cause) {
    throw new GradpromptError('invalid-option', '--add cannot be read', {
      found: text,
      expected: 'train.learningRate=0.02,train.batchSize=8 or { train.learningRate: 0.02 }',
      cause,
    })
  }
}
