import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { randomGenerator, streams } from '../../random.js'
import type { Environment, Failure } from './environment.js'

/**
 * A buyer bargains for a balloon (after Fu et al. 2023, "Improving Language Model Negotiation with Self-Play and In-Context Learning from AI
 * Feedback", arXiv 2305.10142): the model buys. The seller here follows rules that the seed decides, so that two prompts meet the same sellers
 * and their prices can be compared in pairs. Prices outside the range, which the released program drops, count as no price.
 */

export interface Bargain {
  /** The seller's price now, the least that it takes, and by what share of the rest it comes down for an offer that is better than the last. */
  readonly asked: number
  readonly least: number
  readonly yields: number
  /** The buyer's offers so far. */
  readonly offers: readonly (number | null)[]
  readonly price: number | null
}

/** What the seller begins with, what the balloon has cost, and the offers that are expected at first. */
export const bargain = { asked: 20, cost: 8 } as const
/** Offers without a price in a row that end it. */
const patience = 2

const money = (price: number) => `$${price.toFixed(2).replace(/\.00$/, '')}`

/** The last price that is named, within the range; a deal without a price is one at the seller's. */
export function offerIn(said: string, asked: number): number | null {
  const named = [...said.matchAll(/\$\s*(\d+(?:\.\d{1,2})?)|(\d+(?:\.\d{1,2})?)\s*dollars/giu)].map(([, a, b]) => Number(a ?? b))
  const price = named.at(-1)
  if (price !== undefined) return price > 0 && price <= bargain.asked ? price : null
  return /\b(?:it'?s a deal|i accept|deal)\b/iu.test(said) && !/\bno deal\b/iu.test(said) ? asked : null
}

export const negotiation: Environment<Bargain> = {
  name: 'negotiation',
  turns: 10,
  reset(seed) {
    const random = randomGenerator(seed, streams.episode)
    const least = uniformInt(random, 9, 14)
    const yields = uniformInt(random, 20, 50) / 100
    const state = { asked: bargain.asked, least, yields, offers: [], price: null }
    return {
      state,
      says: `Hi, this is a good balloon. Its price is ${money(bargain.asked)}. What do you offer? Name a price such as $10.`,
      isOver: false,
    }
  },
  step(state, said) {
    const offer = offerIn(said, state.asked)
    const offers = [...state.offers, offer]
    if (offer === null) {
      const isOver = offers.slice(-patience).length === patience && offers.slice(-patience).every(one => one === null)
      return { state: { ...state, offers }, says: 'I did not hear a price. Name one, such as $10.', isOver }
    }
    if (offer >= state.asked)
      return { state: { ...state, offers, price: offer }, says: `It is a deal at ${money(offer)}.`, isOver: true }
    const before = Math.max(0, ...state.offers.map(one => one ?? 0))
    const asked = offer > before ? Math.max(state.least, offer, state.asked - state.yields * (state.asked - offer)) : state.asked
    if (offer >= asked)
      return { state: { ...state, asked, offers, price: offer }, says: `It is a deal at ${money(offer)}.`, isOver: true }
    return { state: { ...state, asked, offers }, says: `That is too little. I could do ${money(asked)}.`, isOver: false }
  },
  /** The share of the seller's margin that the buyer saves; nothing without a deal. */
  score: ({ price }) => (price === null ? 0 : Math.min(1, Math.max(0, (bargain.asked - price) / (bargain.asked - bargain.cost)))),
  explainFailure({ price, offers, least, asked }): Failure | undefined {
    const course = `Offers: ${offers.map(one => (one === null ? 'no price' : money(one))).join(', ') || 'none'}.`
    if (price !== null)
      return price <= least + 1
        ? undefined
        : {
            kind: 'paid too much',
            text: `${course} Bought at ${money(price)}; the seller would have come down to ${money(least)}.`,
          }
    if (offers.at(-1) === null) return { kind: 'no price was named', text: course }
    const isStuck = offers.length > 2 && new Set(offers.slice(-3)).size === 1
    if (isStuck) return { kind: 'the same offer again and again', text: `${course} The seller asked ${money(asked)} at last.` }
    return { kind: 'no deal', text: `${course} The seller asked ${money(asked)} at last.` }
  },
}
