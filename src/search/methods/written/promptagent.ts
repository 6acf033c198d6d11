import { z } from 'zod'
import { iterate, outputOf, type TreeNode } from '../../moves/mcts.js'
import type { Member } from '../../moves/member.js'
import type { SearchMethod } from '../../moves/method.js'
import { draw } from '../../space/candidates.js'
import { casesOf, criticOptions, feedbackOption, whole } from '../../writing/critic.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, founder, goodness, measured, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, type Refusals, refusalFigures } from '../../writing/propose.js'

export const promptagentSchema = z.strictObject({
  type: z.literal('promptagent'),
  ...criticOptions,
  temperature: criticOptions.temperature.default(1),
  maxPromptTokens: criticOptions.maxPromptTokens.default(150),
  maxWrittenTokens: criticOptions.maxWrittenTokens.default(240),
  feedback: feedbackOption,
  width: z.int().min(1).default(3).describe('batches of questions that a prompt is expanded by, each with a prompt of its own'),
  batch: z.int().min(1).default(5).describe('questions of a batch'),
  depth: z.int().min(1).default(5).describe('rewrites in a row, at most'),
  minDepth: z.int().min(0).default(2).describe('rewrites in a row before a path may end early'),
  exploration: z.number().min(0).default(2.5).describe('weight of what is little known against what is good'),
  backup: z
    .enum(['mean', 'sum'])
    .default('mean')
    .describe(
      'what a path tells its prompts: the mean of its scores, or their sum as in the paper, which prefers what lies high in the tree',
    ),
})

type State = {
  readonly pool: readonly Member[]
  readonly nodes: readonly TreeNode[]
  readonly paths: readonly (readonly number[])[]
}

/** Tree search: a prompt's mistakes are explained, rewrites after the explanation are its children, and scores say which to go on from. */
export const promptagent: SearchMethod<z.output<typeof promptagentSchema>, State> = {
  type: 'promptagent',
  paper:
    'Wang et al. 2023, "PromptAgent: Strategic Planning with Language Models Enables Expert-level Prompt Optimization" (arXiv 2310.16427)',
  steps: 10,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ width, batch, depth, feedback }, { questions, steps }) => {
    const select = questions - Math.min(questions - 1, feedback ?? Math.floor(questions / 2))
    const children = steps * depth * width
    return { answers: select + children * (select + batch), written: 2 * children }
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)], nodes: [], paths: [] }),

  async step(state, options, context) {
    const { feedback, select } = partsOf(context, options.feedback)
    const { random, space } = context
    let pool: readonly Member[] = state.pool
    const written: Partial<Refusals>[] = []
    const tried: Member[] = []
    const rewardOf = (member: Member) => goodness(member, select, context)
    if (state.nodes.length === 0) pool = await measured(pool, select, context)
    const root: TreeNode = { id: 0, parent: null, depth: 0, reward: rewardOf(pool[0]!), returns: [] }
    const nodes = state.nodes.length === 0 ? [root] : state.nodes
    const textOf = (id: number) => space.wordingOf(pool[id]!.ids)

    const expand = async (node: TreeNode, tree: readonly TreeNode[]): Promise<TreeNode[]> => {
      const ancestors: string[] = []
      for (let id = node.parent; id !== null; id = tree[id]!.parent) ancestors.unshift(textOf(id))
      const text = textOf(node.id)
      const batches: Awaited<ReturnType<typeof casesOf>>[] = []
      for (let i = 0; i < options.width; i++) {
        const cases = await casesOf(pool[node.id]!.ids, context, draw(feedback, options.batch, random(node.id, i)))
        const wrong = cases.filter(({ isRight }) => !isRight)
        batches.push(wrong.length > 0 ? wrong : cases)
      }
      const asks = batches.map(cases => metaAsks.analyse(text, cases))
      const analyses = await context.writer!.write(asks, options)
      const { texts, figures } = await proposed(
        batches.map((cases, i) => metaAsks.advance(text, cases, whole(asks[i]!, analyses[i]!), ancestors)),
        options,
        context,
      )
      const drafts = texts.flatMap(own =>
        own === undefined ? [] : [{ parents: [node.id], origin: 'analysis', components: [own], demos: [] }],
      )
      const { members, refused } = admitted(drafts, pool, context)
      written.push(figures, refused)
      const scored = await measured(members, select, context)
      pool = updated(pool, scored)
      tried.push(...scored)
      return scored.map(member => ({
        id: member.id,
        parent: node.id,
        depth: node.depth + 1,
        reward: rewardOf(member),
        returns: [],
      }))
    }

    const { exploration: weight, depth, minDepth, backup } = options
    const next = await iterate(nodes, { weight, depth, minDepth, backup }, expand)
    const paths = [...state.paths, next.path]
    const best = outputOf(next.nodes, paths)
    const more = { best: pool[best.id]! }
    return poolOutcome(
      { pool, nodes: next.nodes, paths },
      pool,
      tried,
      select,
      context,
      { ...refusalFigures(written), depth: best.depth },
      more,
    )
  },
}
