import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { z } from 'zod'
import type { SearchMethod } from '../moves/method.js'
import { probed, probeOption } from '../moves/probe.js'
import { screened } from '../moves/screening.js'
import { type Candidate, distinct, draw, lowest, pick, rowsOf, substituted, substitutionScores } from '../space/candidates.js'

export const gcgSchema = z.strictObject({
  type: z.literal('gcg'),
  searchWidth: z.int().min(1).default(128).describe('candidates of a step'),
  topk: z.int().min(1).default(256).describe('tokens a position is drawn from: those with the best gradient scores'),
  replace: z.int().min(1).default(1).describe('positions that a candidate changes'),
  bufferSize: z.int().min(0).default(0).describe('prompts that are kept to go on from; 0: always the best of the step'),
  screening: z.number().min(1).default(16).describe('one of so many candidates is scored exactly, the best in 8 bits; 1: all'),
  probe: probeOption.optional().describe('probe sampling: most candidates are scored by a smaller model alone'),
  earlyStop: z.boolean().default(false).describe('end when every answer token is the likeliest one'),
})

type Options = z.output<typeof gcgSchema>
type Entry = { readonly ids: readonly number[]; readonly loss: number }
type State = { readonly buffer: readonly Entry[] }

/** What the buffer is filled with beside the first prompt. */
const FILLERS = [...'.,!?;:(){}[]@#$%&*wxyz']

/** Greedy coordinate gradient with nanoGCG's buffer, over any number of messages and targets at once. */
export const gcg: SearchMethod<Options, State> = {
  type: 'gcg',
  paper: 'Zou et al. 2023, "Universal and Transferable Adversarial Attacks on Aligned Language Models"',
  steps: 250,
  needs: ({ probe }) => ({ draft: probe?.draft }),

  async start({ bufferSize }, context) {
    const { space, allowed } = context
    const random = context.random()
    const known = bufferSize > 1 ? allowed.filter(id => FILLERS.includes(space.text([id]).trim())) : allowed
    const fillers = known.length > 0 ? known : allowed
    const others = Array.from({ length: Math.max(0, bufferSize - 1) }, () =>
      substituted(
        space.start,
        space.free.map(position => ({ position, to: pick(fillers, random) })),
      ),
    )
    const scored = await context.score([{ ids: space.start, swaps: [] }, ...distinct(others, space.start)])
    return { buffer: scored.map(({ ids, loss }) => ({ ids, loss })) }
  },

  async step(state, { searchWidth, topk, replace, bufferSize, screening, probe, earlyStop }, context) {
    const { space, objective, embedding, allowed, rows } = context
    // Losses of another batch of questions say nothing beside this one's.
    const buffer = context.isBatched ? await context.score(state.buffer.map(({ ids }) => ({ ids, swaps: [] }))) : state.buffer
    const { ids: prompt, loss } = buffer[0]!
    const { gradient } = await objective.gradient([prompt], rows)
    const products = await embedding.project(rowsOf(gradient, space.free, embedding.hiddenSize))
    const scores = substitutionScores(products, prompt, space.free, embedding.vocabSize)
    const best = space.free.map((_, j) =>
      lowest(scores.subarray(j * embedding.vocabSize, (j + 1) * embedding.vocabSize), allowed, topk),
    )
    const random = context.random()
    const candidates = Array.from({ length: searchWidth }, (): Candidate => {
      const places = draw([...space.free.keys()], replace, random)
      const swaps = places.map(j => {
        const to = best[j]![uniformInt(random, 0, best[j]!.length - 1)]!
        return { position: space.free[j]!, to, score: scores[j * embedding.vocabSize + to]! }
      })
      return substituted(
        prompt,
        swaps,
        swaps.reduce((sum, { score }) => sum + score, 0),
      )
    })
    const others = distinct(candidates, prompt)
    const { scored, figures = {} } = probe
      ? await probed(context, others, probe)
      : { scored: await screened(context, others, screening) }
    const found = scored[0]
    if (found === undefined) return { state: { buffer }, prompt, objective: loss, candidates: [], figures }
    const entry = { ids: found.ids, loss: found.loss }
    // nanoGCG: a full buffer takes what is better than its worst, and the search goes on from its best.
    const taken = buffer.length < bufferSize || bufferSize === 0 || entry.loss < buffer.at(-1)!.loss
    const kept = taken ? [entry, ...buffer].sort((a, b) => a.loss - b.loss).slice(0, bufferSize) : buffer
    const next = (bufferSize === 0 ? [entry] : kept).map(({ ids, loss }) => ({ ids, loss }))
    return {
      state: { buffer: next },
      prompt: next[0]!.ids,
      objective: next[0]!.loss,
      candidates: scored,
      ...(taken && { accepted: found }),
      done: earlyStop && found.exact,
      figures,
    }
  },
}
