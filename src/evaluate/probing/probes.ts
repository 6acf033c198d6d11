import { randomGenerator, shuffle, streams } from '../../random.js'
import { type DisguiseName, disguises } from './disguises.js'

/**
 * Small tasks that a model does from two examples: whether it still does under a prompt says what the prompt made it forget. Each
 * text is asked about plainly, in another template, and disguised.
 */

/** How an example and a question stand. */
const templates = {
  plain: { input: 'Input', output: 'Output' },
  other: { input: 'Q', output: 'A' },
} as const

/** What is asked of a text, and what is right. */
const tasks = [
  { instruction: 'Repeat the input.', right: (text: string) => text },
  { instruction: 'Write the last word of the input.', right: (text: string) => text.split(' ').at(-1)! },
] as const

/** The ways of asking: a disguise, or another template. */
export const forms = ['plain', 'other-template', 'leetspeak', 'pig-latin'] as const
export type ProbeForm = (typeof forms)[number]

export interface Probe {
  readonly form: ProbeForm
  readonly text: string
  /** What the answer has to begin with, spaces before it aside. */
  readonly right: string
}

/** Made sentences, of which no two are alike: what they say nobody has to know. */
const subjects = [
  'The gardener',
  'My neighbour',
  'A young doctor',
  'The old sailor',
  'Our teacher',
  'The baker',
  'A tall woman',
  'His brother',
]
const verbs = ['carries', 'paints', 'sells', 'repairs', 'finds']
const objects = ['a wooden chair', 'the green bicycle', 'two small boxes', 'an empty bottle', 'the broken lamp', 'a heavy book']

export function madeSentences(count: number, seed: number): string[] {
  const all = subjects.flatMap(subject => verbs.flatMap(verb => objects.map(object => `${subject} ${verb} ${object}`)))
  return shuffle(all, seed, streams.probe).slice(0, count)
}

/** Of a text its first words, on one line, without what a template would end at. */
const shortened = (text: string) => text.replace(/\s+/g, ' ').trim().split(' ').slice(0, 12).join(' ')

/** @param texts what is asked about: at least three; each is asked about once in each form, with two others as examples */
export function probesOf(texts: readonly string[], seed: number): Probe[] {
  const all = texts.map(shortened)
  const random = randomGenerator(seed, streams.probe, 1)
  const draw = (below: number) => Math.floor(((random.next() >>> 0) / 0x1_0000_0000) * below)
  return all.flatMap((text, i) => {
    const { instruction, right } = tasks[i % tasks.length]!
    const others = all.filter((other, j) => j !== i && other !== text)
    const first = draw(others.length)
    const examples = [others[first]!, others[(first + 1 + draw(others.length - 1)) % others.length]!]
    return forms.map((form): Probe => {
      const { write } = disguises[(form === 'other-template' ? 'plain' : form) satisfies DisguiseName]
      const { input, output } = templates[form === 'other-template' ? 'other' : 'plain']
      const shown = examples.map(example => `${input}: ${example}\n${output}: ${right(example)}\n`)
      const asked = [`${instruction}\n`, ...shown, `${input}: ${text}\n${output}:`].join('\n')
      // Of a repeated text its first word is enough, and no model has to hold out longer.
      return { form, text: write(asked), right: write(right(text).split(' ')[0]!) }
    })
  })
}

/** Whether an answer begins with what is right, and goes no further within the word. */
export function isRight(answer: string, right: string): boolean {
  const said = answer.trimStart()
  return said.startsWith(right) && !/^[\p{L}\p{N}]/u.test(said.slice(right.length))
}
