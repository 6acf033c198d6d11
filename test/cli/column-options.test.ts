import { describe, expect, test } from 'vitest'
import { namesOf, readColumns, readLabels, readValues } from '../../src/cli/show/column-options.js'
import { command } from './command.js'

const problem = expect.objectContaining({ code: 'invalid-option', hint: expect.stringContaining('JSON object') })

describe('labels and columns of the command line', () => {
  test('are pairs, or a JSON object in which names and values stand as they are', () => {
    expect(readLabels(' 0 = negative, 1=a=b')).toEqual({ 0: 'negative', 1: 'a=b' })
    expect(readLabels('{"no ": "no, never", "no": "no"}')).toEqual({ 'no ': 'no, never', no: 'no' })
    expect(readColumns('text=review')).toEqual({ text: 'review' })
    expect(readColumns('{"text": "the review, in full"}')).toEqual({ text: 'the review, in full' })
    expect(readColumns('text, label')).toEqual(['text', 'label'])
    expect(readColumns('["text, long", "x=y"]')).toEqual(['text, long', 'x=y'])
    expect(readColumns('[a],b')).toEqual(['[a]', 'b'])
    expect(() => namesOf('["a", 1]', 'keep')).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    expect(readValues(['text=a=b', '{"label": 1}'])).toEqual({ text: 'a=b', label: 1 })
  })

  test('none is lost because it is named twice', () => {
    for (const text of ['0=no,0=yes', 'no =a,no=b']) expect(() => readLabels(text)).toThrow(problem)
    expect(() => readColumns('text=review,text=body')).toThrow(problem)
    expect(() => readValues(['text=a', 'text=b'])).toThrow(problem)
    for (const text of ['no', '{"0": 1}', '{"0": ["a", "b"]}']) expect(() => readLabels(text)).toThrow(problem)
  })

  test('a TEXT of - is no text from standard input, and is not answered', async () => {
    const { code, stderr } = await command(['generate', '--model', 'test/fixtures/models/llama-gqa', '-'], { input: 'a text\n' })
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('--input - --output FILE') })
  })
})
