/** Monte Carlo tree search over prompts, as PromptAgent has it (Wang et al. 2023). Rewards: more is better. */

export interface TreeNode {
  readonly id: number
  readonly parent: number | null
  readonly depth: number
  readonly reward: number
  /** What was backed up: of every path through it one value. */
  readonly returns: readonly number[]
}

export const childrenOf = (nodes: readonly TreeNode[], id: number): TreeNode[] => nodes.filter(({ parent }) => parent === id)

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

/** Mean of what was backed up; of a node without a visit its own reward. */
export const meanReturn = ({ returns, reward }: TreeNode): number => (returns.length === 0 ? reward : mean(returns))

/** Value and bonus: w · √(ln(N of the parent + 1) / max(1, N)). */
export function upperBound(node: TreeNode, parent: TreeNode, weight: number): number {
  return meanReturn(node) + weight * Math.sqrt(Math.log(parent.returns.length + 1) / Math.max(1, node.returns.length))
}

export interface Limits {
  readonly depth: number
  readonly minDepth: number
}

/** Whether nothing is written behind a node: too deep, or much worse than where it came from. */
export function isTerminal(node: TreeNode, nodes: readonly TreeNode[], { depth, minDepth }: Limits): boolean {
  if (node.depth >= depth) return true
  const parent = node.parent === null ? undefined : nodes[node.parent]
  return node.depth > minDepth && parent !== undefined && node.reward < (nodes[0]!.reward + parent.reward) / 2
}

/** From the root along the highest bounds to a node without children, or a terminal one. */
export function selectedPath(nodes: readonly TreeNode[], weight: number, limits: Limits): TreeNode[] {
  const path = [nodes[0]!]
  for (;;) {
    const last = path.at(-1)!
    const children = childrenOf(nodes, last.id)
    if (children.length === 0 || isTerminal(last, nodes, limits)) return path
    path.push(children.reduce((best, child) => (upperBound(child, last, weight) > upperBound(best, last, weight) ? child : best)))
  }
}

/**
 * What a path has come to, backed up: each of its nodes takes the sum of the rewards from itself to the end, or their mean, which does not grow
 * with what lies behind a node.
 */
export function backedUp(nodes: readonly TreeNode[], path: readonly number[], backup: 'sum' | 'mean'): TreeNode[] {
  const next = [...nodes]
  for (const [i, id] of path.entries()) {
    const rewards = path.slice(i).map(one => nodes[one]!.reward)
    const value = backup === 'mean' ? mean(rewards) : mean(rewards) * rewards.length
    next[id] = { ...next[id]!, returns: [...next[id]!.returns, value] }
  }
  return next
}

/** The best node of the path whose mean reward is the highest. */
export function outputOf(nodes: readonly TreeNode[], paths: readonly (readonly number[])[]): TreeNode {
  const rewardsOf = (path: readonly number[]) => path.map(id => nodes[id]!.reward)
  const best = paths.reduce((a, b) => (mean(rewardsOf(b)) > mean(rewardsOf(a)) ? b : a))
  return best.map(id => nodes[id]!).reduce((a, b) => (b.reward > a.reward ? b : a))
}

/**
 * One iteration: selection, expansion, a walk along the best children, and what comes of it backed up.
 * @param expand writes children of a node; their rewards are known
 */
export async function iterate(
  nodes: readonly TreeNode[],
  { weight, backup, ...limits }: Limits & { readonly weight: number; readonly backup: 'sum' | 'mean' },
  expand: (node: TreeNode, nodes: readonly TreeNode[]) => Promise<readonly TreeNode[]>,
): Promise<{ nodes: TreeNode[]; path: number[] }> {
  let tree = [...nodes]
  const path = selectedPath(tree, weight, limits).map(({ id }) => id)
  let best = Math.max(...tree.map(({ reward }) => reward))
  for (;;) {
    const last = tree[path.at(-1)!]!
    if (isTerminal(last, tree, limits)) break
    if (childrenOf(tree, last.id).length === 0) tree = [...tree, ...(await expand(last, tree))]
    const children = childrenOf(tree, last.id)
    if (children.length === 0) break
    const next = children.reduce((a, b) => (b.reward > a.reward ? b : a))
    path.push(next.id)
    const isNew = next.reward > best
    best = Math.max(best, next.reward)
    if (isNew && next.depth > limits.minDepth) break
  }
  return { nodes: backedUp(tree, path, backup), path }
}
