import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type * as Library from '@mlc-ai/web-xgrammar'

/**
 * The library that reads grammars: XGrammar (Dong et al. 2024, arXiv 2411.15100) as WebAssembly. Its package calls itself an ES module and
 * holds CommonJS, so that Node's `import` fails and `require` refuses it: its one file is evaluated here. That gives it a console of its
 * own as well, which is the only place where it says what is wrong with a grammar.
 */

export type XGrammar = Pick<typeof Library, 'GrammarCompiler' | 'GrammarMatcher' | 'TokenizerInfo'>
export type { CompiledGrammar, GrammarCompiler, GrammarMatcher } from '@mlc-ai/web-xgrammar'

/** One instance of the library, with a memory of its own. */
export class XGrammarInstance {
  readonly exports: XGrammar
  readonly #said: string[] = []

  constructor() {
    const require = createRequire(import.meta.url)
    const path = require.resolve('@mlc-ai/web-xgrammar')
    // What is evaluated cannot import everywhere; it asks for one module of Node's, which it is given.
    source ??= readFileSync(path, 'utf8').replaceAll("import('module')", 'modules')
    const say = (...words: unknown[]) => void this.#said.push(words.map(String).join(' '))
    const module = { exports: {} as XGrammar }
    const evaluate = new Function('exports', 'module', 'require', '__filename', 'console', 'modules', source)
    evaluate(module.exports, module, require, path, { log: say, warn: say, error: say }, { createRequire })
    this.exports = module.exports
  }

  /**
   * Does what may fail over a grammar. An instance that has failed was left in the middle of its work, and must be let go.
   * @returns the result, or what the library said was wrong
   */
  async attempt<Result>(work: (library: XGrammar) => Promise<Result>): Promise<{ result: Result } | { failure: string }> {
    this.#said.length = 0
    try {
      return { result: await work(this.exports) }
    } catch (error) {
      const said =
        this.#said.find(line => line.includes('[FATAL]')) ?? (error instanceof Error ? error.message : 'it cannot be compiled')
      return {
        failure: said
          .replace(/^\[FATAL\] \S+: /, '')
          .replace(/^(Check failed: .*? is false|\w[\w ]*error at position \d+): /, '')
          .slice(0, 300),
      }
    }
  }
}

let source: string | undefined
