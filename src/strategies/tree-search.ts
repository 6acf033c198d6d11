import { z } from 'zod'
import { told } from './inputs.js'
import type { Strategy } from './strategy.js'

const options = z.strictObject({
  order: z.enum(['breadth', 'depth']).default('depth').describe('in which the ways are followed'),
})

const ways = {
  depth: `Search for the answer as a tree. Each step of a way is a line "Node: what is tried, and what it comes to". Follow one way until it ends. Where it fails, write a line "Back: to which step", and take the next way from there.`,
  breadth: `Search for the answer as a tree, level by level. Each step is a line "Node: what is tried, and what it comes to". Write all first steps that are worth trying, judge each, and go on from the best ones. Where a way fails, write a line "Back: which way is left".`,
}

/**
 * One long answer in which the model itself searches: what it is told comes before the question. The trace is counted, since small models
 * write answers that only look like one.
 */
export const treeSearch: Strategy<z.output<typeof options>> = {
  type: 'tree-search',
  paper: 'the model is told to search as a tree within one answer (autonomous tree search, Zhang et al. 2023, arXiv 2310.10686)',
  options,
  async answer({ input }, model, { order }) {
    const answer = await model.answer(told(input, `${ways[order]} End with the answer in the form that is asked for.`))
    const count = (mark: RegExp) => [...answer.text.matchAll(mark)].length
    return { answer, answers: [answer], figures: { nodes: count(/^\W*node\b/gimu), backtracks: count(/^\W*back\b/gimu) } }
  },
}
