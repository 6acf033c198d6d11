import { refuseAborted } from '../../errors.js'

/** A task of several turns, and how it is played. */

/** What stands in an environment between two turns of the model. */
export interface Moment<State> {
  readonly state: State
  /** What the model is told next. */
  readonly says: string
  readonly isOver: boolean
}

/** What went wrong in an episode: its kind, by which feedback is gathered, and the course of it in words. */
export interface Failure {
  readonly kind: string
  readonly text: string
}

/**
 * A task in which a model speaks several times. Its functions have no memory: what has happened stands in the state. The same seed begins the
 * same episode.
 */
export interface Environment<State = unknown> {
  readonly name: string
  /** Turns of the model in an episode, at most. */
  readonly turns: number
  reset(seed: number): Moment<State>
  step(state: State, said: string): Moment<State> | Promise<Moment<State>>
  /** From 0 to 1. */
  score(state: State): number
  /** Nothing where the episode went well. */
  explainFailure(state: State): Failure | undefined
}

export interface Message {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

/** The model's next words in a conversation. @param turn counted from 0 */
export type Speak = (messages: readonly Message[], at: { readonly seed: number; readonly turn: number }) => Promise<string>

export interface Episode {
  readonly seed: number
  readonly score: number
  readonly turns: number
  readonly failure?: Failure | undefined
  readonly messages: readonly Message[]
}

/**
 * Plays one episode under a prompt, which is the system message. It ends where the environment says so, or its turns do.
 * @throws GradpromptError `aborted`, and what speaking and the environment throw
 */
export async function play<State>(
  environment: Environment<State>,
  prompt: string,
  seed: number,
  { speak, signal }: { readonly speak: Speak; readonly signal?: AbortSignal | undefined },
): Promise<Episode> {
  let moment = environment.reset(seed)
  const messages: Message[] = [
    { role: 'system', content: prompt },
    { role: 'user', content: moment.says },
  ]
  let turn = 0
  while (!moment.isOver && turn < environment.turns) {
    refuseAborted(signal)
    const content = await speak([...messages], { seed, turn })
    messages.push({ role: 'assistant', content })
    moment = await environment.step(moment.state, content)
    messages.push({ role: 'user', content: moment.says })
    turn++
  }
  const score = environment.score(moment.state)
  const failure = environment.explainFailure(moment.state)
  return { seed, score, turns: turn, failure, messages }
}
