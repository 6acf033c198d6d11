import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { families } from '../../../../models/index.js'
import { searchConfigOf, tuneConfigOf } from '../../../api/runs/configs.js'
import { isHubData } from '../../../data/hub-data.js'
import { isDataName, knownExtensions } from '../../../data/readers/index.js'
import { parseRunTask } from '../../../data/task-config.js'
import { GradpromptError } from '../../../errors.js'
import type { NearestTokens } from '../../../evaluate/nearest-tokens.js'
import { exportsElsewhere } from '../../../export/index.js'
import { isFile } from '../../../files.js'
import { ownCommand } from '../../../own-command.js'
import { bundledModel } from '../../../package-root.js'
import { numSoftTokens } from '../../../prompts/soft-rows.js'
import type { SearchResult, SearchStepEvent } from '../../../search/run/events.js'
import { hintsName } from '../../../store/other-folders.js'
import { type PromptFile, readPrompt } from '../../../store/prompt-file.js'
import { openRun, type Run } from '../../../store/run-folder.js'
import type { Config } from '../../../train/config.js'
import type { RunResult } from '../../../train/events.js'
import { metaWords, stepRows } from '../../../train/meta/words.js'
import { compute } from '../../computing/computation.js'
import { inspectAdapter } from '../../show/adapter-inspection.js'
import { inspectData } from '../../show/data-inspection.js'
import { importedOf, inspectImported } from '../../show/imported-inspection.js'
import { describeResult } from '../../show/learning.js'
import { inspectModel } from '../../show/model-inspection.js'
import { describeSearch } from '../../show/searching.js'
import type { CommandFunction } from '../../terminal/command.js'
import { Interrupted } from '../../terminal/failure.js'
import { createOutput, type Output, plural, quoted, table } from '../../terminal/output.js'

/** `gradprompt inspect RUN|MODEL|PROMPT|DATA` */
export const run: CommandFunction = async ({ argument, options }) => {
  const path = argument!
  const output = createOutput(options)
  for (const family of (options.family as readonly string[] | undefined) ?? []) await families.load(family)
  const found = await stat(path).catch(() => undefined)
  const imported = await importedOf(path)
  const isRun = found?.isDirectory() === true && (await isFile(join(path, 'config.yaml')))
  if (options.report === true) {
    if (!isRun) {
      throw new GradpromptError('not-a-run', `${path} is not a run`, {
        expected: 'a run folder',
        hint: 'only a run has a report',
      })
    }
    const { path: report } = await compute('report', { folder: path })
    output.object({ event: 'inspect', kind: 'report', path: report })
    output.text(`wrote ${report}`)
  } else if (isRun) await inspectRun(path, output)
  else if (await isFile(join(path, hintsName))) await inspectHints(path, output)
  else if (imported !== undefined) inspectImported(path, imported, output)
  else if (await isFile(join(path, 'adapter_config.json'))) await inspectAdapter(path, output)
  // What an export to gradprompt has written.
  else if (await isFile(join(path, 'prompt.safetensors'))) await inspectPrompt(join(path, 'prompt.safetensors'), output)
  else if (found?.isDirectory() !== true && path.endsWith('.safetensors')) await inspectPrompt(path, output)
  // What is not there is called what its name says.
  else if (isHubData(path) || (found?.isDirectory() !== true && isDataName(path))) await inspectData(path, output)
  else if (found?.isFile() && !path.endsWith('.gguf')) throw unknownFile(path)
  else await inspectModel(path, output)
  return 0
}

/** What `gradprompt hints` has learned. */
async function inspectHints(path: string, output: Output): Promise<void> {
  const [{ readResult }, { describeHints }] = await Promise.all([
    import('../../../api/hints/stored.js'),
    import('../learning/hints.js'),
  ])
  const result = await readResult(path)
  output.object({ event: 'inspect', kind: 'hints', ...result })
  output.text(
    [describeHints(result, undefined), `next  ${ownCommand`generate --strategy hints --strategy-option from=${path} TEXT`}`].join(
      '\n',
    ),
  )
}

const unknownFile = (path: string) =>
  new GradpromptError('unknown-format', `${path} is nothing that can be inspected`, {
    found: 'a file of another kind',
    expected: `a run or a model folder, a .gguf, a prompt.safetensors, or data: ${knownExtensions()
      .map(ending => `.${ending}`)
      .join(' ')}`,
    hint: 'data are told by the end of their name: what Excel writes as "Unicode Text" (.txt) is a .tsv',
  })

/** A search: where it stands, or what it came to. */
async function inspectSearch(run: Run, output: Output): Promise<void> {
  const { folder } = run
  const config = await searchConfigOf(run)
  const result = (await run.readResult()) as SearchResult | undefined
  const steps = (await run.readEvents()).filter(({ event }) => event === 'step') as unknown as SearchStepEvent[]
  const last = steps.at(-1)
  const { data, template, answer, search } = config
  const writer = await run.writer()
  const state =
    result === undefined
      ? writer === undefined
        ? `stopped after step ${last?.step ?? 0}: ${ownCommand`resume ${folder}`}`
        : running(writer, last?.step)
      : `finished after ${plural(result.steps, 'step')}`
  const finished = result !== undefined
  output.object({
    event: 'inspect',
    kind: 'search',
    folder,
    finished,
    running: writer !== undefined,
    config,
    result: result ?? null,
  })
  const facts: [string, string][] = [
    ['run', folder],
    ['state', state],
    ['model', config.model],
    ['search', search.type],
    ['data', [data.train, data.dev, data.test].filter(Boolean).join(', ')],
    [
      'template',
      typeof template === 'string' ? quoted(template, 100) : template.map(({ content }) => quoted(content, 100)).join(' / '),
    ],
    ['answer', quoted(answer, 60)],
    ...(last === undefined
      ? []
      : ([['best so far', `${quoted(last.best.prompt, 100)} (${last.best.objective.toFixed(4)})`]] as [string, string][])),
  ]
  output.text(table(facts) + (result === undefined ? '' : `\n${describeSearch({ ...result, folder })}`))
}

async function inspectRun(folder: string, output: Output): Promise<void> {
  const run = await openRun(folder)
  if (run.isSearch) return inspectSearch(run, output)
  const config = await tuneConfigOf(run)
  const result = (await run.readResult()) as RunResult | undefined
  const events = await run.readEvents()
  const steps = events.flatMap(event => (event.event === 'step' && typeof event.step === 'number' ? [event] : []))
  const losses = steps.flatMap(({ loss }) => (typeof loss === 'number' ? [loss] : []))
  const checkpoint = await run.latestCheckpoint()
  const nearest = result === undefined ? [] : await nearestOf(folder, config.model, output)
  const writer = await run.writer()
  const state =
    result === undefined
      ? writer !== undefined
        ? running(writer, steps.at(-1)?.step)
        : `stopped after step ${steps.at(-1)?.step ?? 0}; the last checkpoint is of step ${checkpoint?.step ?? 0}: ${ownCommand`resume ${folder}`}`
      : `finished after ${plural(result.steps, 'step')}`
  output.object({
    event: 'inspect',
    kind: 'run',
    folder,
    finished: result !== undefined,
    running: writer !== undefined,
    config,
    result: result ?? null,
    losses,
    nearest,
  })
  const sections = [
    table([['run', folder], ['state', state], ...configSummary(config)]),
    ...(nearest.length > 0 ? [`the vectors read as (nearest tokens, with their cosine)\n${nearestTable(nearest)}`] : []),
    ...(result === undefined
      ? []
      : [describeResult({ ...result, folder }, losses, await exportsElsewhere(config.method)).trimStart()]),
  ]
  output.text(sections.join('\n\n'))
}

const running = (writer: number, step = 0) => `running, in process ${writer}: step ${step} is done`

function configSummary({ model, data, template, answer, answerEnd, method, train, seed }: Config): string[][] {
  const files = (['train', 'dev', 'test'] as const).flatMap(part => (data[part] === undefined ? [] : [`${part} ${data[part]}`]))
  const { steps, epochs, learningRate, optimizer, schedule } = train
  const text = typeof template === 'string' ? template : template.map(({ role, content }) => `${role}: ${content}`).join(' | ')
  return [
    ['model', model],
    ['data', files.join(', ')],
    ['template', quoted(text, 100)],
    ['answer', quoted(answer)],
    ['answers end', answerEnd],
    ['method', stringify(method, { collectionStyle: 'flow', lineWidth: 0 }).trim()],
    [
      'train',
      `${steps === undefined ? plural(epochs ?? 1, 'epoch') : plural(steps, 'step')} of ${plural(stepRows(train), 'row')}, ` +
        `${optimizer}, learning rate ${learningRate} (${schedule}), seed ${seed}`,
    ],
    ...(train.meta === undefined ? [] : [['tasks', metaWords(train.meta)]]),
  ]
}

async function inspectPrompt(path: string, output: Output): Promise<void> {
  const prompt = await readPrompt(path)
  const model = await modelOf(path, prompt)
  const nearest = model === undefined ? [] : await nearestOf(path, model, output)
  const { tensors, ...header } = prompt
  const shapes = tensors.map(({ name, shape }) => ({ name, shape }))
  output.object({ event: 'inspect', kind: 'prompt', path, ...header, tensors: shapes, nearest })
  const template = typeof prompt.template === 'string' ? prompt.template : JSON.stringify(prompt.template)
  const norms = nearest.map(({ norm }) => norm)
  const rows = [
    ['prompt', path],
    ['method', stringify(prompt.method, { collectionStyle: 'flow', lineWidth: 0 }).trim()],
    ['shape', `${prompt.numVirtualTokens} virtual tokens of ${prompt.hiddenSize}, ${prompt.position}`],
    ...(numSoftTokens(prompt.method) > 0 ? [['soft tokens', `${numSoftTokens(prompt.method)} in the template`]] : []),
    ['tensors', shapes.map(({ name, shape }) => `${name} [${shape.join(', ')}]`).join(', ')],
    ['model', `${prompt.model.name} (${prompt.model.hash.slice(0, 12)})`],
    ['template', quoted(template, 100)],
    ['answer', quoted(prompt.answer)],
    ...(prompt.labels
      ? [
          [
            'labels',
            Object.entries(prompt.labels)
              .map(([value, word]) => `${value}: ${word}`)
              .join(', '),
          ],
        ]
      : []),
    ...(norms.length > 0 ? [['norms', `${Math.min(...norms).toFixed(3)} to ${Math.max(...norms).toFixed(3)}`]] : []),
  ]
  const reading =
    nearest.length > 0 ? `\n\nthe vectors read as (nearest tokens, with their cosine)\n${nearestTable(nearest)}` : ''
  output.text(table(rows) + reading)
  if (model === undefined) output.note(`the model ${prompt.model.name} is not at hand, so the nearest tokens are left out`)
}

/** A prompt file names its model but not where it is: the run's config does, and the bundled one is known. */
async function modelOf(path: string, { model }: PromptFile): Promise<string | undefined> {
  const folder = dirname(path)
  if (await isFile(join(folder, 'config.yaml'))) return parseRunTask((await openRun(folder)).config, folder).model
  return bundledModel.endsWith(`/${model.name}`) ? bundledModel : undefined
}

/** What the vectors read as; nothing when the method has no fixed vectors or the model is gone. */
async function nearestOf(prompt: string, model: string, output: Output): Promise<NearestTokens[]> {
  try {
    return await compute('nearest', { prompt, model })
  } catch (error) {
    if (error instanceof Interrupted || !(error instanceof GradpromptError)) throw error
    output.note(`no nearest tokens: ${error.message}${error.found === undefined ? '' : ` (${error.found})`}`)
    return []
  }
}

const nearestTable = (nearest: readonly NearestTokens[]): string =>
  table(
    nearest.map(({ row, soft, norm, tokens }) => [
      `  ${String(row + 1).padStart(3)}${soft ? ' in the template' : ''}`,
      `norm ${norm.toFixed(2)}`,
      ...tokens.map(({ text, cosine }) => `${quoted(text, 24)} ${cosine.toFixed(2)}`),
    ]),
  )
