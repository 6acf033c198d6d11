import { declareValuePlugin, PluginKind } from '@stryker-mutator/api/plugin'

/**
 * What mutation testing leaves alone: words that are only read by people. These are descriptions of options and rules, titles of papers,
 * and what an error says beside its code. A test of every such sentence would repeat it.
 */
const descriptive = new Set(['description', 'paper'])
const errors = new Set(['GradpromptError', 'RangeError'])

interface Node {
  readonly name?: string
}

/** As much of a node of Babel's syntax tree as is read here. */
interface Path {
  readonly node: Node
  readonly parentPath: Path | null
  readonly listKey?: string | null
  readonly key?: string | number | null
  isCallExpression(): boolean
  isNewExpression(): boolean
  isObjectProperty(): boolean
  get(key: string): Path
}

function isWords(path: Path): boolean {
  const parent = path.parentPath
  if (parent === null) return false
  if (parent.isObjectProperty() && path.key === 'value') return descriptive.has(parent.get('key').node.name ?? '')
  if (path.listKey !== 'arguments') return false
  if (parent.isNewExpression()) {
    const name = parent.get('callee').node.name ?? ''
    return errors.has(name) && (name === 'RangeError' || Number(path.key) > 0)
  }
  return parent.isCallExpression() && parent.get('callee').get('property').node?.name === 'describe'
}

export const strykerPlugins = [
  declareValuePlugin(PluginKind.Ignore, 'words', {
    shouldIgnore: path => (isWords(path as unknown as Path) ? 'words for people' : undefined),
  }),
]
