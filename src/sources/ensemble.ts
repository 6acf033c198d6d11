import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { GradpromptError } from '../errors.js'
import { type ActivePrompt, plainPrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { domainParameter, meanParticle, particleRows } from '../prompts/domain/domain.js'
import { isStatic } from '../prompts/static.js'
import { randomGenerator, streams } from '../random.js'
import type { PromptFile } from '../store/prompt-file.js'
import type { OpenOptions, PromptSource } from './open.js'
import { loadPrompt, loadPromptMethod, softPromptOf } from './prompt.js'

/**
 * Several prompts in the place of one (after BayesPrompt, Li et al. 2024, arXiv 2401.14166): each is the learned one, moved by how a draw of
 * the task's domain differs from the domain's mean. A draw is the mean of as many particles as there are classes, no particle twice, as
 * in the paper; there it is drawn anew for every text, here by the run's seed, once.
 */

/** Members at most: each is a pass over every row. */
export const mostMembers = 1000

/**
 * A prompt that stands for several of them, where classes are scored.
 * @param count how many
 * @throws GradpromptError `invalid-option`, `no-domain` where nothing is known of the inputs that the prompt was learned on, `not-static`
 */
export async function asEnsemble(source: PromptSource, count: number, options: OpenOptions): Promise<PromptSource> {
  if (!(Number.isSafeInteger(count) && count >= 1 && count <= mostMembers))
    throw new GradpromptError('invalid-option', 'ensemble is not valid', {
      found: String(count),
      expected: `a whole number from 1 to ${mostMembers}`,
    })
  const { file } = source
  if (file?.tensors.some(({ name }) => name === domainParameter) !== true)
    throw new GradpromptError('no-domain', 'an ensemble is made of a prompt that knows what its inputs are like', {
      found: file === undefined ? 'no prompt that gradprompt learned' : `a prompt of ${file.method.type} without particles`,
      expected: 'a run that was tuned with domain',
      hint: 'tune it with domain: {}, method.init.type: domain or train.prior',
    })
  const method = await loadPromptMethod(file)
  if (!isStatic(method, file.method) || method.tasks?.(file.method) !== undefined)
    throw new GradpromptError('not-static', 'an ensemble is made of a prompt that is one list of rows', {
      found: isStatic(method, file.method)
        ? `a prompt of several tasks (${file.method.type})`
        : `method.type: ${file.method.type}, with its options and soft tokens`,
      expected:
        'a prompt that is the same for every text and stands in one place, as prompt-tuning without soft tokens in its template',
    })
  return {
    ...source,
    async active(model: LanguageModel) {
      const prompt = await loadPrompt(file, model, options)
      return { ...prompt, members: await membersOf(file, count, model) }
    },
  }
}

async function membersOf(file: PromptFile, count: number, model: LanguageModel): Promise<ActivePrompt[]> {
  const { data, shape, position } = await softPromptOf(file)
  const { shape: own } = file.tensors.find(({ name }) => name === domainParameter)!
  if (own.length !== 2 || own[0]! < 1 || own[1] !== shape[1])
    throw new GradpromptError('run-corrupt', 'the particles of the prompt are not as wide as its rows', {
      found: `${domainParameter} [${own.join(', ')}]`,
      expected: `[particles, ${shape[1]}]`,
    })
  return domainOffsets(file, count).map(offset => {
    const moved = data.map((x, i) => x + offset[i % offset.length]!)
    return plainPrompt({ data: moved, shape, position }, model.config)
  })
}

/** How each member differs from the prompt in each of its rows, [hiddenSize] each. */
export function domainOffsets(
  { tensors, labels, seed }: Pick<PromptFile, 'tensors' | 'labels' | 'seed'>,
  count: number,
): Float64Array[] {
  const { data, shape } = tensors.find(({ name }) => name === domainParameter)!
  const particles = { data, count: shape[0]! }
  const rows = particleRows(particles)
  const middle = meanParticle(particles)
  const drawn = Math.min(rows.length, Math.max(1, Object.keys(labels ?? {}).length))
  return Array.from({ length: count }, (_, member) => {
    const random = randomGenerator(seed, streams.domain, 2, member)
    const left = [...rows.keys()]
    const chosen = Array.from({ length: drawn }, () => left.splice(uniformInt(random, 0, left.length - 1), 1)[0]!)
    return middle.map((x, d) => chosen.reduce((sum, place) => sum + rows[place]![d]! / drawn, 0) - x)
  })
}
