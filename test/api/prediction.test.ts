import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetReadObjects } from 'hyparquet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  evaluate,
  generate,
  type LanguageModel,
  labelNext,
  loadModel,
  type PredictedRow,
  type PredictOptions,
  predict,
  search,
  tune,
} from '../../src/index.js'
import { command } from '../cli/command.js'
import { toySearch } from '../search/toy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

let model: LanguageModel
let run: Awaited<ReturnType<typeof tune>>
let found: Awaited<ReturnType<typeof search>>
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  run = await tune({ ...toyConfig(folder, { train: { steps: 10 }, threads: 1 }), out: join(folder, 'tuned') })
  const words = toySearch(folder, { search: { steps: 2, searchWidth: 4, topk: 4 } })
  found = await search({ ...words, out: join(folder, 'found') })
})
afterAll(() => model.dispose())

const labelled = toyRows(16).map(line => {
  const [text, label] = line.split('\t') as [string, string]
  return { text, label }
})
const rows = labelled.map(({ text }, id) => ({ id, text }))

async function all(options: PredictOptions): Promise<PredictedRow[]> {
  const answers: PredictedRow[] = []
  for await (const answer of predict(options)) answers.push(answer)
  return answers
}

const written = (name: string, text: string) => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('classes', () => {
  test('are those that evaluate decides, without labels, with their probabilities', async () => {
    const { predictions } = await evaluate({ model, prompt: run, data: labelled })
    const answers = await all({ model, prompt: run, data: rows })
    expect(answers.map(({ prediction }) => prediction)).toEqual(predictions!.map(({ predicted }) => predicted))
    for (const [i, { index, row, probability, margin, probabilities }] of answers.entries()) {
      expect({ index, row }).toEqual({ index: i, row: rows[i] })
      const shares = predictions![i]!.logLikelihoods.map(Math.exp)
      const total = shares.reduce((sum, share) => sum + share, 0)
      expect(Object.keys(probabilities!)).toEqual(['the', 'of'])
      for (const [j, share] of Object.values(probabilities!).entries()) expect(share).toBeCloseTo(shares[j]! / total, 5)
      const [most, second] = Object.values(probabilities!).sort((a, b) => b - a) as [number, number]
      expect([probability, margin]).toEqual([most, most - second])
    }
  })

  test('are found under whatever stands for a prompt, and whatever the label column says', async () => {
    const { predictions } = await evaluate({ model, prompt: found, data: labelled })
    const wanted = predictions!.map(({ predicted }) => predicted)
    const unknown = rows.map(row => ({ ...row, label: '?' }))
    for (const prompt of [found, found.folder])
      expect((await all({ model, prompt, data: unknown })).map(({ prediction }) => prediction)).toEqual(wanted)
    const own = { model, data: rows, template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
    expect(await all(own)).toHaveLength(16)
  })

  test('of more rows than are computed at once come as they are computed, and end with the loop', async () => {
    let taken = 0
    async function* endless() {
      for (;;) {
        taken++
        yield { text: 'the wine' }
      }
    }
    let seen = 0
    for await (const { prediction } of predict({ model, prompt: run, data: endless() })) {
      expect(['the', 'of']).toContain(prediction)
      if (++seen === 130) break
    }
    expect(taken).toBeLessThanOrEqual(256)
  })
})

describe('free text', () => {
  test('is what generate writes, greedily', async () => {
    const template = '{text} -'
    const answers = await all({ model, prompt: run, data: rows, answerType: 'text', maxNewTokens: 3 })
    const inputs = rows.map(({ text }) => `${text} -`)
    const texts = await generate({ model, prompt: run, inputs, maxNewTokens: 3, raw: true })
    expect(answers.map(({ prediction }) => prediction)).toEqual(texts.map(({ text }) => text))
    expect(answers.every(({ probability, finishReason }) => probability > 0 && probability <= 1 && finishReason)).toBe(true)
    const plain = await all({ model, data: rows.slice(0, 2), template, answer: ' {label}', maxNewTokens: 2 })
    expect(plain[0]).not.toHaveProperty('probabilities')
    const words = { model, prompt: { text: 'Say it.' }, data: rows.slice(0, 1), template, answer: ' {label}', maxNewTokens: 2 }
    const [told] = await generate({ model, inputs: [`Say it.\n${rows[0]!.text} -`], maxNewTokens: 2 })
    expect((await all(words))[0]!.prediction).toBe(told!.text)
  })
})

describe('rows worth a label', () => {
  test('are those that predict is least sure of, without labelled and repeated ones', async () => {
    const pool = [
      ...rows.map(row => ({ ...row, label: '' })),
      { id: 16, text: 'the wine of it', label: '1' },
      { ...rows[0]!, label: '' },
      { id: 18, text: ' ', label: '' },
    ]
    const margins = (await all({ model, prompt: run, data: rows })).map(({ margin }) => margin!)
    const different = rows.filter(({ text }, i) => rows.findIndex(row => row.text === text) === i)
    const least = different.map(({ id }) => id).sort((a, b) => margins[a]! - margins[b]!)
    const chosen = await labelNext({ model, prompt: run, data: pool, count: 4, among: 1 })
    expect(chosen.rows.map(({ index }) => index)).toEqual(least.slice(0, 4))
    expect(chosen.rows[0]!.unsure).toBeCloseTo(1 - margins[least[0]!]!, 6)
    expect(chosen).toMatchObject({ pool: different.length, labelled: 1, repeated: rows.length - different.length + 1, empty: 1 })
    // Two that are the same prompt choose as one does, from among the least sure.
    const spread = await labelNext({ model, prompt: [run, run.folder], data: pool, count: 2, among: 2 })
    expect(spread.rows[0]!.index).toBe(least[0])
    expect(least.slice(1, 4)).toContain(spread.rows[1]!.index)
    const told = problemOf(labelNext({ model, prompt: run, data: labelled }))
    expect(await told).toMatchObject({ code: 'nothing-to-label' })
    expect(await problemOf(labelNext({ model, prompt: run, data: rows, by: 'disagreement' }))).toMatchObject({
      code: 'invalid-option',
    })
    expect(await problemOf(labelNext({ model, prompt: found, data: rows, count: 0 }))).toMatchObject({ code: 'invalid-option' })
    const text = { model, prompt: { text: 'Say it.' }, data: rows.slice(0, 1) }
    expect(await problemOf(labelNext(text))).toMatchObject({ code: 'missing-option' })
    const free = {
      ...text,
      template: '{text} -',
      answer: ' {label}',
      onProgress: (_done: number, _total: number, what: string) => expect(what).not.toBe('rows'),
    }
    expect(await problemOf(labelNext(free))).toMatchObject({ code: 'free-text' })
  })

  test('take texts and labels where the prompt has none; what is left out is not answered, and what is cut is said', async () => {
    const { hiddenSize } = model.config
    const vectors = { data: new Float32Array(2 * hiddenSize).fill(0.1), shape: [2, hiddenSize] as const }
    const long = 'the wine of it '.repeat(200)
    const labels = { '0': 'no', '1': 'yes' }
    const asked = { model, prompt: vectors, template: '{text} -', answer: ' {label}', labels, count: 2, among: 2 }
    const pool = [{ text: long, label: '1' }, ...rows.slice(0, 6).map(({ text }) => ({ text, label: '' }))]
    const chosen = await labelNext({ ...asked, data: pool })
    expect(chosen).toMatchObject({ labels: ['no', 'yes'], labelled: 1 })
    expect(chosen.rows).toHaveLength(2)
    const unlabelled = pool.map(({ text }, i) => ({ text: `${i} ${text}` }))
    expect(await problemOf(labelNext({ ...asked, data: unlabelled }))).toMatchObject({ code: 'row-too-long' })
    const codes: string[] = []
    const onWarning = ({ code }: { code: string }) => codes.push(code)
    await labelNext({ ...asked, data: unlabelled, count: 3, among: 3, truncate: true, onWarning })
    expect(codes).toContain('long-texts')
  })

  test('are written by the command as a file to label', async () => {
    const data = written('pool.csv', `text,label\n${rows.map(({ text }) => `"${text}",`).join('\n')}\n`)
    const output = join(folder, 'to-label.csv')
    const asked = ['label-next', run.folder, data, '--count', '3', '--model', toyModel, '--threads', '1', '--output', output]
    const { code, stdout } = await command(asked)
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('3 rows of') })
    const [header, ...lines] = readFileSync(output, 'utf8').trim().split('\n')
    expect(header).toBe('text,label,prediction,probability,unsure')
    expect(lines).toHaveLength(3)
    expect(await command(asked)).toMatchObject({ code: 2, stderr: expect.stringContaining('file-exists') })
  })
})

describe('columns', () => {
  test('of other names, of none, and of a header of its own', async () => {
    const wanted = (await all({ model, prompt: run, data: rows })).map(({ prediction }) => prediction)
    const predictions = async (options: Partial<PredictOptions>) =>
      (await all({ model, prompt: run, data: rows, ...options })).map(({ prediction }) => prediction)
    const review = rows.map(({ text }) => ({ review: text }))
    expect(await predictions({ data: review, columns: { text: 'review' } })).toEqual(wanted)
    const texts = rows.map(({ text }) => text)
    // The run's own files have a text and a label, and no header.
    expect(await predictions({ data: written('texts.tsv', `${texts.join('\n')}\n`) })).toEqual(wanted)
    expect(await predictions({ data: written('header.tsv', `text\n${texts.join('\n')}\n`) })).toEqual(wanted)
    expect(await predictions({ data: written('more.csv', `id,text\n${texts.map(text => `7,"${text}"`).join('\n')}\n`) })).toEqual(
      wanted,
    )
    const kinds = rows.map((row, i) => `"${row.text}",${i % 2}`)
    const header = { data: written('names.csv', `Review,Kind\n${kinds.join('\n')}\n`) }
    expect(await problemOf(predictions(header))).toMatchObject({
      code: 'header-mismatch',
      hint: expect.stringContaining('--columns text=Review, or'),
    })
    expect(await predictions({ ...header, columns: { text: 'Review' } })).toEqual(wanted)
    // Under its own names a first row may have any label.
    const odd = ['text,label', ...kinds].join('\n').replace(/0$/m, 'odd')
    expect(await predictions({ data: written('odd.csv', odd) })).toEqual(wanted)
    const unmeant = predict({ model, prompt: run, data: rows, columns: { txt: 'text' } })
    expect(await problemOf(unmeant.next())).toMatchObject({ code: 'invalid-option', hint: 'did you mean text?' })
  })

  test('that a row misses, and a file of none: the row is named', async () => {
    const lines = [...rows.map(row => JSON.stringify(row)), '', '{"txt": "x"}']
    const problem = await problemOf(all({ model, prompt: run, data: written('missing.jsonl', lines.join('\n')) }))
    expect(problem).toMatchObject({ code: 'missing-column', message: expect.stringContaining('missing.jsonl:18') })
    const none = await problemOf(all({ model, prompt: run, data: [{ txt: 'x' }] }))
    expect(none).toMatchObject({ code: 'missing-column', hint: expect.stringContaining('(--columns text=txt)') })
    expect(await problemOf(all({ model, prompt: run, data: written('empty.jsonl', '\n') }))).toMatchObject({ code: 'empty-data' })
    expect(await problemOf(all({ model, prompt: run, data: rows, maxNewTokens: 3 }))).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('maxNewTokens (--max-new-tokens) has no effect'),
    })
  })
})

describe('a file', () => {
  const data = () =>
    written(
      'rows.jsonl',
      rows.map(row => `${JSON.stringify({ ...row, big: 1 }).replace('"big":1', '"big":12345678901234567890')}\n`).join(''),
    )

  test('of JSON lines, CSV or Parquet has the columns of the rows, and the answers', async () => {
    const answers = await all({ model, prompt: run, data: rows })
    const out = (ending: string) => join(folder, `predicted.${ending}`)
    const { rows: count, labels, weights } = await predict.toFile({ model, prompt: run, data: data(), output: out('jsonl') })
    expect({ count, labels, weights }).toEqual({ count: 16, labels: ['the', 'of'], weights: 'fp32' })
    const text = readFileSync(out('jsonl'), 'utf8')
    expect(text).toContain('"big":12345678901234567890')
    const lines = text
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
    expect(lines[0]).toMatchObject({ id: 0, text: rows[0]!.text, prediction: answers[0]!.prediction, probabilities: {} })
    expect(Object.keys(lines[0]!)).toEqual(['id', 'text', 'big', 'prediction', 'probability', 'margin', 'probabilities'])

    await predict.toFile({ model, prompt: run, data: data(), output: out('csv'), keep: ['id'] })
    const [head, first] = readFileSync(out('csv'), 'utf8').split('\n')
    expect(head).toBe('id,prediction,probability,margin,p:the,p:of')
    expect(first!.split(',').slice(0, 2)).toEqual(['0', answers[0]!.prediction])

    await predict.toFile({ model, prompt: run, data: data(), output: out('parquet') })
    const bytes = readFileSync(out('parquet'))
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer
    const table = await parquetReadObjects({ file })
    expect(table).toHaveLength(16)
    expect(table[3]).toMatchObject({ id: '3', text: rows[3]!.text, prediction: answers[3]!.prediction })
    expect(table[3]!['p:of']).toBeCloseTo(answers[3]!.probabilities!.of!, 6)
  })

  test('appears when it is complete, or not at all', async () => {
    const output = join(folder, 'partial', 'out.csv')
    const bad = written(
      'bad.jsonl',
      `${rows
        .map(row => JSON.stringify(row))
        .join('\n')
        .repeat(1)}\n{"txt":"x"}\n`,
    )
    expect(await problemOf(predict.toFile({ model, prompt: run, data: bad, output }))).toMatchObject({ code: 'missing-column' })
    expect(readdirSync(join(folder, 'partial'))).toEqual([])
    const taken = rows.map(row => ({ ...row, prediction: 'x', margin: 1 }))
    const problem = await problemOf(predict.toFile({ model, prompt: run, data: taken, output }))
    expect(problem).toMatchObject({ code: 'column-taken', hint: expect.stringMatching(/--keep id,text$/) })
    const odd = rows.map(row => ({ ...row, 'of two, parts': 'y', prediction: 'x' }))
    expect(await problemOf(predict.toFile({ model, prompt: run, data: odd, output }))).toMatchObject({
      hint: expect.stringContaining(`--keep '["id","text","of two, parts"]'`),
    })
    const late = [...Array.from({ length: 200 }, () => ({ text: 'a' })), { text: 'a', more: 'b' }]
    expect(await problemOf(predict.toFile({ model, prompt: run, data: late, output }))).toMatchObject({ code: 'invalid-data' })
    expect(await problemOf(predict.toFile({ model, prompt: run, data: rows, output: `${folder}/x.txt` }))).toMatchObject({
      code: 'unknown-format',
    })
    await predict.toFile({ model, prompt: run, data: late, output, keep: [] })
    expect(readFileSync(output, 'utf8').split('\n')).toHaveLength(203)
    expect(await problemOf(predict.toFile({ model, prompt: run, data: rows, output }))).toMatchObject({ code: 'file-exists' })
  })

  test('takes away what a killed process left of it, and nothing of one that lives', async () => {
    const place = join(folder, 'killed')
    mkdirSync(place)
    const [left, living] = [`out.csv.2000000000-0.tmp`, `out.csv.${process.ppid}-0.tmp`]
    for (const name of [left, living]) writeFileSync(join(place, name), 'prediction')
    await predict.toFile({ model, prompt: run, data: rows, output: join(place, 'out.csv') })
    expect(readdirSync(place)).toEqual(['out.csv', living])
  })

  test('or standard output, from a file or from standard input', async () => {
    const answers = await all({ model, prompt: run, data: rows })
    const printed = await command(['predict', run.folder, data(), '--threads', '1'])
    expect(printed.stderr).toContain('exact arithmetic (fp32)')
    const lines = printed.stdout.trimEnd().split('\n')
    expect(lines[0]).toBe('id,text,big,prediction,probability,margin,p:the,p:of')
    expect(lines).toHaveLength(17)
    const piped = await command(['predict', run.folder, '-', '--json', '--threads', '1'], { input: readFileSync(data(), 'utf8') })
    expect(piped.lines.map(({ prediction }) => prediction)).toEqual(answers.map(({ prediction }) => prediction))
    const csv = await command(['predict', run.folder, '-', '--keep', 'none', '--threads', '1'], { input: 'text\nthe wine\n' })
    expect(csv.stdout.split('\n')[0]).toBe('prediction,probability,margin,p:the,p:of')
    const output = join(folder, 'by-command.parquet')
    const filed = await command(['predict', run.folder, data(), '--output', output, '--json', '--threads', '1'])
    expect(filed.lines.at(-1)).toMatchObject({ event: 'result', rows: 16, weights: 'fp32', output })
    const binary = await command(['predict', run.folder, data(), '--format', 'parquet'])
    expect([binary.code, binary.stderr]).toEqual([2, expect.stringContaining('--output predictions.parquet')])
    expect((await command(['predict', 'nowhere', data()])).stderr).toContain('not-a-run')
  })
})
