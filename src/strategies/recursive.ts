import { z } from 'zod'
import { told } from './inputs.js'
import { unlessRoom, withRoom } from './room.js'
import type { Asking, Strategy } from './strategy.js'

const options = z.strictObject({
  threshold: z.number().min(0).max(9).default(2).describe('a question rated so, from 1 to 9, or less is answered at once'),
  depth: z.int().min(1).max(1000).default(2).describe('how often parts are parted again, at most'),
  nodes: z.int().min(1).max(1000).default(8).describe('questions and parts in all, at most'),
  maxWrittenTokens: z.int().min(8).default(128).describe('of a plan, and of the answer to a part'),
})

type Options = z.output<typeof options>

const rating = (question: string) =>
  `How hard is this question, from 1 (one look is enough) to 9 (it takes many steps)?\n\nQuestion: ${question}\n\nReply with one digit.`

const plan = (question: string, steps: number) =>
  `Which ${steps === 1 ? 'part of this question has' : `${steps} parts of this question have`} to be answered first? Write ${steps === 1 ? 'it as one short question' : `${steps} short questions, one a line`}, and do not answer.\n\nQuestion: ${question}`

const part = (question: string, known: readonly string[]) =>
  `${known.length === 0 ? '' : `Known:\n${known.join('\n')}\n\n`}Answer in one sentence: ${question}`

/** Parts a question into others as far as they are hard, and answers it with what these have come to. */
export const recursive: Strategy<Options> = {
  type: 'recursive',
  paper: 'a question is parted as far as it is rated hard (Prompt Recursive Search, 2024, arXiv 2408.01423)',
  options,
  async answer({ input, question }, model, options) {
    const tree: Tree = { nodes: 1, depth: 0, hasRoom: true }
    const known = await parts(question, model, options, tree, 0, [])
    const informed =
      known.length > 0 && (await inRoom(tree, () => model.answer(told(input, `What is known:\n${known.join('\n')}`))))
    const answer = informed || (await model.answer(input))
    return { answer, answers: [answer], figures: { nodes: tree.nodes, depth: tree.depth, ...unlessRoom(tree.hasRoom) } }
  },
}

interface Tree {
  nodes: number
  depth: number
  /** Nothing was left out that would not have fitted into the context. */
  hasRoom: boolean
}

async function inRoom<T>(tree: Tree, call: () => Promise<T>): Promise<T | undefined> {
  const found = await withRoom(call)
  if (found === undefined) tree.hasRoom = false
  return found
}

/** What the parts of a question have come to, a line each; none where it is easy, or there is no place for parts. */
async function parts(
  question: string,
  model: Asking,
  options: Options,
  tree: Tree,
  depth: number,
  known: readonly string[],
): Promise<string[]> {
  const hardness = await inRoom(tree, () => model.rate(rating(question)))
  const room = options.nodes - tree.nodes
  if (hardness === undefined || hardness <= options.threshold || depth >= options.depth || room <= 0) return []
  const wanted = Math.min(room, Math.max(1, Math.round(hardness / 2)))
  const budget = { maxNewTokens: options.maxWrittenTokens }
  const written = (await inRoom(tree, () => model.instruct(plan(question, wanted), budget))) ?? ''
  const steps = linesOf(written).slice(0, wanted)
  tree.nodes += steps.length
  if (steps.length > 0) tree.depth = Math.max(tree.depth, depth + 1)
  const found: string[] = []
  for (const step of steps) {
    const before = [...known, ...found]
    const below = await parts(step, model, options, tree, depth + 1, before)
    const answer = await inRoom(tree, () => model.instruct(part(step, [...before, ...below]), budget))
    if (answer === undefined) break
    found.push(`${step} ${answer.trim().split('\n')[0]!}`)
  }
  return found
}

/** Lines that say something, without the marks of a list. */
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map(line => line.replace(/^\s*(?:[-*•]|\(?\d+[.):])\s*/u, '').trim())
    .filter(line => /\p{L}/u.test(line))
