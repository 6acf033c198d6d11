import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { controlsIn } from '../../src/api/sweep/folder.js'
import { planHash, planOf, readPlan, sweepFolder } from '../../src/api/sweep/plan.js'
import { summarizeSweep, sweepCsv } from '../../src/api/sweep/summary.js'
import { addTrial, type SweepInput, sweep } from '../../src/api/sweep/sweep.js'
import type { SweepEvent } from '../../src/api/sweep/worker.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { pageHtml } from '../../src/report/parts/page.js'
import { sweepPage } from '../../src/report/sweeps/page.js'
import { gridOf } from '../../src/sweep/samplers/grid.js'
import type { ScoredControl } from '../../src/train/control.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
let model: LanguageModel
beforeAll(async () => {
  model = await LanguageModel.load(toyModel, { threads: 1 })
})
afterAll(async () => {
  await model.dispose()
  remove()
})

/** The toy task with a block `sweep`. */
function toySweep(name: string, options: object, { train = {}, ...changes }: Record<string, unknown> = {}): SweepInput {
  const { model: _, ...config } = toyConfig(folder, { train: { steps: 12, ...(train as object) } })
  return { ...config, model, ...changes, out: join(folder, name), sweep: options } as unknown as SweepInput
}

const linesOf = (name: string) =>
  readFileSync(join(folder, name, 'journal.log'), 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line.slice(9)) as Record<string, unknown>)

test('one whose folder is deleted ends before the next trial, and does not make it anew', async () => {
  const out = join(folder, 'deleted')
  const ended = sweep(toySweep('deleted', { over: { 'train.learningRate': [0.01, 0.1] } }), {
    onEvent: ({ event }) => {
      if (event === 'trial') rmSync(out, { recursive: true })
    },
  })
  await expect(ended).rejects.toMatchObject({ code: 'sweep-corrupt', exitCode: 1 })
  expect(existsSync(out)).toBe(false)
})

test('a halving over two seeds: runs that are left at a rung go on to the bits of a run that never stopped', async () => {
  const over = { 'train.learningRate': [0.001, 0.01, 0.1, 0.2] }
  const stop = { type: 'halving', min: 4, factor: 2 }
  const events: SweepEvent[] = []
  const summary = await sweep(toySweep('halving', { over, stop, seeds: 2, objective: 'logLikelihood' }), {
    onEvent: event => events.push(event),
  })
  const { trials, best, steps } = summary
  expect(trials.map(({ state }) => state).sort()).toEqual(['finished', 'stopped', 'stopped', 'stopped'])
  // Four trials to step 4, two to step 8, one to step 12; each with two seeds.
  expect(steps).toBe(2 * (2 * 4 + 8 + 12))
  expect(best!.state).toBe('finished')
  expect(best!.folders.map(path => path.slice(folder.length + 1))).toEqual(
    [13, 14].map(seed => `halving/trials/${String(best!.number).padStart(4, '0')}/seed-${seed}`),
  )
  const figure = best!.figures.logLikelihood!
  const seeds = best!.folders.map(
    path => JSON.parse(readFileSync(join(path, 'result.json'), 'utf8')).metrics.logLikelihood.value as number,
  )
  expect(figure.value).toBeCloseTo((seeds[0]! + seeds[1]!) / 2, 12)
  expect(figure.high - figure.low).toBeGreaterThan(Math.abs(seeds[0]! - seeds[1]!) / 2)
  const shown = await problemOf(openCheckpoint(join(folder, 'halving')))
  expect(shown).toMatchObject({ code: 'not-a-model', hint: expect.stringContaining('--show') })
  // The base model was scored once for each seed, whatever the trials; each run has its rows all the same.
  expect(readdirSync(join(folder, 'halving', 'base'))).toHaveLength(4)
  expect(existsSync(join(best!.folders[0]!, 'predictions', 'test-plain.jsonl'))).toBe(true)
  expect(events.filter(({ event }) => event === 'trial-end').at(-1)).toMatchObject({ state: 'finished', metric: 'logLikelihood' })

  const { tune } = await import('../../src/api/tune.js')
  const { sweep: _, ...config } = toySweep(
    'alone',
    {},
    { train: { learningRate: best!.values['train.learningRate'], evaluateEvery: 4 } },
  )
  const alone = await tune(config as never)
  const bytes = (path: string) => readFileSync(join(path, 'prompt.safetensors')).toString('base64')
  expect(bytes(best!.folders[0]!)).toBe(bytes(alone.folder))

  // Going on with a sweep that has ended does nothing.
  const before = linesOf('halving').length
  await sweep(join(folder, 'halving'), { model })
  expect(linesOf('halving')).toHaveLength(before)

  const page = pageHtml(sweepPage(summary), { script: '', style: '' })
  expect(page).toContain('Options and outcome')
  expect(page.match(/<polyline/g)).toHaveLength(4)
  expect(sweepCsv(summary).split('\n')[1]).toMatch(/^0,stopped,\d+,0\.\d+,/)
  const head = sweepCsv(summary).split('\n')[0]!.split(',')
  // A table with two columns of one name is refused by what reads it.
  expect(head.filter((name, i) => head.indexOf(name) !== i)).toEqual([])
  expect(head).toEqual(expect.arrayContaining(['accuracy', 'accuracy.low', 'parameters']))
  expect(head).not.toContain('parameters.low')
})

test('trials that fail are counted, others go on, and a run of failures ends the sweep', async () => {
  // A learning rate beyond all numbers makes the loss one that is none.
  const over = { 'train.learningRate': [1e38, 0.1], 'train.maxGradientNorm': [1e30] }
  const { trials, best, alike } = await sweep(toySweep('some-fail', { over, seed: 1 }))
  const failed = trials.find(({ state }) => state === 'failed')
  expect(failed).toMatchObject({ values: { 'train.learningRate': 1e38 }, error: { code: 'loss-not-finite' } })
  expect(best!.values['train.learningRate']).toBe(0.1)
  expect(alike).toEqual([])
  const all = { over: { 'train.learningRate': [1e38, 2e38, 3e38, 1.5e38] }, maxFailures: 2 }
  await expect(sweep(toySweep('all-fail', all))).rejects.toMatchObject({
    code: 'sweep-failing',
    found: expect.stringContaining('loss-not-finite'),
  })
  const { trials: begun } = await summarizeSweep(join(folder, 'all-fail'))
  expect(begun.map(({ state }) => state)).toEqual(['failed', 'failed'])
  const few = { over: { 'train.learningRate': [1e38, 2e38] } }
  await expect(sweep(toySweep('few-fail', few))).rejects.toMatchObject({ code: 'sweep-failing', message: 'all 2 trials failed' })
})

test('a sweep for a figure that its trials do not have ends behind the first of them', async () => {
  const given = { over: { 'train.learningRate': [0.01, 0.1] }, objective: 'acuracy' }
  const ended = { code: 'no-objective', found: expect.stringContaining('a trial has accuracy, '), exitCode: 1 }
  await expect(sweep(toySweep('no-figure', given))).rejects.toMatchObject(ended)
  await expect(sweep(join(folder, 'no-figure'), { model })).rejects.toMatchObject(ended)
  expect(linesOf('no-figure').filter(({ type }) => type === 'begun')).toHaveLength(1)
})

test('a trial that was added is done beside those that are chosen; a stopped sweep goes on', async () => {
  const over = { 'train.learningRate': { min: 0.001, max: 0.5, log: true } }
  const stopping = new AbortController()
  const input = toySweep('added', { over, strategy: 'random', trials: 2, objective: [{ metric: 'accuracy' }, 'seconds'] })
  const stopped = sweep(input, {
    signal: stopping.signal,
    onEvent: event => event.event === 'run' && event.of.event === 'step' && stopping.abort(),
  })
  await expect(stopped).rejects.toMatchObject({ code: 'aborted', hint: expect.stringContaining('gradprompt sweep') })
  expect(linesOf('added').at(-1)).toMatchObject({ type: 'left', trial: 0 })
  await addTrial(join(folder, 'added'), { 'train.learningRate': 0.07 })
  await expect(addTrial(join(folder, 'added'), { 'train.batchSize': 4 })).rejects.toMatchObject({ code: 'invalid-config' })
  const { trials, front, objectives } = await sweep(join(folder, 'added'), { model })
  expect(trials.map(({ state }) => state)).toEqual(['finished', 'finished', 'finished'])
  expect(trials[1]!.values).toEqual({ 'train.learningRate': 0.07 })
  expect(objectives).toEqual([
    { metric: 'accuracy', lower: false },
    { metric: 'seconds', lower: true },
  ])
  expect(front.length).toBeGreaterThan(0)
  const more = await sweep(join(folder, 'added'), { model, trials: 3 })
  expect(more.trials).toHaveLength(4)
})

test('an evaluation may be swept as well, by a process whose device is there', async () => {
  const { data, template, answer } = toyConfig(folder)
  const out = join(folder, 'evaluations')
  const input = {
    ...{ model: toyModel, template, answer, data: data.train as string, labels: data.labels, columns: data.columns },
    ...{ answerEnd: 'none', threads: 1, out },
    sweep: { of: 'evaluate', over: { template: ['{text} -', '{text} .', 'on {text}'] }, objective: 'logLikelihood' },
  } as unknown as SweepInput
  await expect(sweep({ ...input, model }, { device: 'cpu' })).rejects.toMatchObject({ code: 'invalid-option' })
  // It begins a trial, and leaves it to others.
  await expect(sweep(input, { device: 'cuda:99' })).rejects.toMatchObject({ code: 'device-unavailable' })
  expect(linesOf('evaluations').map(({ type }) => type)).not.toContain('failed')
  const { trials, best } = await sweep(out, { device: 'cpu' })
  expect(trials.map(({ state }) => state)).toEqual(['finished', 'finished', 'finished'])
  expect(trials.filter(({ behind }) => behind !== undefined)).toHaveLength(2)
  expect(existsSync(join(best!.folders[0]!, 'report.html'))).toBe(true)
})

test('conditions and constraints on a part of what varies as a whole are of the trial, not of the config', async () => {
  const {
    model: _,
    out: _out,
    ...input
  } = toySweep('parts', {
    over: {
      method: [
        { type: 'prompt-tuning', numVirtualTokens: 2 },
        { type: 'prompt-tuning', numVirtualTokens: 4 },
        { type: 'prompt-tuning', numVirtualTokens: 6 },
      ],
      'train.learningRate': { values: [0.1, 0.2], when: { 'method.numVirtualTokens': [4, 6] } },
    },
    constraints: ['method.numVirtualTokens < 6'],
  }) as Record<string, unknown>
  const { space, fixed, allowed, options } = await planOf({ ...input, model: toyModel }, 'sweep.yaml')
  const points = gridOf({ space, fixed, allowed, seed: options.seed })
  expect(
    points.map(values => [(values.method as { numVirtualTokens: number }).numVirtualTokens, values['train.learningRate']]).sort(),
  ).toEqual([
    [2, undefined],
    [4, 0.1],
    [4, 0.2],
  ])
})

test('of several different sweeps that begin in one folder at once one does; without a folder each takes its own', async () => {
  const plans = await Promise.all(
    [0.1, 0.2, 0.3, 0.4].map(rate => {
      const {
        model: _,
        out: _out,
        ...input
      } = toySweep('x', { over: { 'train.learningRate': [0.05, rate] } }) as Record<string, unknown>
      return planOf({ ...input, model: toyModel }, 'sweep.yaml')
    }),
  )
  const out = join(folder, 'at-once')
  const begun = await Promise.allSettled(plans.map(plan => sweepFolder(plan, out)))
  const isHere = (i: number) => begun[i]!.status === 'fulfilled'
  expect(plans.filter((_, i) => isHere(i))).toHaveLength(1)
  const mine = plans.findIndex((_, i) => isHere(i))
  expect(planHash(await readPlan(out))).toBe(planHash(plans[mine]!))
  for (const one of begun) if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'other-sweep' })
  expect(readdirSync(out)).toEqual(['sweep.yaml'])
  const own = await Promise.all(plans.map(plan => sweepFolder(plan, undefined, join(folder, 'sweeps'))))
  expect(new Set(own).size).toBe(4)
})

test('what cannot be swept is refused before anything is computed', async () => {
  const rate = { 'train.learningRate': { min: 0.001, max: 0.1 } }
  const refused = async (options: object, changes = {}) => {
    const { model: _, out: _out, ...input } = toySweep('never', options, changes) as Record<string, unknown>
    return planOf({ ...input, model: toyModel }, 'sweep.yaml').then(
      () => undefined,
      (error: { code: string; message: string; format(): string }) => ({ code: error.code, text: error.format() }),
    )
  }
  expect(await refused({ over: rate })).toBeUndefined()
  expect(await refused({ over: {} })).toMatchObject({
    code: 'invalid-config',
    text: expect.stringContaining('at least one option'),
  })
  expect(await refused({ over: { 'train.learnigRate': [1] } })).toMatchObject({ code: 'unknown-option' })
  expect(await refused({ over: rate, constraints: ['train.learningRate > 1', 'train.learningRate < 1'] })).toMatchObject({
    code: 'no-trials',
    text: expect.stringContaining('"train.learningRate > 1" refuses 200 of 200'),
  })
  expect(await refused({ over: rate, constraints: ['train.bachSize > 8'] })).toMatchObject({
    code: 'unknown-option',
    text: expect.stringContaining('did you mean train.batchSize'),
  })
  const beta = { values: [0.9], when: { 'train.optimizer': 'adafactor' } }
  expect(await refused({ over: { ...rate, 'train.beta2': beta } })).toMatchObject({
    code: 'invalid-config',
    text: expect.stringContaining('expected: adamw, which the config says, or train.optimizer among what varies'),
  })
  expect(await refused({ over: { 'train.batchSize': [4, 0] } })).toMatchObject({
    code: 'invalid-config',
    text: expect.stringContaining('train.batchSize 0'),
  })
  expect(await refused({ over: { 'method.insertionLayer': [2] } })).toMatchObject({
    text: expect.stringMatching(/in a trial with method\.insertionLayer 2/),
  })
  expect(await refused({ over: rate, strategy: 'grid' })).toMatchObject({ text: expect.stringContaining('points') })
  expect(
    await refused(
      { over: rate },
      { data: { train: join(folder, 'toy.tsv'), columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } } },
    ),
  ).toMatchObject({
    text: expect.stringContaining('a sweep needs dev rows'),
  })
  mkdirSync(join(folder, 'full'))
  writeFileSync(join(folder, 'full', 'mine.txt'), 'x')
  await expect(sweep(toySweep('full', { over: rate }))).rejects.toMatchObject({ code: 'folder-not-empty' })
  await expect(sweep(toySweep('halving', { over: rate }))).rejects.toMatchObject({ code: 'other-sweep' })
  await expect(sweep(folder)).rejects.toMatchObject({ code: 'not-a-sweep' })
})

test('what the base model came to is computed anew where it is not as it was written', async () => {
  const controls = controlsIn(join(folder, 'controls'))
  const control = { rows: [{ label: 1 }], metrics: { accuracy: { value: 0.5 } } } as unknown as ScoredControl
  await controls.write('a', control)
  expect(await controls.read('a')).toEqual(control)
  const path = join(folder, 'controls', 'base', 'a.json')
  const whole = readFileSync(path, 'utf8')
  for (const text of [whole.slice(0, -9), whole.replace('0.5', '0.7'), 'null', '']) {
    writeFileSync(path, text)
    expect(await controls.read('a')).toBeUndefined()
  }
})
