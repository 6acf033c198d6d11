import type { AnswerStops } from '../data/texts/answer-end.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { type ContrastAsked, contrastOf } from '../generate/contrast.js'
import type { Frame } from '../generate/framing.js'
import { ApiProblem } from './problem.js'

/** What is served under which name: the model alone, and prompts on it. */

/** A model as clients name it: the base model, or a soft prompt on it. */
export interface ServedModel {
  readonly id: string
  /** The name by which the generator knows the soft prompt. */
  readonly prompt?: string
  readonly numVirtualTokens: number
  /** Reads what texts to it hold; by default the backend's. */
  readonly tokenizer?: Pick<Tokenizer, 'encode'>
  /** The template that it was learned or found in: what is asked stands in it. */
  readonly frame?: Frame
  /** What ends an answer under its prompt. */
  readonly ends?: AnswerStops
  /** The only answers under its prompt, where a request names none. */
  readonly labels?: readonly string[] | undefined
}

export function modelNamed(models: readonly ServedModel[], id: string): ServedModel {
  const found = models.find(model => model.id === id)
  if (found !== undefined) return found
  const names = models.map(model => model.id).join(', ')
  throw new ApiProblem(404, 'model_not_found', `there is no model ${JSON.stringify(id.slice(0, 200))} here, but ${names}`, {
    param: 'model',
  })
}

/** A contrast that a request asks for, between two of the models. @throws GradpromptError as `contrastOf` does; ApiProblem */
export function contrastIn(
  models: readonly ServedModel[],
  {
    model,
    against,
    contrast,
  }: { readonly model: string; readonly against?: string | undefined; readonly contrast?: number | undefined },
): ContrastAsked | undefined {
  const side = (id: string) => {
    const { prompt, frame } = modelNamed(models, id)
    return { name: prompt, template: frame?.template }
  }
  return contrastOf(contrast, side(model), against === undefined ? undefined : side(against))
}
