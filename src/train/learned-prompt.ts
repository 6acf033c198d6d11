import { basename, resolve } from 'node:path'
import type { PromptFile } from '../store/prompt-file.js'
import type { Job } from './job.js'
import { learnedParameters } from './loop.js'
import { spentBy } from './privacy/options.js'

/** What a run has learned so far, as a prompt file keeps it. How it was learned is unknown here. */
export function learnedPrompt({ config, task, model, prompt, rows, shapes, state, privacy }: Job): PromptFile {
  const answerEnd = rows.learnedEnd
  return {
    method: withoutPaths(prompt.config),
    model: { name: model.name, hash: model.hash },
    hiddenSize: model.config.hiddenSize,
    numVirtualTokens: prompt.method.placement(prompt.config, model.config).numVirtualTokens,
    position: prompt.method.placement(prompt.config, model.config).position,
    template: config.template,
    answer: config.answer,
    ...(answerEnd && { answerEnd }),
    labels: task.labels && Object.fromEntries(task.labels.words),
    ...(task.labels?.verbalizer && { verbalizer: task.labels.verbalizer }),
    seed: config.seed,
    // Of all steps that were done, whichever of them the prompt is of: which one was kept says something of the others.
    ...(privacy && { privacy: spentBy(privacy, state.step) }),
    tensors: shapes.map(({ name, shape }) => ({ name, shape, data: learnedParameters(state).get(name)!.slice() })),
  }
}

/** A method's options without the paths of the runs that it started from: where these stand says nothing about the prompt. */
function withoutPaths(options: { readonly type: string; readonly init?: unknown }): PromptFile['method'] {
  const init = options.init as { readonly from?: readonly string[] } | undefined
  if (init?.from === undefined) return { ...options }
  return { ...options, init: { ...init, from: init.from.map(path => basename(resolve(path))) } }
}
