import { originOf } from '../data/readers/records.js'
import { compileTemplate } from '../data/texts/template.js'
import { inputs } from '../evaluate/likelihood-results.js'
import { GenerationEngine } from '../generate/engine/engine.js'
import { generationRequest } from '../generate/settings.js'
import { promptsByTask } from '../sources/prompt.js'
import type { Sample } from './events.js'
import type { Job } from './job.js'
import { learnedParameters } from './loop.js'

/** A few dev rows answered by the prompt as it stands, to be looked at while free text is learned. Nothing is scored by them. */

/** Tokens of each answer, at most: enough to see what it is like. */
const longest = 48

/**
 * Answers the first dev rows greedily, in the width that is learned in.
 * @returns nothing where there is no room for an answer, or nothing to answer from
 * @throws GradpromptError as opening a program does
 */
export async function sampleAnswers(
  { config, task, model, prompt, rows, state }: Job,
  signal: AbortSignal | undefined,
): Promise<Sample[]> {
  const { contextLength, numVirtualTokens } = {
    contextLength: model.config.maxPositionEmbeddings,
    numVirtualTokens: prompt.method.placement(prompt.config, model.config).numVirtualTokens,
  }
  const inputOf = inputs(config.template)
  const answer = compileTemplate(config.answer)
  const tasks = prompt.method.tasks?.(prompt.config)
  const asked = task.scored.slice(0, config.train.samples).flatMap((record, index) => {
    const { context, task: number } = rows.scoring(record, index)
    const room = contextLength - numVirtualTokens - context.length
    if (context.length === 0 || room < 1) return []
    const named = tasks === undefined || number === undefined ? {} : { prompt: `prompt/${tasks.names[number]}` }
    const request = generationRequest(context, Math.min(longest, room), { temperature: 0, ...named } as never, index)
    return [{ input: inputOf(record) || originOf(record, index), answer: answer.render(record, index).trim(), request }]
  })
  if (asked.length === 0) return []
  await using engine = await GenerationEngine.open(model, {
    weights: 'fp32',
    batchSize: asked.length,
    prompts: promptsByTask('prompt', { ...prompt, parameters: learnedParameters(state) }),
    defaultPrompt: 'prompt',
  })
  return await Promise.all(
    asked.map(async ({ input, answer, request }) => {
      const { text } = await engine.generate({ ...request, ...(signal && { signal }) })
      return { input, answer, text }
    }),
  )
}
