import { GradpromptError } from '../../errors.js'

/**
 * What has to hold of the options of a trial, as a line of a config: `train.batchSize * train.accumulate <= 64`. A small language of its
 * own, since a config from elsewhere must not run code: numbers, texts in quotes, options by their dotted names, + - * /, comparisons,
 * and, or, not, parentheses.
 */

export interface Constraint {
  readonly text: string
  /** The options that it names. */
  readonly names: readonly string[]
  /** What names an option that a trial does not have holds. */
  holds(given: (name: string) => unknown): boolean
}

type Operand = number | string | boolean | undefined
type Expression = (given: (name: string) => unknown) => Operand

const longest = 1000
const deepest = 50
const token =
  /\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|"([^"]*)"|'([^']*)'|([A-Za-z_][\w-]*(?:\.[\w-]+)*)|(<=|>=|==|!=|[-+*/()<>]))/y

interface Token {
  readonly kind: 'number' | 'text' | 'name' | 'sign' | 'end'
  readonly text: string
}

/** @throws GradpromptError `invalid-constraint` */
export function parseConstraint(text: string): Constraint {
  const invalid = (message: string, found: string) =>
    new GradpromptError('invalid-constraint', `the constraint "${text.slice(0, 80)}" ${message}`, {
      found,
      expected: 'such as "train.batchSize * train.accumulate <= 64" or "method.type == \'dept\' or train.steps < 100"',
    })
  if (text.length > longest) throw invalid('is too long', `${text.length} characters`)
  const tokens = tokensOf(text, rest => invalid('cannot be read', rest))
  const names = new Set<string>()
  let at = 0
  let depth = 0
  const peek = () => tokens[at]!
  const isWord = (...words: readonly string[]) =>
    (peek().kind === 'sign' || peek().kind === 'name') && words.includes(peek().text)
  const take = () => tokens[at++]!

  const either = (inner: () => Expression, word: string, combine: (a: Operand, b: Operand) => Operand): Expression => {
    let left = inner()
    while (isWord(word)) {
      take()
      const [before, right] = [left, inner()]
      left = given => combine(before(given), right(given))
    }
    return left
  }
  // What is unknown decides nothing: `unknown or true` is true, `unknown and false` is false.
  const disjunction = (): Expression =>
    either(conjunction, 'or', (a, b) =>
      a === true || b === true ? true : a === undefined || b === undefined ? undefined : false,
    )
  const conjunction = (): Expression =>
    either(negation, 'and', (a, b) =>
      a === false || b === false ? false : a === undefined || b === undefined ? undefined : true,
    )
  const negation = (): Expression => {
    if (!isWord('not')) return comparison()
    take()
    const inner = deeper(negation)
    return given => {
      const value = inner(given)
      return value === undefined ? undefined : value !== true
    }
  }
  const comparison = (): Expression => {
    const left = sum()
    if (!isWord('<', '<=', '>', '>=', '==', '!=')) return left
    const sign = take().text
    const right = sum()
    return given => compare(sign, left(given), right(given))
  }
  const sum = (): Expression => arithmetic(product, ['+', '-'])
  const product = (): Expression => arithmetic(unary, ['*', '/'])
  const arithmetic = (inner: () => Expression, signs: readonly string[]): Expression => {
    let left = inner()
    while (peek().kind === 'sign' && signs.includes(peek().text)) {
      const sign = take().text
      const [before, right] = [left, inner()]
      left = given => {
        const [a, b] = [before(given), right(given)]
        if (typeof a !== 'number' || typeof b !== 'number') return undefined
        return sign === '+' ? a + b : sign === '-' ? a - b : sign === '*' ? a * b : a / b
      }
    }
    return left
  }
  const unary = (): Expression => {
    if (!isWord('-')) return operand()
    take()
    const inner = deeper(unary)
    return given => {
      const value = inner(given)
      return typeof value === 'number' ? -value : undefined
    }
  }
  const operand = (): Expression => {
    const { kind, text: word } = take()
    if (kind === 'number') return () => Number(word)
    if (kind === 'text') return () => word
    if (kind === 'name') {
      if (word === 'true' || word === 'false') return () => word === 'true'
      if (['and', 'or', 'not'].includes(word)) throw invalid('lacks something', `${word} where an option or a number belongs`)
      names.add(word)
      return given => plain(given(word))
    }
    if (kind === 'sign' && word === '(') {
      const inner = deeper(disjunction)
      if (!isWord(')')) throw invalid('has a parenthesis that is not closed', peek().text || 'the end')
      take()
      return inner
    }
    throw invalid('lacks something', word === '' ? 'its end' : word)
  }
  const deeper = (inner: () => Expression): Expression => {
    if (++depth > deepest) throw invalid('is too deep', `more than ${deepest} levels`)
    const made = inner()
    depth--
    return made
  }

  const expression = disjunction()
  if (peek().kind !== 'end') throw invalid('goes on where it should end', peek().text)
  if (names.size === 0) throw invalid('names no option', text)
  return { text, names: [...names], holds: given => expression(given) !== false }
}

function tokensOf(text: string, invalid: (rest: string) => GradpromptError): Token[] {
  const tokens: Token[] = []
  token.lastIndex = 0
  while (token.lastIndex < text.length) {
    const from = token.lastIndex
    if (text.slice(from).trim() === '') break
    const found = token.exec(text)
    if (found === null) throw invalid(text.slice(from, from + 20))
    const [, number, double, single, name, sign] = found
    if (number !== undefined) tokens.push({ kind: 'number', text: number })
    else if (double !== undefined || single !== undefined) tokens.push({ kind: 'text', text: (double ?? single)! })
    else if (name !== undefined) tokens.push({ kind: 'name', text: name })
    else tokens.push({ kind: 'sign', text: sign! })
  }
  return [...tokens, { kind: 'end', text: '' }]
}

const plain = (value: unknown): Operand =>
  typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean' ? value : undefined

function compare(sign: string, a: Operand, b: Operand): Operand {
  if (a === undefined || b === undefined) return undefined
  if (sign === '==') return a === b
  if (sign === '!=') return a !== b
  if (typeof a !== 'number' || typeof b !== 'number') return undefined
  return sign === '<' ? a < b : sign === '<=' ? a <= b : sign === '>' ? a > b : a >= b
}
