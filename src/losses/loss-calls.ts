import { isRecord } from '../json.js'
import { anObject, type Calls, type Complaint, inWords, type Look } from '../own-calls.js'

/** What the functions of a loss have to give back, for losses of people's own. What `compute` gives is looked at wherever losses are added up. */

const inputs: Look = given => {
  const expected = "an object: by name { shape: numbers, or names of dimensions, dtype: 'float32', 'int32' or 'bool' }"
  if (!isRecord(given)) return { found: inWords(given), expected }
  const wrong = (name: string, found: string): Complaint => ({ found: `${name}: ${found}`, expected })
  for (const [name, spec] of Object.entries(given)) {
    if (!isRecord(spec)) return wrong(name, inWords(spec))
    if (!Array.isArray(spec.shape)) return wrong(`${name}.shape`, inWords(spec.shape))
    if (typeof spec.dtype !== 'string') return wrong(`${name}.dtype`, inWords(spec.dtype))
  }
  return undefined
}

const answers: Look = given =>
  Array.isArray(given) && given.length > 0 && given.every(answer => typeof answer === 'string')
    ? undefined
    : { found: inWords(given), expected: 'a list of texts, at least one' }

const data: Look = given =>
  typeof given === 'function'
    ? undefined
    : { found: inWords(given), expected: 'a function of rows that gives back, or promises, what these bring' }

export const lossCalls: Calls = {
  traced: ['compute'],
  looks: { inputs, answers, data, feed: anObject('an object: values by the names of its inputs') },
}
