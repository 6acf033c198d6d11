import { createHash } from 'node:crypto'
import { GradpromptError } from '../../errors.js'
import type { LossContext, TopTokens } from '../../losses/loss.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import { layerOutputsOf } from '../../model/layer-outputs.js'
import type { LabelledRow } from '../../model/row.js'
import { promptMethods } from '../../prompts/methods/index.js'

/**
 * The model with a text in its context, as a teacher. The text is computed once: its keys and values in every layer are a prompt of as
 * many tokens, under which each row is what it would be behind the text itself.
 */

/** Keeps numbers under a name, so that a run that goes on hears the same. */
interface Memory {
  remember(name: string, compute: () => Promise<Float32Array>): Promise<Float32Array>
}

/**
 * @param read the row as the teacher sees it, with the same labels
 * @returns as `LossContext.topTokens`; the text is computed when the first row is asked for
 */
export function createContextTeacher(
  model: LanguageModel,
  memory: Memory,
  read: (row: LabelledRow) => LabelledRow,
): LossContext['topTokens'] {
  const texts = new Map<string, Promise<ActivePrompt>>()
  const inContext = (text: string) => {
    const known = texts.get(text) ?? textAsPrompt(model, text)
    texts.set(text, known)
    return known
  }
  return async (text, count, rows) => {
    const digest = digestOf(text)
    const said: TopTokens[] = []
    for (const row of rows) {
      const seen = read(row)
      const top = await memory.remember(
        `top${count}:${digest}:${digestOf(JSON.stringify([seen.ids, seen.labels]))}`,
        async () => {
          const prompt = await inContext(text)
          const { numVirtualTokens } = prompt.method.placement(prompt.config, model.config)
          refuseLongText({ text: numVirtualTokens, row: seen.ids.length }, model.config.maxPositionEmbeddings)
          return topOf(await model.labelLogProbabilities(prompt, seen), model.config.vocabSize, count)
        },
      )
      said.push({ ids: Int32Array.from(top.subarray(0, top.length / 2)), probabilities: top.slice(top.length / 2) })
    }
    return said
  }
}

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 32)

/** A text as keys and values of its own. @throws GradpromptError `text-too-long` */
async function textAsPrompt(model: LanguageModel, text: string): Promise<ActivePrompt> {
  const method = promptMethods.get('prefix-tuning')
  const numVirtualTokens = model.tokenizer.encode(text, { addSpecialTokens: true }).length
  const config = { type: 'prefix-tuning', numVirtualTokens, projection: false, init: { type: 'text', text } }
  refuseLongText({ text: numVirtualTokens, row: 1 }, model.config.maxPositionEmbeddings)
  const parameters = await method.initialise(config, {
    model: model.config,
    tokenizer: model.tokenizer,
    embeddingRows: ids => model.embeddingRows(ids),
    keysAndValues: rows => model.keysAndValues(rows),
    seed: 0,
    labelWords: [],
    learnedPrompts: () => Promise.resolve([]),
    exampleRows: () => [],
    answerPairs: () => [],
    layerOutputs: layerOutputsOf(model),
  })
  return { method, config, parameters }
}

/**
 * @param found tokens of the text, and of the row behind it
 * @throws GradpromptError `text-too-long`
 */
export function refuseLongText(found: { readonly text: number; readonly row: number }, room: number): void {
  if (found.text + found.row <= room) return
  throw new GradpromptError('text-too-long', 'the text that is to be learned does not fit into the context before a row', {
    found: `${found.text} tokens, and ${found.row} of a row`,
    expected: `${room} at most, which is the context of the model`,
    hint: 'a part of the text at a time, shorter rows, or a model with a longer context',
  })
}

/**
 * The likeliest tokens of each label and their probabilities, to six digits behind the point, as they are kept.
 * @param logProbabilities [labels * vocabSize]
 * @returns the ids, [labels * count], and behind them the probabilities
 */
export function topOf(logProbabilities: Float32Array, vocabSize: number, count: number): Float32Array {
  const labels = logProbabilities.length / vocabSize
  const kept = Math.min(count, vocabSize)
  const top = new Float32Array(2 * labels * count)
  for (let label = 0; label < labels; label++) {
    const own = logProbabilities.subarray(label * vocabSize, (label + 1) * vocabSize)
    const ids: number[] = []
    for (let id = 0; id < vocabSize; id++) {
      if (ids.length === kept && own[id]! <= own[ids[kept - 1]!]!) continue
      let place = ids.length
      while (place > 0 && own[ids[place - 1]!]! < own[id]!) place--
      ids.splice(place, 0, id)
      if (ids.length > kept) ids.pop()
    }
    for (const [k, id] of ids.entries()) {
      top[label * count + k] = id
      top[(labels + label) * count + k] = Math.round(1e6 * Math.exp(own[id]!)) / 1e6
    }
  }
  return top
}
