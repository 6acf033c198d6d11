import type { Value } from './values.js'

/** Variables of a block, and those around it. */
export class Scope {
  readonly #own = new Map<string, Value>()

  readonly #outer: Scope | undefined

  constructor(outer?: Scope) {
    this.#outer = outer
  }

  get(name: string): Value {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.#outer) {
      if (scope.#own.has(name)) return scope.#own.get(name)
    }
    return undefined
  }

  set(name: string, value: Value): void {
    this.#own.set(name, value)
  }
}
