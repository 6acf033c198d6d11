import { GradpromptError } from '../errors.js'
import type { Dimensions, DimensionValues, Size } from './operations/sizes.js'
import { recomputed } from './rewrite/recompute.js'
import { composedViews } from './rewrite/views.js'
import { isEquivalent } from './solve/equivalence.js'
import { probeSizes } from './solve/probes.js'
import { merged } from './solve/simplify.js'
import { type Graph, graphAt, sizeAt } from './solve/symbolic-graph.js'
import { type Difference, type Reading, readAlong, Unifier, type Unsolved } from './solve/unify.js'
import { Origin } from './trace/origin.js'
import { prune } from './trace/prune.js'
import {
  type Placeholder,
  type TensorFunction,
  type TracedGraph,
  type TracedNode,
  type TracedValue,
  trace,
} from './trace/trace.js'

/** A declared input: its shape may name dimensions. */
export interface SymbolicPlaceholder {
  readonly name: string
  readonly shape: readonly Size[]
  readonly dtype: Placeholder['dtype']
}

type Weights = ReadonlyMap<string, { shape: number[]; dtype: TracedValue['dtype'] }>

/**
 * Traces `fn` at every probe, solves what differs between them, and makes sure that the graph is right at the ends of the ranges and at
 * size 1 too.
 *
 * @throws GradpromptError `size-branch` when the function does different things at different sizes, `unsolved-constant` when a
 *   number or data depend on sizes in a way that no polynomial explains, `function-failed` and `no-gradient` when it throws, and whatever
 *   `trace` throws
 */
export function traceGraph(
  fn: TensorFunction,
  inputs: readonly SymbolicPlaceholder[],
  weights: Weights,
  dimensions: Dimensions,
): Graph {
  return recomputed(merged(composedViews(new Probing(fn, inputs, weights, dimensions).graph())))
}

/** A probe that was left out of the graph, and why. */
interface Outlier {
  readonly sizes: DimensionValues
  /** What was traced there, where that was kept. */
  readonly traced?: TracedGraph
  readonly difference: Difference | Unsolved
}

class Probing {
  readonly #fn: TensorFunction
  readonly #inputs: readonly SymbolicPlaceholder[]
  readonly #weights: Weights
  readonly #dimensions: Dimensions
  /** Sizes of the first trace, which the others are read along. */
  #start: DimensionValues = {}

  constructor(fn: TensorFunction, inputs: readonly SymbolicPlaceholder[], weights: Weights, dimensions: Dimensions) {
    this.#fn = fn
    this.#inputs = inputs
    this.#weights = weights
    this.#dimensions = dimensions
  }

  graph(): Graph {
    const { base, held } = probeSizes(this.#dimensions)
    const ordered = base.toSorted((a, b) => Number(this.#isSpecial(a)) - Number(this.#isSpecial(b)))
    this.#start = ordered[0]!
    const first = this.#trace(this.#start)
    const readings: Reading[] = []
    const outliers: Outlier[] = []
    for (const [index, sizes] of [...ordered, ...held].entries()) {
      const isSpecial = this.#isSpecial(sizes)
      const traced = index === 0 ? first : this.#trace(sizes)
      const reading = readAlong(first, traced, sizes, isSpecial)
      if ('numbers' in reading) readings.push(reading)
      else if (isSpecial || index >= base.length) outliers.push({ sizes, traced, difference: reading })
      else throw this.#branched({ sizes, difference: reading })
    }
    const unifier = new Unifier(this.#dimensions, first, readings, unsolved => this.#unsolved(unsolved, readings))
    const graph = unifier.graph()
    for (const [{ sizes }, unsolved] of unifier.doubtful) outliers.push({ sizes, difference: unsolved })
    for (const outlier of outliers) {
      if (!isEquivalent(graphAt(graph, outlier.sizes), outlier.traced ?? this.#trace(outlier.sizes)))
        throw this.#branched(outlier, readings)
    }
    return graph
  }

  /** Whether a size is 1 here that may be more, where TF.js takes other paths (it does not sum over an axis of 1, say). */
  #isSpecial(sizes: DimensionValues): boolean {
    if (Object.entries(this.#dimensions).some(([name, [low, high]]) => sizes[name] === 1 && high > low)) return true
    return this.#inputs.some(({ shape }) => shape.some(size => typeof size !== 'number' && size.evaluate(sizes) <= 1))
  }

  #trace(sizes: DimensionValues, origins = false): TracedGraph {
    const placeholders = this.#inputs.map(input => ({ ...input, shape: input.shape.map(size => sizeAt(size, sizes)) }))
    const { stackTraceLimit } = Error
    // A gradient that fails lies many frames below the line that asked for it.
    Error.stackTraceLimit = 50
    try {
      return prune(trace(this.#fn, placeholders, this.#weights, { origins }))
    } catch (cause) {
      if (cause instanceof GradpromptError) throw cause
      throw this.#failed(cause, sizes)
    } finally {
      Error.stackTraceLimit = stackTraceLimit
    }
  }

  #failed(cause: unknown, sizes: DimensionValues): GradpromptError {
    const { message, stack } = cause instanceof Error ? cause : new Error(String(cause))
    const line = new Origin(stack).describe()
    const [, operation] = /gradient function not found for (\w+)/.exec(message) ?? []
    if (operation) {
      return new GradpromptError('no-gradient', `TF.js has no gradient for the operation ${operation}`, {
        found: line,
        hint: 'express it with other operations, or define the gradient with tf.customGrad',
        cause,
      })
    }
    return new GradpromptError('function-failed', `The function failed while it was traced: ${message}`, {
      found: `${sizes === this.#start ? '' : `for ${described(sizes)}, `}at ${line}`,
      ...(sizes === this.#start
        ? {}
        : { hint: 'it must do for every size in the declared ranges: declare narrower ones (dims), or mend it' }),
      exitCode: 1,
      cause,
    })
  }

  /** What happened at a node, with its line: found out by tracing again, since stacks cost more than all the rest. */
  #happened(sizes: DimensionValues, index: number | undefined): string {
    const node: TracedNode | undefined = index === undefined ? undefined : this.#trace(sizes, true).nodes[index]
    return node ? `${node.operation} at ${node.origin?.describe()}` : 'nothing more'
  }

  #branched({ sizes, difference }: Outlier, readings: readonly Reading[] = []): GradpromptError {
    if ('seen' in difference) return this.#unsolved(difference, readings)
    const { kind, node } = difference
    const what = {
      operation: 'The function does different things at different sizes',
      outputs: 'The function returns other outputs at other sizes',
      option: 'An option of an operation depends on sizes',
      list: 'The length of a list given to an operation depends on sizes',
    }[kind]
    const found =
      kind === 'outputs'
        ? [this.#start, sizes].map(at => `${Object.keys(this.#trace(at).outputs).join(', ')} for ${described(at)}`).join('; ')
        : `${this.#happened(this.#start, node)} for ${described(this.#start)}, but ${this.#happened(sizes, node)} for ${described(sizes)}`
    return new GradpromptError(kind === 'operation' || kind === 'outputs' ? 'size-branch' : 'unsolved-constant', what, {
      found,
      expected: 'the same operations for every size in the declared ranges',
      hint: this.#isSpecial(sizes)
        ? 'something is different at a size of 1 (a branch, or a squeeze without axes): name the axes, or declare the range from 2'
        : 'use tf.where instead of a branch on a size, or narrow the range so that the branch lies outside',
    })
  }

  #unsolved({ what, place, seen }: Unsolved, readings: readonly Reading[]): GradpromptError {
    const values = readings.slice(0, 3).map(({ sizes }, i) => `${seen[i]} for ${described(sizes)}`)
    const odd = readings.findLastIndex(({ isSpecial }) => isSpecial)
    if (odd >= 3) values.push(`${seen[odd]} for ${described(readings[odd]!.sizes)}`)
    const told = seen.some(value => !Number.isNaN(value)) ? values.join('; ') : 'numbers that differ from size to size'
    const line = place && this.#line(place)
    return new GradpromptError('unsolved-constant', `${what} depends on sizes, or on chance, in a way that cannot be compiled`, {
      found: `${line ? `at ${line}: ` : ''}${told}`,
      expected: 'a sum of products of the declared dimensions, or the inverse of one',
      hint: 'compute it inside the function with tensor operations, or pass it as an input',
    })
  }

  #line(place: NonNullable<Unsolved['place']>): string | undefined {
    const { nodes, values } = this.#trace(this.#start, true)
    if ('node' in place) return nodes[place.node]?.origin?.describe()
    const source = values[place.value]?.source
    return source && 'origin' in source ? source.origin?.describe() : undefined
  }
}

/** `R=3 T=7`, or what it is where nothing varies. */
const described = (sizes: DimensionValues): string =>
  Object.entries(sizes)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ') || 'another trace'
