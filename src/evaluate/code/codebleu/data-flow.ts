import type { Node } from 'web-tree-sitter'
import type { FlowNodes } from './languages.js'

/**
 * The data flow of a program, and how much of one program's is in another's (Ren et al. 2020, section 3.3; the extraction is that of
 * GraphCodeBERT, Guo et al. 2021, arXiv 2009.08366): which variable's value comes from, or is computed from, which.
 */

/** A variable at a place, and those that its value is from. Places count tokens. */
export interface Flow {
  readonly name: string
  readonly at: number
  readonly relation: 'comesFrom' | 'computedFrom'
  readonly from: readonly string[]
  readonly places: readonly number[]
}

/** Where each variable was last given a value. */
type States = ReadonlyMap<string, readonly number[]>

interface Found {
  readonly flows: readonly Flow[]
  readonly states: States
}

interface Token {
  readonly text: string
  readonly at: number
}

/** Texts are one token, whatever is in them. */
const wholeTypes = new Set(['string_literal', 'string', 'character_literal'])
const isToken = ({ type, childCount }: Node) => (childCount === 0 || wholeTypes.has(type)) && type !== 'comment'
const keyOf = ({ startIndex, endIndex }: Node) => `${startIndex}-${endIndex}`
const byPlace = (flows: readonly Flow[]): Flow[] => [...flows].sort((a, b) => a.at - b.at)
const unique = <T>(values: readonly T[]): T[] => [...new Set(values)]
const ascending = (values: readonly number[]) => unique(values).sort((a, b) => a - b)

/** The flow of a program; nothing where its tree is too broken for one. */
export function dataFlow(root: Node, code: string, nodes: FlowNodes): Flow[] {
  const tokens = new Map<string, Token>()
  let count = 0
  const collect = (node: Node): void => {
    if (isToken(node)) {
      tokens.set(keyOf(node), { text: code.slice(node.startIndex, node.endIndex).replaceAll('\n', ''), at: count })
      count++
    } else for (const child of node.children) collect(child)
  }
  collect(root)
  let flows: readonly Flow[]
  try {
    flows = new Extraction(tokens, nodes).of(root, new Map()).flows
  } catch (error) {
    if (!(error instanceof Broken)) throw error
    return []
  }
  // What nothing comes from, and comes from nothing, is no flow.
  const used = new Set(flows.flatMap(({ places, at }) => (places.length > 0 ? [at, ...places] : [])))
  const merged = new Map<number, Flow>()
  for (const flow of byPlace(flows)) {
    if (!used.has(flow.at)) continue
    const same = merged.get(flow.at)
    merged.set(flow.at, same === undefined ? flow : joined(same, flow))
  }
  return [...merged.values()]
}

const joined = (one: Flow, other: Flow): Flow => ({
  ...other,
  from: unique([...one.from, ...other.from]),
  places: ascending([...one.places, ...other.places]),
})

/** A tree lacks a part that its type says it has. */
class Broken extends Error {}

class Extraction {
  readonly #tokens: ReadonlyMap<string, Token>
  readonly #nodes: FlowNodes

  constructor(tokens: ReadonlyMap<string, Token>, nodes: FlowNodes) {
    this.#tokens = tokens
    this.#nodes = nodes
  }

  of(node: Node, states: States): Found {
    const { assignment, definition, increment, condition, counted, each, repeated, first, several } = this.#nodes
    const { type } = node
    if (isToken(node)) return this.#token(node, states)
    if (definition.includes(type)) return this.#definition(node, states)
    if (assignment.includes(type)) return several ? this.#assignments(node, states) : this.#assignment(node, states)
    if (increment.includes(type)) {
      const own = this.#variables(node)
      return this.#bound(own, own, 'computedFrom', { flows: [], states })
    }
    if (condition.includes(type)) return this.#condition(node, states)
    if (several && type === 'for_statement') return this.#twice(states, found => this.#loop(node, found))
    if (counted.includes(type)) return this.#counted(node, states)
    if (Object.hasOwn(each, type)) return this.#twice(states, found => this.#each(node, each[type]!, found))
    if (repeated.includes(type)) return this.#twice(states, found => this.#all(node.children, found))
    const { children } = node
    const isFirst = (child: Node) => first.includes(child.type)
    const found = this.#all([...children.filter(isFirst), ...children.filter(child => !isFirst(child))], { flows: [], states })
    return { ...found, flows: byPlace(found.flows) }
  }

  #token(node: Node, states: States): Found {
    const { text: name, at } = this.#at(node)
    if (node.type === name) return { flows: [], states }
    const places = states.get(name)
    if (places !== undefined) return { flows: [{ name, at, relation: 'comesFrom', from: [name], places }], states }
    const next = node.type === 'identifier' ? new Map(states).set(name, [at]) : states
    return { flows: [{ name, at, relation: 'comesFrom', from: [], places: [] }], states: next }
  }

  #at(node: Node): Token {
    const token = this.#tokens.get(keyOf(node))
    if (token === undefined) throw new Broken()
    return token
  }

  /** The tokens of a node that are neither punctuation nor keywords. */
  #variables(node: Node): Token[] {
    if (!isToken(node)) return node.children.flatMap(child => this.#variables(child))
    const token = this.#at(node)
    return node.type === token.text ? [] : [token]
  }

  #field(node: Node, name: string): Node {
    const field = node.childForFieldName(name)
    if (field === null) throw new Broken()
    return field
  }

  #all(children: readonly Node[], found: Found): Found {
    return children.reduce((before, child) => this.#after(before, child), found)
  }

  #after({ flows, states }: Found, node: Node): Found {
    const own = this.of(node, states)
    return { flows: [...flows, ...own.flows], states: own.states }
  }

  /** Every name has its value from every variable of the value, one by one. */
  #bound(names: readonly Token[], values: readonly Token[], relation: Flow['relation'], { flows, states }: Found): Found {
    const next = new Map(states)
    const bound = names.flatMap(({ text: name, at }) => {
      next.set(name, [at])
      return values.map((value): Flow => ({ name, at, relation, from: [value.text], places: [value.at] }))
    })
    return { flows: byPlace([...flows, ...bound]), states: next }
  }

  #definition(node: Node, states: States): Found {
    const byFields = this.#nodes.definitionBy === 'fields'
    const name = byFields ? node.childForFieldName('name') : node.children[0]
    const value = byFields ? node.childForFieldName('value') : node.childCount === 2 ? node.children[1] : null
    if (name === null || name === undefined) throw new Broken()
    const names = this.#variables(name)
    if (value !== null && value !== undefined)
      return this.#bound(names, this.#variables(value), 'comesFrom', this.of(value, states))
    const next = new Map(states)
    for (const { text, at } of names) next.set(text, [at])
    const flows = names.map(({ text, at }): Flow => ({ name: text, at, relation: 'comesFrom', from: [], places: [] }))
    return { flows: byPlace(flows), states: next }
  }

  #assignment(node: Node, states: States): Found {
    const [left, right] = [this.#field(node, 'left'), this.#field(node, 'right')]
    return this.#bound(this.#variables(left), this.#variables(right), 'computedFrom', this.of(right, states))
  }

  /** `a, b = x, y`, name by name where there are as many values. */
  #assignments(node: Node, states: States): Found {
    if (node.type === 'for_in_clause') {
      const found = this.#pairs([this.#field(node, 'left')], [node.children.at(-1)!], { flows: [], states })
      return { ...found, flows: byPlace(found.flows) }
    }
    if (node.childForFieldName('right') === null) return { flows: [], states }
    const found = this.#pairs(...this.#sides(node), { flows: [], states })
    return { ...found, flows: byPlace(found.flows) }
  }

  #sides(node: Node): [Node[], Node[]] {
    const [left, right] = [this.#field(node, 'left'), this.#field(node, 'right')]
    const parts = (side: Node) => side.children.filter(({ type }) => type !== ',')
    const [names, values] = [parts(left), parts(right)]
    return names.length !== values.length || names.length === 0 ? [[left], [right]] : [names, values]
  }

  #pairs(names: readonly Node[], values: readonly Node[], found: Found): Found {
    const { flows, states } = this.#all(values, found)
    const next = new Map(states)
    const bound = names.slice(0, values.length).flatMap((name, i) => {
      const from = this.#variables(values[i]!)
      return this.#variables(name).map(({ text, at }): Flow => {
        next.set(text, [at])
        const [texts, places] = [from.map(({ text }) => text), from.map(({ at }) => at)]
        return { name: text, at, relation: 'computedFrom', from: texts, places }
      })
    })
    return { flows: [...flows, ...bound], states: next }
  }

  #condition(node: Node, states: States): Found {
    const { branch, branchesOnwards } = this.#nodes
    let current: Found = { flows: [], states }
    const others: States[] = []
    let isBranch = false
    let hasElse = node.type.includes('else')
    for (const child of node.children) {
      if (child.type.includes('else')) hasElse = true
      const begins = branch.includes(child.type)
      isBranch = begins || (isBranch && branchesOnwards)
      if (isBranch) {
        const own = this.of(child, states)
        current = { ...current, flows: [...current.flows, ...own.flows] }
        others.push(own.states)
      } else current = this.#after(current, child)
    }
    others.push(current.states)
    if (!hasElse) others.push(states)
    const merged = new Map<string, number[]>()
    for (const one of others)
      for (const [name, places] of one) merged.set(name, ascending([...(merged.get(name) ?? []), ...places]))
    return { flows: byPlace(current.flows), states: merged }
  }

  /** What a loop does is gone through twice, so that its beginning hears of its end. */
  #twice(states: States, once: (found: Found) => Found): Found {
    return gathered(once(once({ flows: [], states })))
  }

  #loop(node: Node, before: Found): Found {
    const found = this.#pairs(...this.#sides(node), before)
    const body = node.children.at(-1)!
    return body.type === 'block' ? this.#after(found, body) : found
  }

  #counted(node: Node, states: States): Found {
    const once = this.#all(node.children, { flows: [], states })
    const declared = node.children.findIndex(({ type }) => type === 'local_variable_declaration')
    return gathered(declared === -1 ? once : this.#all(node.children.slice(declared + 1), once))
  }

  #each(node: Node, [name, value]: readonly [string, string], before: Found): Found {
    const [one, all, body] = [this.#field(node, name), this.#field(node, value), this.#field(node, 'body')]
    const found = this.#after(before, all)
    const bound = this.#bound(this.#variables(one), this.#variables(all), 'computedFrom', { flows: [], states: found.states })
    return this.#after({ flows: [...found.flows, ...bound.flows], states: bound.states }, body)
  }
}

/** Flows of one variable at one place are one. */
function gathered({ flows, states }: Found): Found {
  const same = new Map<string, Flow>()
  for (const flow of flows) {
    const key = `${flow.at} ${flow.relation} ${flow.name}`
    const one = same.get(key)
    same.set(key, one === undefined ? flow : joined(one, flow))
  }
  return { flows: byPlace([...same.values()]), states }
}

/** Flows with variables by their order, so that names do not count. */
function normalized(flows: readonly Flow[]): string[] {
  const names = new Map<string, number>()
  const known = (name: string) => {
    if (!names.has(name)) names.set(name, names.size)
    return names.get(name)!
  }
  return flows.map(({ name, relation, from }) => {
    const sources = from.map(known)
    return JSON.stringify([known(name), relation, sources])
  })
}

/** The share of a reference's flows that a program has; undefined where the reference has none. */
export function flowMatch(flows: readonly Flow[], reference: readonly Flow[]): number | undefined {
  const own = normalized(flows)
  const expected = normalized(reference)
  if (expected.length === 0) return undefined
  let matched = 0
  for (const flow of expected) {
    const place = own.indexOf(flow)
    if (place === -1) continue
    own.splice(place, 1)
    matched++
  }
  return matched / expected.length
}
