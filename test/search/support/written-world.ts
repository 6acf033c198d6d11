import { randomGenerator } from '../../../src/random.js'
import type { SearchContext, SearchMethod } from '../../../src/search/moves/method.js'
import type { Ask, CaseBook } from '../../../src/search/moves/writer.js'
import type { Candidate } from '../../../src/search/space/candidates.js'

/** What a search by whole texts works with, without a model: a token is a character, and scripts say what texts score and critics reply. */
export interface WrittenWorld {
  readonly start: string
  readonly rows?: number
  /** Whether the model is right on a question. */
  readonly right: (text: string, question: number) => boolean
  /** Negative log-likelihood of the right answer; by default 1 where it is wrong. */
  readonly cost?: (text: string, question: number) => number
  readonly reply?: (ask: Ask, index: number) => string
  readonly prefer?: (ask: Ask) => number
  /** Of a world whose questions come up: which label a judge says of a text. Texts of a batch are its own. */
  readonly choose?: (ask: Ask) => string | undefined
  readonly labels?: readonly string[]
  readonly seed?: number
  readonly steps?: number
}

const idsOf = (text: string) => Array.from(text, character => character.codePointAt(0)!)
const textOf = (ids: readonly number[]) => String.fromCodePoint(...ids)

export function writtenWorld({
  start,
  rows = 8,
  right,
  cost,
  reply = () => '',
  prefer = () => 0,
  choose,
  labels = ['yes', 'no'],
  seed = 1,
  steps = 10,
}: WrittenWorld) {
  const asked: Ask[] = []
  const judged: Ask[] = []
  /** Questions answered, prompt by prompt. */
  const answered: [text: string, question: number][] = []
  const questions = Array.from({ length: rows }, (_, index) => ({ index }))
  const made: { text: string; label: string; batch: number }[] = []
  const cases: CaseBook = {
    texts: () => Promise.resolve(made.map(({ text }) => text)),
    async keep(batch, write) {
      const written = await write()
      made.push(...written.map(({ text }) => ({ text, label: '', batch })))
      return written.length
    },
    async settle(batch, label) {
      const own = made.filter(one => one.batch === batch)
      const said = await label!(own.map(({ text }) => text))
      for (const [i, one] of own.entries()) one.label = said[i] ?? '-'
      const kept = own.filter(one => one.label !== '-')
      for (const _ of kept) questions.push({ index: questions.length })
      return { added: kept.length, left: own.length - kept.length }
    },
  }
  const costOf = cost ?? ((text: string, q: number) => Number(!right(text, q)))
  const contextAt = (step: number) =>
    ({
      space: {
        ...{ start: idsOf(start), startText: start, free: [...idsOf(start).keys()] },
        wordingOf: textOf,
        text: textOf,
        rewritten: idsOf,
      },
      ...{ questions, rows: questions, isBatched: false, seed, step, steps, maxLength: 4000 },
      objective: {
        options: { measure: 'mistakes', labels: { candidates: labels } },
        isReasoned: false,
        answers: (ids: readonly number[], own: readonly { index: number }[]) =>
          Promise.resolve(own.map(({ index }) => ({ isRight: right(textOf(ids), index), word: `${textOf(ids)}#${index}` }))),
      },
      random: (...stream: number[]) => randomGenerator(seed, step, ...stream),
      mayHold: () => true,
      readsBack: () => true,
      exampleOf: ({ index }: { index: number }) => {
        const own = made.filter(({ label }) => label !== '-')[index - rows]
        return own === undefined
          ? { input: `question ${index}`, output: `answer ${index}` }
          : { input: own.text, output: own.label }
      },
      cases,
      demoOf: ({ index }: { index: number }) => `Q${index} A${index}`,
      writer: {
        write: (asks: readonly Ask[]) => {
          const first = asked.length
          asked.push(...asks)
          return Promise.resolve(asks.map((ask, i) => reply(ask, first + i)))
        },
      },
      judge: {
        prefer: (asks: readonly Ask[]) => {
          judged.push(...asks)
          return Promise.resolve(asks.map(prefer))
        },
        choose: (asks: readonly Ask[]) => {
          judged.push(...asks)
          return Promise.resolve(asks.map(ask => choose?.(ask)))
        },
      },
      score: (candidates: readonly Candidate[], own: readonly { index: number }[] = questions) =>
        Promise.resolve(
          candidates.map(candidate => {
            const text = textOf(candidate.ids)
            answered.push(...own.map(({ index }) => [text, index] as [string, number]))
            const rowLosses = own.map(({ index }) => Number(!right(text, index)))
            const loss = rowLosses.reduce((sum, x) => sum + x, 0) / own.length
            return {
              ...candidate,
              loss,
              rowLosses,
              rowCosts: own.map(({ index }) => costOf(text, index)),
              exact: false,
              exactRows: 0,
            }
          }),
        ),
    }) as unknown as SearchContext
  /** Steps of a method; its state goes through JSON, as a checkpoint's does. */
  async function run<Options extends { readonly type: string }, State>(
    method: SearchMethod<Options, State>,
    options: Options,
    count = steps,
  ) {
    let state: State = await method.start(options, contextAt(0))
    const outcomes = []
    for (let step = 0; step < count; step++) {
      const outcome = await method.step(state, options, contextAt(step))
      outcomes.push(outcome)
      state = JSON.parse(JSON.stringify(outcome.state)) as State
      if (outcome.done) break
    }
    return { outcomes, best: textOf(outcomes.at(-1)!.prompt), state }
  }
  return { run, asked, judged, answered, made, contextAt, textOf }
}
