import { GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import { GrammarCursor } from './grammar-cursor.js'
import { checkRegex, compilable } from './regex.js'
import { checkSchema } from './schema-check.js'
import { TokenMask } from './token-mask.js'
import { type CompiledGrammar, type GrammarCompiler, type GrammarMatcher, XGrammarInstance } from './xgrammar.js'

/** Answers that are limited to a regular expression or a JSON Schema. */

/** What an answer must be as a whole: text that a regular expression matches, or JSON that a schema holds for. */
export type AnswerGrammar = { readonly regex: string } | { readonly jsonSchema: unknown }

/** The same in what stands before and behind it. */
export type WrittenGrammar = AnswerGrammar & { readonly before?: string; readonly after?: string }

/** Grammars that are kept compiled, at most. */
const kept = 64
/** Grammars that one instance of the library compiles, which frees none of them: then a new one takes its place. */
const perInstance = 256
/** Characters of a schema or a regular expression, at most. */
const longest = 65_536

/** @throws GradpromptError `invalid-regex`, `invalid-schema`, `unsupported-schema` */
export function checkGrammar(grammar: AnswerGrammar): void {
  if ('regex' in grammar) checkRegex(grammar.regex, 'the regular expression')
  else checkSchema(grammar.jsonSchema)
  const { length } = textOf(grammar)
  if (length <= longest) return
  throw new GradpromptError(
    'regex' in grammar ? 'unsupported-regex' : 'unsupported-schema',
    'this is too long to limit answers to',
    {
      found: `${length} characters`,
      expected: `${longest} at most`,
    },
  )
}

const textOf = (grammar: AnswerGrammar) => ('regex' in grammar ? grammar.regex : JSON.stringify(grammar.jsonSchema))

interface Compiled {
  readonly instance: XGrammarInstance
  readonly grammar: CompiledGrammar
  /** Matchers that nobody uses, by the tokens that end an answer. */
  readonly idle: Map<string, GrammarMatcher[]>
}

/** The grammars of one vocabulary. Each is compiled once, and its matchers are used again. */
export class Grammars {
  readonly #tokenizer: Tokenizer
  readonly #vocabSize: number
  readonly #compiled = new Map<string, Promise<Compiled>>()
  #opened: Promise<{ readonly instance: XGrammarInstance; readonly compiler: GrammarCompiler }> | undefined
  /** How many the open instance has compiled. */
  #count = 0
  #lineTokens: TokenMask | undefined

  constructor(tokenizer: Tokenizer, vocabSize: number) {
    this.#tokenizer = tokenizer
    this.#vocabSize = vocabSize
  }

  /**
   * A way through what a grammar describes, which is to be disposed of.
   * @param endTokenIds tokens that end an answer; without any it ends as soon as it may
   * @throws GradpromptError `invalid-regex`, `unsupported-regex`, `invalid-schema`, `unsupported-schema`
   */
  async cursor(
    grammar: WrittenGrammar,
    endTokenIds: readonly number[],
  ): Promise<{ readonly cursor: GrammarCursor } & Disposable> {
    const compiled = await this.#compile(grammar)
    const key = endTokenIds.join(' ')
    const idle = compiled.idle.get(key) ?? []
    compiled.idle.set(key, idle)
    const ends = endTokenIds.length > 0 ? [...endTokenIds] : undefined
    const matcher =
      idle.pop() ??
      (await compiled.instance.exports.GrammarMatcher.createGrammarMatcher(compiled.grammar, ends, ends === undefined))
    const isJson = 'jsonSchema' in grammar
    const { before = '', after = '' } = grammar
    const within = isJson ? this.#ofOneLine(endTokenIds) : undefined
    return {
      cursor: new GrammarCursor({ matcher, tokenizer: this.#tokenizer, endTokenIds, before, after, within }),
      [Symbol.dispose]: () => {
        matcher.reset()
        idle.push(matcher)
      },
    }
  }

  #compile(grammar: WrittenGrammar): Promise<Compiled> {
    const key = JSON.stringify(grammar)
    const known = this.#compiled.get(key)
    if (known !== undefined) {
      // The latest stand last.
      this.#compiled.delete(key)
      this.#compiled.set(key, known)
      return known
    }
    const compiling = this.#compileAnew(grammar)
    this.#compiled.set(key, compiling)
    compiling.catch(() => this.#compiled.delete(key))
    // What is under way holds on to its own.
    if (this.#compiled.size > kept) this.#compiled.delete(this.#compiled.keys().next().value!)
    return compiling
  }

  async #compileAnew(grammar: WrittenGrammar): Promise<Compiled> {
    checkGrammar(grammar)
    if (this.#opened === undefined || this.#count >= perInstance) {
      this.#opened = this.#open()
      this.#count = 0
    }
    this.#count++
    const { instance, compiler } = await this.#opened
    const tag = JSON.stringify({ type: 'structural_tag', format: formatOf(grammar) })
    const isPlain = 'jsonSchema' in grammar && (grammar.before ?? '') === '' && (grammar.after ?? '') === ''
    const outcome = await instance.attempt(() =>
      // One line, in the usual spaces: a small model goes on with blanks for ever where it may.
      isPlain ? compiler.compileJSONSchema(textOf(grammar), false, -1) : compiler.compileStructuralTag(tag),
    )
    if ('result' in outcome) return { instance, grammar: outcome.result, idle: new Map() }
    this.#opened = undefined
    const isRegex = 'regex' in grammar
    throw new GradpromptError(isRegex ? 'unsupported-regex' : 'unsupported-schema', 'answers cannot be limited to this', {
      found: `${textOf(grammar).slice(0, 120)}: ${outcome.failure}`,
      expected: isRegex ? 'a regular expression without look-around, word boundaries and references back' : 'a JSON Schema',
    })
  }

  async #open() {
    const instance = new XGrammarInstance()
    const { TokenizerInfo, GrammarCompiler } = instance.exports
    const { specialTokenIds } = this.#tokenizer
    // A token without bytes is never allowed: special ones stand for no text.
    const bytes = Array.from({ length: this.#vocabSize }, (_, id) =>
      specialTokenIds.has(id) ? '' : this.#tokenizer.tokenBytes(id),
    )
    const info = await TokenizerInfo.createTokenizerInfo(bytes as string[], 'raw', false, this.#vocabSize, [])
    return { instance, compiler: await GrammarCompiler.createGrammarCompiler(info, false) }
  }

  /** Tokens without control characters, which JSON never has within a line. */
  #ofOneLine(endTokenIds: readonly number[]): TokenMask {
    this.#lineTokens ??= TokenMask.of(this.#vocabSize, this.#plainTokens())
    return endTokenIds.every(id => this.#lineTokens!.has(id))
      ? this.#lineTokens
      : TokenMask.of(this.#vocabSize, [...this.#plainTokens(), ...endTokenIds])
  }

  *#plainTokens(): Generator<number> {
    for (let id = 0; id < this.#vocabSize; id++) if (this.#tokenizer.tokenBytes(id).every(byte => byte >= 32)) yield id
  }
}

/** Of the library's structural tags. */
function formatOf(grammar: WrittenGrammar): object {
  const { before = '', after = '' } = grammar
  const own =
    'regex' in grammar
      ? { type: 'regex', pattern: compilable(grammar.regex) }
      : { type: 'json_schema', json_schema: grammar.jsonSchema }
  const text = (value: string) => (value === '' ? [] : [{ type: 'const_string', value }])
  const elements = [...text(before), own, ...text(after)]
  return elements.length === 1 ? own : { type: 'sequence', elements }
}
