/**
 * Runs a parsed template as Jinja does, in the sandbox that `transformers` uses: nothing can be changed but variables and namespaces, a
 * range has at most 100,000 numbers, and every step and every character is counted. It knows nothing of chats.
 */
import { applyFilter, Group, isFilter } from './filters.js'
import { globals, maxRange } from './globals.js'
import { binary, sliceOf, unary } from './operations.js'
import { Scope } from './scope.js'
import type { Binary, Call, For, Macro, Member, Node } from './syntax.js'
import { applyTest, type Engine } from './tests.js'
import { dictMethod, listMethod, textMethod } from './text.js'
import {
  type Budget,
  Callable,
  Float,
  isTrue,
  itemsOf,
  LacksError,
  LimitError,
  Namespace,
  numberOf,
  TemplateError,
  Tuple,
  textOf,
  typeName,
  type Value,
} from './values.js'

class Break extends Error {}
class Continue extends Error {}

const maxDepth = 200

export function run(program: Node, variables: ReadonlyMap<string, Value>, budget: Budget, now: () => Date): string {
  const scope = new Scope()
  for (const [name, value] of globals(budget, now)) scope.set(name, value)
  for (const [name, value] of variables) scope.set(name, value)
  return new Interpreter(budget).block([program], scope)
}

class Interpreter implements Engine {
  #depth = 0

  constructor(readonly budget: Budget) {}

  /** The text that statements write. */
  block(nodes: readonly Node[], scope: Scope): string {
    const out: string[] = []
    this.#statements(nodes, scope, out)
    return out.join('')
  }

  hasFilter(name: string): boolean {
    return isFilter(name)
  }

  attribute(value: Value, path: Value): Value {
    if (typeof path === 'number') return this.#item(value, path)
    return textOf(path, this.budget)
      .split('.')
      .reduce<Value>((current, name) => this.#item(current, /^\d+$/.test(name) ? Number(name) : name), value)
  }

  #statements(nodes: readonly Node[], scope: Scope, out: string[]): void {
    for (const node of nodes) this.#statement(node, scope, out)
  }

  #statement(node: Node, scope: Scope, out: string[]): void {
    this.budget.steps()
    switch (node.type) {
      case 'Program':
        this.#statements(node.body, scope, out)
        return
      case 'Comment':
        return
      case 'If':
        this.#statements(isTrue(this.#evaluate(node.test, scope)) ? node.body : node.alternate, scope, out)
        return
      case 'For':
        this.#loop(node, scope, out)
        return
      case 'Set':
        this.#assign(node.assignee, node.value === null ? this.block(node.body, scope) : this.#evaluate(node.value, scope), scope)
        return
      case 'Macro':
        scope.set(node.name.value, this.#macro(node, scope))
        return
      case 'CallStatement': {
        const caller = this.#callable('caller', node.callerArgs ?? [], node.body, scope)
        this.#write(this.#call(node.call, scope, caller), out)
        return
      }
      case 'FilterStatement':
        this.#write(this.#filter(node.filter, this.block(node.body, scope), scope), out)
        return
      case 'Break':
        throw new Break()
      case 'Continue':
        throw new Continue()
      default:
        this.#write(this.#evaluate(node, scope), out)
    }
  }

  #write(value: Value, out: string[]): void {
    const text = textOf(value, this.budget)
    this.budget.text(text.length)
    out.push(text)
  }

  #loop(node: For, scope: Scope, out: string[]): void {
    const { iterable, test } =
      node.iterable.type === 'SelectExpression'
        ? { iterable: node.iterable.lhs, test: node.iterable.test }
        : { iterable: node.iterable, test: undefined }
    const all = itemsOf(this.#evaluate(iterable, scope), this.budget)
    const items =
      test === undefined ? all : all.filter(item => isTrue(this.#evaluate(test, this.#bound(node.loopvar, item, scope))))
    if (items.length === 0) {
      this.#statements(node.defaultBlock, new Scope(scope), out)
      return
    }
    for (const [i, item] of items.entries()) {
      this.budget.steps()
      const inner = this.#bound(node.loopvar, item, scope)
      inner.set('loop', this.#loopVariable(items, i))
      try {
        this.#statements(node.body, inner, out)
      } catch (signal) {
        if (signal instanceof Break) break
        if (!(signal instanceof Continue)) throw signal
      }
    }
  }

  #loopVariable(items: readonly Value[], i: number): Value {
    const count = items.length
    const cycle = new Callable('cycle', args => args[i % Math.max(1, args.length)])
    return new Map<Value, Value>([
      ['index', i + 1],
      ['index0', i],
      ['revindex', count - i],
      ['revindex0', count - i - 1],
      ['first', i === 0],
      ['last', i === count - 1],
      ['length', count],
      ['previtem', items[i - 1]],
      ['nextitem', items[i + 1]],
      ['depth', 1],
      ['depth0', 0],
      ['cycle', cycle],
    ])
  }

  #bound(target: Node, value: Value, outer: Scope): Scope {
    const scope = new Scope(outer)
    this.#assign(target, value, scope)
    return scope
  }

  #assign(target: Node, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') scope.set(target.value, value)
    else if (target.type === 'TupleLiteral') {
      const parts = itemsOf(value, this.budget)
      if (parts.length !== target.value.length) throw new TemplateError(`${parts.length} values for ${target.value.length} names`)
      target.value.forEach((each, i) => {
        this.#assign(each, parts[i], scope)
      })
    } else if (target.type === 'MemberExpression' && !target.computed && target.property.type === 'Identifier') {
      const namespace = this.#evaluate(target.object, scope)
      if (!(namespace instanceof Namespace)) throw new TemplateError('only attributes of a namespace can be set')
      namespace.attributes.set(target.property.value, value)
    } else throw new TemplateError('this cannot be set')
  }

  #macro(node: Macro, scope: Scope): Callable {
    return this.#callable(node.name.value, node.args, node.body, scope)
  }

  /** A macro, or the body of a `call` block: text of a body with arguments. */
  #callable(name: string, parameters: readonly Node[], body: readonly Node[], scope: Scope): Callable {
    return new Callable(name, (args, given) => {
      const inner = new Scope(scope)
      const named = new Map(given)
      inner.set('varargs', Tuple.from(args.slice(parameters.length)))
      const caller = named.get('caller')
      if (caller !== undefined) inner.set('caller', caller)
      named.delete('caller')
      for (const [i, parameter] of parameters.entries()) {
        const own =
          parameter.type === 'KeywordArgumentExpression'
            ? parameter.key.value
            : parameter.type === 'Identifier'
              ? parameter.value
              : ''
        const otherwise = () =>
          parameter.type === 'KeywordArgumentExpression' ? this.#evaluate(parameter.value, inner) : undefined
        inner.set(own, i < args.length ? args[i] : named.has(own) ? named.get(own) : otherwise())
        named.delete(own)
      }
      inner.set('kwargs', new Map<Value, Value>(named))
      return this.#nested(() => this.block(body, inner))
    })
  }

  #nested<T>(work: () => T): T {
    if (++this.#depth > maxDepth) throw new LimitError(`more than ${maxDepth} calls within calls`)
    try {
      return work()
    } finally {
      this.#depth--
    }
  }

  #evaluate(node: Node, scope: Scope): Value {
    this.budget.steps()
    switch (node.type) {
      case 'StringLiteral':
      case 'IntegerLiteral':
        return node.value
      case 'FloatLiteral':
        return new Float(node.value)
      case 'Identifier':
        return scope.get(node.value)
      case 'ArrayLiteral':
        return node.value.map(item => this.#evaluate(item, scope))
      case 'TupleLiteral':
        return Tuple.from(node.value, item => this.#evaluate(item, scope))
      case 'ObjectLiteral':
        return new Map(
          Array.from(node.value, ([key, value]) => [this.#evaluate(key, scope), this.#evaluate(value, scope)] as const),
        )
      case 'MemberExpression':
        return this.#member(node, scope)
      case 'CallExpression':
        return this.#call(node, scope)
      case 'UnaryExpression':
        return unary(node.operator.value, this.#evaluate(node.argument, scope))
      case 'BinaryExpression':
        return this.#binary(node, scope)
      case 'FilterExpression':
        return this.#filter(node.filter, this.#evaluate(node.operand, scope), scope)
      case 'TestExpression':
        return applyTest(this, node.test.value, this.#evaluate(node.operand, scope)) !== node.negate
      case 'SelectExpression':
        return isTrue(this.#evaluate(node.test, scope)) ? this.#evaluate(node.lhs, scope) : undefined
      case 'Ternary':
        return this.#evaluate(isTrue(this.#evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope)
      default:
        throw new LacksError(`an expression of the kind ${node.type}`)
    }
  }

  #filter(filter: Node, value: Value, scope: Scope): Value {
    if (filter.type === 'Identifier') return applyFilter(this, filter.value, value, [], new Map())
    if (filter.type !== 'CallExpression' || filter.callee.type !== 'Identifier')
      throw new LacksError('a filter that is not a name')
    const [args, named] = this.#arguments(filter.args, scope)
    return applyFilter(this, filter.callee.value, value, args, named)
  }

  #call(node: Call, scope: Scope, caller?: Callable): Value {
    const callee = this.#evaluate(node.callee, scope)
    const [args, named] = this.#arguments(node.args, scope)
    if (caller !== undefined) named.set('caller', caller)
    if (callee instanceof Callable) return this.#nested(() => callee.call(args, named))
    const name = nameOf(node.callee)
    if (callee === undefined) throw new LacksError(`the function "${name}"`)
    throw new TemplateError(`"${name}" is a ${typeName(callee)}, not a function`)
  }

  #arguments(nodes: readonly Node[], scope: Scope): [args: Value[], named: Map<string, Value>] {
    const args: Value[] = []
    const named = new Map<string, Value>()
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression') named.set(node.key.value, this.#evaluate(node.value, scope))
      else if (node.type === 'SpreadExpression')
        args.push(...itemsOf(this.#evaluate(node.argument, scope), this.budget).slice(0, maxRange))
      else if (node.type === 'KeywordSpreadExpression') {
        const more = this.#evaluate(node.argument, scope)
        if (!(more instanceof Map)) throw new TemplateError('** takes a dict')
        for (const [key, value] of more) named.set(textOf(key, this.budget), value)
      } else args.push(this.#evaluate(node, scope))
    }
    return [args, named]
  }

  #member(node: Member, scope: Scope): Value {
    const object = this.#evaluate(node.object, scope)
    if (node.property.type === 'SliceExpression') {
      const at = (part: Node | undefined) => (part === undefined ? undefined : this.#evaluate(part, scope))
      const { start, stop, step } = node.property
      return sliceOf(object, at(start), at(stop), at(step), this.budget)
    }
    if (node.computed) return this.#item(object, this.#evaluate(node.property, scope), nameOf(node.object))
    if (node.property.type === 'IntegerLiteral') return this.#item(object, node.property.value, nameOf(node.object))
    if (node.property.type !== 'Identifier') throw new LacksError('an attribute that is not a name')
    const name = node.property.value
    // A name behind a dot is first a method, then an item.
    return this.#method(object, name) ?? this.#item(object, name, nameOf(node.object))
  }

  #method(object: Value, name: string): Value {
    if (typeof object === 'string') return textMethod(object, name, this.budget)
    if (object instanceof Group && (name === 'grouper' || name === 'list')) return object[name]
    if (Array.isArray(object)) return listMethod(object, name, this.budget)
    return object instanceof Map ? dictMethod(object, name, this.budget) : undefined
  }

  #item(object: Value, key: Value, name = 'a value'): Value {
    if (object === undefined) throw new TemplateError(`"${name}" is not defined`)
    if (object instanceof Map)
      return object.has(key) ? object.get(key) : typeof key === 'string' ? dictMethod(object, key, this.budget) : undefined
    if (object instanceof Namespace) return typeof key === 'string' ? object.attributes.get(key) : undefined
    if (typeof key === 'string') return this.#method(object, key)
    const index = numberOf(key)
    if (index === undefined || !Number.isInteger(index)) return undefined
    if (typeof object === 'string') return (/[\ud800-\udfff]/.test(object) ? [...object] : object).at(index)
    return Array.isArray(object) ? object.at(index) : undefined
  }

  #binary(node: Binary, scope: Scope): Value {
    const left = this.#evaluate(node.left, scope)
    if (node.operator.value === 'and') return isTrue(left) ? this.#evaluate(node.right, scope) : left
    if (node.operator.value === 'or') return isTrue(left) ? left : this.#evaluate(node.right, scope)
    return binary(this, node.operator.value, left, this.#evaluate(node.right, scope), side => nameOf(node[side]))
  }
}

function nameOf(node: Node): string {
  if (node.type === 'Identifier' || node.type === 'StringLiteral') return node.value
  if (node.type === 'MemberExpression') return `${nameOf(node.object)}.${nameOf(node.property)}`
  return node.type === 'CallExpression' ? `${nameOf(node.callee)}()` : 'a value'
}
