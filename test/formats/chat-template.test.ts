import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import { type ChatMessage, chatTemplateRenderer } from '../../src/formats/chat-template.js'
import { failure } from './failure.js'

const { conversations, cases } = JSON.parse(readFileSync('test/fixtures/tokenizer/chat-templates.json', 'utf8')) as {
  conversations: { messages: ChatMessage[]; add_generation_prompt?: boolean; [variable: string]: unknown }[]
  /** The text for each of the first conversations; null where Jinja refuses. */
  cases: { template: string; texts: (string | null)[] }[]
}
const user: ChatMessage[] = [{ role: 'user', content: 'hi' }]
const render = (source: string, messages = user) => chatTemplateRenderer(source, {})(messages)

describe('templates', () => {
  beforeAll(() => {
    vi.useFakeTimers({ now: new Date(2024, 2, 5, 7, 8, 9), toFake: ['Date'] })
  })
  afterAll(() => {
    vi.useRealTimers()
  })

  test('render as in transformers, or are refused', () => {
    const differing: unknown[] = []
    const unsupported: string[] = []
    for (const { template, texts } of cases) {
      const renderer = chatTemplateRenderer(template, { bos_token: '<s>', eos_token: '</s>' })
      texts.forEach((expected, i) => {
        const { messages, add_generation_prompt: addGenerationPrompt = false, ...variables } = conversations[i]!
        let found: string | null
        try {
          found = renderer(messages, { addGenerationPrompt, ...variables })
        } catch (error) {
          if (!(error instanceof GradpromptError)) throw error
          if (error.code === 'unsupported-chat-template' && expected !== null) {
            if (i === 0) unsupported.push(template)
            return
          }
          found = null
        }
        if (found !== expected) differing.push({ template, i, expected, found })
      })
    }
    expect(differing).toEqual([])
    // What Jinja has and this engine has not is said, not written otherwise.
    expect(unsupported.map(template => /with|block|slice|xmlattr/.exec(template)?.[0])).toEqual([
      'with',
      'block',
      'slice',
      'xmlattr',
    ])
  })
})

describe('a template', () => {
  test.each([
    ['{{ 1 | xmlattr }}', 'filter "xmlattr"'],
    ['{{ lipsum() }}', 'function "lipsum"'],
    ['{{ 1 is escaped }}', 'test "escaped"'],
    ['{% include "x" %}', 'statement "include"'],
    ["{{ strftime_now('%Q') }}", 'strftime'],
  ])('%s says what the engine lacks', async (template, what) => {
    const error = await failure(() => render(template))
    expect([error.code, error.message]).toEqual(['unsupported-chat-template', expect.stringContaining(what)])
  })

  const doubling = (start: string, step: string, times: number) =>
    `{% set x = ${start} %}${`{% set x = ${step} %}`.repeat(times)}{{ x | tojson }}`
  test.each([
    ['{% for i in range(1000000000) %}{% endfor %}'],
    ['{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}'],
    ['{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
    [doubling("'ab'", 'x ~ x', 60)],
    [doubling('[1]', '[x, x]', 60)],
    [doubling('[1]', 'x + x', 60)],
    [doubling('{}', "{'a': x, 'b': x}", 60)],
    ["{{ 'a' * 1000000000 }}"],
    ['{{ [1] * 1000000000 }}'],
    ["{{ '%1000000000d' % 1 }}"],
    ["{{ 'a' | center(1000000000) }}"],
    ["{{ '{:>1000000000}'.format(1) }}"],
    ["{{ 'a\\n' | indent(1000000000) }}"],
    ["{{ strftime_now('%Y' * 1000000) }}"],
    ["{{ {'a': 1} | tojson(indent=1000000000) }}"],
    ["{{ range(99999) | join('a' * 9999) }}"],
    ["{{ ('a' * 99999) | replace('a', 'b' * 9999) }}"],
    ["{{ [1] | batch(1000000000, 'x') | list }}"],
    ['{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}'],
    [`{{ ${'('.repeat(20_000)}1${')'.repeat(20_000)} }}`],
    ['{% if 1 %}'.repeat(20_000) + '{% endif %}'.repeat(20_000)],
  ])('that has no end, or makes too much, ends within two seconds and is refused (%#)', async template => {
    const before = process.memoryUsage().rss
    const start = process.cpuUsage()
    expect((await failure(() => render(template))).code).toMatch(
      /^(chat-template-limit|chat-template-failed|invalid-chat-template)$/,
    )
    const { user: own, system } = process.cpuUsage(start)
    expect((own + system) / 1000).toBeLessThan(2000)
    expect(process.memoryUsage().rss - before).toBeLessThan(4e8)
  })

  test('reads a long conversation', () => {
    const messages = Array.from({ length: 2000 }, (_, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: 'word '.repeat(400),
    }))
    const template =
      "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim + '<|im_end|>' + '\\n' }}{% endfor %}"
    expect(render(template, messages).length).toBeGreaterThan(4_000_000)
  })

  test('costs little', () => {
    const renderer = chatTemplateRenderer(cases.find(({ template }) => template.includes('roles must alternate'))!.template, {})
    renderer(user)
    const start = process.cpuUsage()
    for (let i = 0; i < 200; i++) renderer(user)
    expect(process.cpuUsage(start).user / 1000 / 200).toBeLessThan(2)
  })
})
