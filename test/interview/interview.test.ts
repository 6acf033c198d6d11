import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { type InterviewOptions, interview } from '../../src/api/interview/interview.js'
import { compileTemplate } from '../../src/data/texts/template.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import type { Generation } from '../../src/generate/request.js'
import { insisting } from '../../src/interview/answers.js'
import { labelsOf, placeholdersOf } from '../../src/interview/brief.js'
import type { InterviewQuestion } from '../../src/interview/machine.js'
import type { InterviewModel } from '../../src/interview/model-turns.js'
import { states } from '../../src/interview/state.js'
import { parseSearchConfig } from '../../src/search/config.js'
import { readSearchTask } from '../../src/search/run/task.js'
import { longToyModel } from '../search/toy.js'
import { problemOf } from '../support/problem.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-interview-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const answers: Readonly<Record<string, string>> = {
  task: 'Sort a mail to a shop by what it is.',
  inputs: 'mail and the order number',
  output: 'complaint | question | praise',
  constraints: 'one word',
  examples: '',
  mustNot: 'answer the mail',
  'verdict.1.2': '- name the class alone',
}
/** A person who says these things, and of each input a text of its own. */
function person(own: Readonly<Record<string, string>> = answers) {
  const asked: InterviewQuestion[] = []
  const ask = (question: InterviewQuestion) => {
    asked.push(question)
    return own[question.key] ?? (question.key.startsWith('input.') ? `text of ${question.key}` : '')
  }
  return { asked, ask }
}

/** A model that asks for each field once, and writes what it is told to. */
function scripted(more: Partial<InterviewModel> = {}): InterviewModel & { asks: string[]; runs: string[] } {
  const asks: string[] = []
  const runs: string[] = []
  return {
    asks,
    runs,
    json: (ask, schema) => {
      asks.push(ask)
      const { properties } = schema as { properties: { field?: { enum: string[] } } }
      const field = properties.field?.enum.at(-1)
      const said = ask.startsWith('Change')
        ? { instruction: 'Name the class alone: complaint, question or praise {of the mail}.' }
        : { instruction: 'Say whether the mail is a complaint, a question or praise.' }
      return Promise.resolve(JSON.stringify(field === undefined ? said : { field, question: `What of ${field}?` }))
    },
    run: text => {
      runs.push(text)
      return Promise.resolve(text.startsWith('Name') ? 'praise' : 'It is praise, I think.')
    },
    ...more,
  }
}
const call = (more: Partial<InterviewOptions> = {}) => interview({ folder, ask: person().ask, model: scripted(), ...more })

describe('interview', () => {
  test('a model that asks for each field once: six states, and a template with every placeholder', async () => {
    const model = scripted()
    const { asked, ask } = person()
    const found = await call({ model, ask })
    expect([...new Set(found.states)]).toEqual([...states])
    expect(found.states).toEqual(['engage', 'draft', 'evaluate', 'test', 'refine', 'test', 'final'])
    const brief = asked.filter(({ state }) => state === 'engage')
    expect(brief.map(({ key }) => key).sort()).toEqual(['constraints', 'examples', 'inputs', 'mustNot', 'output', 'task'])
    expect(brief.every(({ by }) => by === 'model')).toBe(true)
    expect(found.placeholders).toEqual(['mail', 'order_number'])
    expect([...compileTemplate(found.template).columns].sort()).toEqual(['mail', 'order_number'])
    expect(readFileSync(join(folder, 'template.txt'), 'utf8')).toBe(`${found.template}\n`)
    // Braces of the instruction are text.
    expect(compileTemplate(found.template).render({ mail: 'a', order_number: 'b' }, 0)).toContain('praise {of the mail}.')
    // The second round shows both answers, and refining has the note alone.
    const second = asked.find(({ key }) => key === 'verdict.2.1')!
    expect(second.shown).toMatchObject({ before: 'It is praise, I think.', now: 'praise' })
    expect(asked.find(({ key }) => key === 'verdict.1.1')!.shown).not.toHaveProperty('before')
    const change = model.asks.filter(one => one.startsWith('Change'))
    expect(change).toHaveLength(1)
    expect(change[0]).toContain('- name the class alone')
    expect(change[0]).not.toContain('text of input')
    expect(model.runs).toHaveLength(6)
    expect(model.runs[0]).toContain('Order number: text of input.1.order_number')
  })

  test('with the model off a form asks the same, and the person says what is right', async () => {
    const own = { ...answers, draft: 'say it in one word', 'right.1': 'praise', 'right.2': 'question', 'right.3': 'neither' }
    const { asked, ask } = person(own)
    const warnings: string[] = []
    const found = await call({ model: null, ask, onWarning: ({ code }) => warnings.push(code) })
    expect([...new Set(found.states)].sort()).toEqual([...states].sort())
    expect(asked.slice(0, 6).map(({ key }) => key)).toEqual(['task', 'inputs', 'output', 'constraints', 'examples', 'mustNot'])
    expect(asked.every(({ by }) => by === 'form')).toBe(true)
    expect([...compileTemplate(found.template).columns].sort()).toEqual(['mail', 'order_number'])
    expect(found.instruction).toBe(
      'Sort a mail to a shop by what it is. Answer with one of: complaint, question, praise. Keep to this: one word. Never do this: answer the mail. say it in one word.',
    )
    // What is no class is no row.
    expect(found.rows).toBe(2)
    expect(warnings).toEqual(['answers-left-out'])
  })

  test.each([
    ['answers the task', () => 'The mail is a complaint.'],
    ['says the example', () => JSON.stringify({ field: 'task', question: 'What should the answer look like?' })],
    ['answers it in the form of a question', () => JSON.stringify({ field: 'task', question: 'This mail is a complaint.' })],
    [
      'asks the same of every field',
      (schema: object) => {
        const { field } = (schema as { properties: { field?: { enum: string[] } } }).properties
        return JSON.stringify({ field: field?.enum[0], question: 'What is the task?' })
      },
    ],
    ['asks for the same again and again', () => JSON.stringify({ field: 'task', question: 'What is the task?' })],
    [
      'writes a question for an instruction',
      () => JSON.stringify({ instruction: 'What is the class of complaint, question, praise?' }),
    ],
    ['writes an instruction without the classes', () => JSON.stringify({ instruction: 'Answer the mail politely, please.' })],
  ])('a model that %s changes nothing', async (_, json) => {
    const warnings: string[] = []
    const { asked, ask } = person()
    let questions = 0
    const model = scripted({
      json: async (ask, schema) => {
        questions += Number(ask.includes('Ask one short question'))
        return json(schema)
      },
    })
    const found = await call({ model, ask, onWarning: ({ code }) => warnings.push(code) })
    // After two replies of no use it is asked no more; none is put that is the example, or was put before.
    expect(questions).toBeLessThanOrEqual(3)
    const put = asked.filter(({ state }) => state === 'engage').map(({ question }) => question)
    expect(new Set([...put, 'What should the answer look like?']).size).toBe(7)
    expect(asked.filter(({ state }) => state === 'engage').map(({ key }) => key)).toEqual([
      ...['task', 'inputs', 'output', 'constraints', 'examples', 'mustNot'],
    ])
    expect(warnings.filter(code => code === 'weak-model')).toHaveLength(1)
    expect([...new Set(found.states)]).toEqual([...states])
    const off = mkdtempSync(join(folder, 'off-'))
    const plain = await interview({ folder: off, ask: person({ ...answers, draft: 'name the class alone' }).ask, model: null })
    expect(found.instruction).toBe(plain.instruction)
  })

  test('left anywhere it goes on, and asks nothing twice', async () => {
    const whole = mkdtempSync(join(folder, 'whole-'))
    const { asked, ask } = person()
    const first = await interview({ folder: whole, ask, model: scripted() })
    const keys: string[] = []
    let found: Awaited<ReturnType<typeof interview>> | undefined
    while (found === undefined) {
      let answered = 0
      const stops = (question: InterviewQuestion) => {
        // One answer a sitting, then the terminal closes.
        if (answered++ > 0) throw new Error('closed')
        keys.push(question.key)
        return ask(question)
      }
      found = await call({ ask: stops }).catch((error: Error) => {
        if (error.message !== 'closed') throw error
        return undefined
      })
    }
    expect(keys).toEqual(asked.slice(0, asked.length / 2).map(({ key }) => key))
    expect({ ...found, folder: '', config: '', next: '' }).toEqual({ ...first, folder: '', config: '', next: '' })
    // What has ended is not asked again.
    await call({ ask: () => Promise.reject(new Error('asked')) })
  })

  test.each(['no', 'No.', 'n/a', '-'])('%j to a draft is no yes: what is to be different is asked for', async no => {
    const { asked, ask } = person({ ...answers, draft: no, 'draft.change': 'say it in one word' })
    const found = await call({ model: null, ask })
    expect(asked.map(({ key }) => key)).toContain('draft.change')
    expect(found.states).toContain('refine')
    expect(found.instruction).toMatch(/say it in one word\.$/)
    const other = mkdtempSync(join(folder, 'other-'))
    const silent = problemOf(interview({ folder: other, model: null, ask: person({ ...answers, draft: no }).ask }))
    expect((await silent).code).toBe('answer-missing')
  })

  test('a model of its own is opened once for all turns, and closed at the end', async () => {
    const model = longToyModel(folder)
    const open = vi.spyOn(GenerationEngine, 'open')
    const dispose = vi.spyOn(GenerationEngine.prototype, 'dispose')
    const answer = { ids: [], text: 'the wine', finishReason: 'length' } as unknown as Generation
    const generate = vi.spyOn(GenerationEngine.prototype, 'generate').mockResolvedValue(answer)
    await call({ model, maxNewTokens: 2, rounds: 1, threads: 1 })
    expect(generate.mock.calls.length).toBeGreaterThan(3)
    expect(open).toHaveBeenCalledTimes(1)
    expect(dispose).toHaveBeenCalledTimes(1)
    open.mockClear()
    const ask = () => {
      throw new Error('left')
    }
    await expect(call({ model, folder: mkdtempSync(join(folder, 'left-')), ask, threads: 1 })).rejects.toThrow('left')
    expect(dispose).toHaveBeenCalledTimes(2)
    vi.restoreAllMocks()
  })

  test('what there must be, and what is no state', async () => {
    expect((await problemOf(call({ ask: person({}).ask }))).code).toBe('answer-missing')
    rmSync(join(folder, 'interview.json'))
    expect((await problemOf(call({ ask: person({ ...answers, inputs: 'prompt' }).ask }))).code).toBe('answer-missing')
    expect((await problemOf(call({ ask: () => 3 as never }))).code).toBe('answer-invalid')
    writeFileSync(join(folder, 'interview.json'), '{}')
    const damaged = async (text: string) => {
      writeFileSync(join(folder, 'interview.json'), text)
      const { code, found } = await problemOf(call())
      return [code, found]
    }
    expect(await damaged('{')).toEqual(['run-corrupt', 'a text that is no JSON'])
    expect(await damaged('[]')).toEqual(['run-corrupt', 'JSON, but no object'])
    expect(await damaged('{}')).toEqual(['run-corrupt', 'nothing that can be read as "version"'])
  })
})

describe('the handover', () => {
  const configOf = async (path: string) => {
    const config = parseSearchConfig(parse(readFileSync(path, 'utf8')))
    return { config, task: await readSearchTask(config) }
  }

  test('fixed answers of one text go to ipc, with the accepted rows', async () => {
    const found = await call({ ask: person({ ...answers, inputs: 'mail' }).ask })
    const { config, task } = await configOf(found.config!)
    expect(config.search).toMatchObject({ type: 'ipc', task: answers.task, prompt: found.instruction })
    expect(task.labels!.candidates).toEqual(['complaint', 'question', 'praise'])
    expect(task.questions.map(({ answer }) => answer)).toEqual(['praise', 'praise', 'praise'])
    expect(found.next).toContain(`search --config ${found.config}`)
    // Without one accepted row there is none to begin with.
    const none = mkdtempSync(join(folder, 'none-'))
    const refused = { ...answers, inputs: 'mail', 'right.1': '' }
    const bare = await interview({ folder: none, ask: person(refused).ask, model: null })
    expect(bare.rows).toBe(0)
    expect((await configOf(bare.config!)).config.data.train).toBe('no rows')
  })

  test('anything else goes to spo, where there are rows', async () => {
    const open = { ...answers, output: 'a short reply', 'verdict.1.2': '+' }
    const found = await call({ ask: person(open).ask })
    const { config, task } = await configOf(found.config!)
    expect(config.search).toMatchObject({
      type: 'spo',
      requirements: 'The answer is a short reply. one word. It does not do this: answer the mail',
    })
    expect(task.questions).toHaveLength(3)
    const none = mkdtempSync(join(folder, 'none-'))
    const bare = await interview({ folder: none, ask: person({ ...open, inputs: 'text' }).ask, model: null })
    expect(bare.config).toBeUndefined()
    expect(bare.next).toContain('synthesize')
    expect(existsSync(join(none, 'search.yaml'))).toBe(false)
  })
})

test('somebody who is there is asked again for what there must be, and for nothing else', async () => {
  const said = ['', 'none', 'Sort a mail.', '']
  const ask = insisting(() => Promise.resolve(said.shift()!))
  expect(await ask({ state: 'engage', key: 'task', question: 'What?', by: 'form' })).toBe('Sort a mail.')
  expect(await ask({ state: 'engage', key: 'mustNot', question: 'What?', by: 'form' })).toBe('')
})

test('names of fields, and fixed answers', () => {
  expect(placeholdersOf({ inputs: 'the {mail}, Order Number; a label and größe' })).toEqual(['mail', 'order_number', 'größe'])
  expect(labelsOf({ output: 'spam | ham | spam|' })).toEqual(['spam', 'ham'])
  expect(labelsOf({ output: 'a reply' })).toEqual([])
})
