import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { scoreGeneration } from '../../src/evaluate/generations.js'
import { bbhTasks, type GenerationTask, presets, promptTemplate } from '../../src/evaluate/tasks/index.js'

interface Expected {
  readonly description: string
  readonly template: string
  readonly stop: string[]
  readonly shots: number
  readonly maxNewTokens: number
  readonly cases: readonly {
    readonly row: Record<string, string>
    readonly text: string
    readonly values: Record<string, string>
    readonly scores: Record<string, number>
  }[]
}

const harness = JSON.parse(readFileSync('test/fixtures/evaluate/harness.json', 'utf8')) as {
  version: string
  presets: Record<keyof typeof presets, Record<string, Expected>>
}

const taskOf = (name: keyof typeof presets, task: string): GenerationTask => {
  const preset = presets[name]
  return typeof preset === 'function' ? preset(task) : preset
}

describe.each(Object.keys(presets) as (keyof typeof presets)[])('%s', name => {
  const tasks = Object.entries(harness.presets[name])

  test('prompts, stop strings and budgets are the same', () => {
    for (const [task, expected] of tasks) {
      const preset = taskOf(name, task)
      expect(preset.conventions).toBe(`lm-evaluation-harness ${harness.version}`)
      const question = expected.template.replace('{{input}}', '{question}').replace('{{question}}', '{question}')
      expect(promptTemplate(preset)).toBe(expected.description + question)
      expect({ stop: preset.stop, shots: preset.shots }).toEqual({ stop: expected.stop, shots: expected.shots })
      expect(preset.maxNewTokens).toBe(expected.maxNewTokens)
    }
    if (name.startsWith('bbh')) expect(tasks.map(([task]) => task).sort()).toEqual(bbhTasks)
  })

  test('every answer is read and scored the same', async () => {
    let scored = 0
    for (const [task, { cases }] of tasks)
      for (const { row, text, values, scores } of cases) {
        const [question, answer] = [row.question ?? row.input!, (row.answer ?? row.target)!.replace(/^[\s\S]*#### /, '')]
        const record = { question, answer: name.startsWith('gsm8k') ? answer.replaceAll(',', '') : answer }
        const result = await scoreGeneration(taskOf(name, task), { record, index: 0, text })
        expect({ task, text, scores: result.scores }).toEqual({ task, text, scores: expect.objectContaining(scores) })
        const flexible = values['flexible-extract']
        // An empty answer is none here.
        const found = flexible === '[invalid]' || flexible === '' ? undefined : flexible
        if (flexible !== undefined) expect([task, text, result.extracted]).toEqual([task, text, found])
        scored++
      }
    expect(scored).toBeGreaterThan(15)
  })
})
