import { isRecord } from '../../json.js'
import { anObject, type Calls, type Complaint, inWords, type Look } from '../../own-calls.js'
import type { SearchContext } from '../moves/method.js'

/** What the functions of a search have to give back, for searches of people's own: looked at whenever one is called. */

const outcome = '{ state, prompt: token ids, objective: a number, candidates: what was scored }, as moveAmong makes it'

const step: Look = (given, args) => {
  if (!isRecord(given)) return { found: inWords(given), expected: outcome }
  const { vocabSize } = (args as readonly unknown[] as readonly [unknown, unknown, SearchContext])[2].embedding
  const { state, prompt, objective, candidates } = given
  const wrong = (member: string, value: unknown): Complaint => ({ found: `${member}: ${inWords(value)}`, expected: outcome })
  const badId = (ids: unknown, member: string): Complaint | undefined => {
    if (!Array.isArray(ids)) return wrong(member, ids)
    const bad = ids.find(id => !(Number.isInteger(id) && id >= 0 && id < vocabSize))
    return bad === undefined
      ? undefined
      : { found: `${member}: ${String(bad)} among its ids`, expected: `ids below ${vocabSize}` }
  }
  if (!isRecord(state)) return wrong('state', state)
  if (typeof objective !== 'number') return wrong('objective', objective)
  if (!Array.isArray(candidates)) return wrong('candidates', candidates)
  for (const [i, candidate] of candidates.entries()) {
    const member = `candidates[${i}]`
    if (!isRecord(candidate)) return wrong(member, candidate)
    if (typeof candidate.loss !== 'number') return wrong(`${member}.loss`, candidate.loss)
    const complaint = badId(candidate.ids, `${member}.ids`)
    if (complaint !== undefined) return complaint
  }
  return badId(prompt, 'prompt')
}

export const searchCalls: Calls = {
  later: ['start', 'step', 'choose'],
  looks: {
    start: anObject('an object: what the search keeps between steps'),
    step,
    choose: anObject('{ ids }: the prompt that is the result'),
    defaults: anObject('an object of options'),
    needs: anObject('an object: what is opened before the first step'),
    objective: anObject('an object'),
    forecast: anObject('{ answers, written }'),
  },
}
