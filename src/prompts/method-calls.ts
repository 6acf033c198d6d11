import { nearest } from '../errors.js'
import { isRecord } from '../json.js'
import { elementCount } from '../numbers.js'
import { anObject, type Calls, type Complaint, inWords, type Look, textOrNothing } from '../own-calls.js'
import type { PromptMethod, PromptParameter } from './method.js'
import { softParameter } from './soft-rows.js'

/** What the functions of a soft-prompt method have to give back, for methods of people's own: looked at whenever one is called. */

const placementShape = "{ numVirtualTokens: a number from 0, position: 'before-bos' or 'after-bos' }"

const placement: Look = given => {
  if (!isRecord(given)) return { found: inWords(given), expected: placementShape }
  const { numVirtualTokens, position, as = 'rows', insertionLayer = 0 } = given
  const wrong = (member: string, expected: string): Complaint => ({ found: `${member}: ${inWords(given[member])}`, expected })
  if (!isCount(numVirtualTokens)) return wrong('numVirtualTokens', 'a whole number from 0')
  if (position !== 'before-bos' && position !== 'after-bos') return wrong('position', 'before-bos or after-bos')
  if (as !== 'rows' && as !== 'keys') return wrong('as', 'rows or keys')
  return isCount(insertionLayer) ? undefined : wrong('insertionLayer', 'the number of a layer, from 0')
}

const parameterShape = '{ name: a text, shape: a list of whole numbers from 1 }'

const parameters: Look = given => {
  if (!Array.isArray(given)) return { found: inWords(given), expected: `a list of ${parameterShape}` }
  const names = new Set<string>()
  for (const [i, parameter] of given.entries()) {
    const wrong = (found: string, expected = parameterShape): Complaint => ({ found: `${found} at place ${i}`, expected })
    if (!isRecord(parameter)) return wrong(inWords(parameter))
    const { name, shape, learningRate } = parameter
    if (typeof name !== 'string' || name === '') return wrong(`name: ${inWords(name)}`)
    if (name === softParameter) return wrong(`name: ${name}`, 'another name: that of the rows of soft tokens is taken')
    if (names.has(name)) return wrong(`name: ${name}, once more`, 'names that differ')
    names.add(name)
    if (!Array.isArray(shape)) return wrong(`shape: ${inWords(shape)}`)
    if (!shape.every(size => isCount(size) && size > 0)) return wrong(`shape: [${shape.join(', ')}]`)
    if (learningRate !== undefined && !(typeof learningRate === 'number' && learningRate > 0))
      return wrong(`learningRate: ${inWords(learningRate)}`, 'a number above 0')
  }
  return undefined
}

const initialise: Look = (given, args, entry) => {
  const [config, { model }] = args as unknown as Parameters<PromptMethod['initialise']>
  const wanted = (entry as unknown as PromptMethod).parameters(config, model)
  const expected = `a Map of ${wanted.map(({ name, shape }) => `${name}: a Float32Array of ${elementCount(shape)}`).join(', ')}`
  if (!(given instanceof Map)) return { found: inWords(given), expected }
  for (const parameter of wanted) {
    const complaint = valuesOf(given, parameter)
    if (complaint !== undefined) return { expected, ...complaint }
  }
  const further = [...given.keys()].find(name => wanted.every(parameter => parameter.name !== name))
  return further === undefined ? undefined : { found: `${inWords(further)}, which is none of its parameters`, expected }
}

function valuesOf(
  given: ReadonlyMap<unknown, unknown>,
  { name, shape }: PromptParameter,
): { found: string; hint?: string } | undefined {
  const values = given.get(name)
  if (values === undefined) {
    const near = nearest(name, [...given.keys()].map(String))
    return { found: `nothing for ${name}`, ...(near !== undefined && { hint: `did you mean ${name} by ${near}?` }) }
  }
  if (!(values instanceof Float32Array) || values.length !== elementCount(shape)) return { found: `${name}: ${inWords(values)}` }
  const place = values.findIndex(value => !Number.isFinite(value))
  return place === -1
    ? undefined
    : { found: `${name}: ${values[place]} at place ${place}`, hint: 'every number has to be finite' }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

export const methodCalls: Calls = {
  later: ['initialise'],
  traced: ['inputRows', 'sequenceRows', 'offset', 'layerRows', 'prefix', 'attention', 'layerOutput', 'penalty'],
  looks: {
    placement,
    parameters,
    initialise,
    check: textOrNothing,
    resolve: anObject('the options'),
    whileLearning: anObject('the options'),
  },
}
