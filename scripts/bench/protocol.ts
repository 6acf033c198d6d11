import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openSafetensors } from '../../src/formats/safetensors.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import type { LabelledRow } from '../../src/model/row.js'
import { packageRoot } from '../../src/package-root.js'

/** The protocol that both sides of the `tune` benchmark follow; the peer's docstring says the same in Python. */
export const VIRTUAL_TOKENS = 20
export const INIT_TEXT = 'Classify the sentiment of the movie review as negative or positive.'
export const ANSWERS = [' negative', ' positive'] as const

export const sst2 = (name: string): { text: string; label: number }[] =>
  readFileSync(join(packageRoot(), 'examples', 'sst2', name), 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => ({ text: line.slice(0, line.lastIndexOf('\t')), label: Number(line.slice(line.lastIndexOf('\t') + 1)) }))

export class Sst2Rows {
  readonly #model: LanguageModel
  readonly #fixedLength: number
  readonly #answers: readonly number[][]

  constructor(model: LanguageModel, fixedLength = 0) {
    this.#model = model
    this.#fixedLength = fixedLength
    this.#answers = ANSWERS.map(answer => model.tokenizer.encode(answer))
  }

  context(text: string): number[] {
    const ids = this.#model.tokenizer.encode(`Review: ${text}\nSentiment:`)
    return this.#fixedLength ? Array.from({ length: this.#fixedLength }, (_, i) => ids[i % ids.length]!) : ids
  }

  training({ text, label }: { text: string; label: number }): LabelledRow {
    const context = this.context(text)
    const answer = this.#answers[label]!
    return { ids: [...context, ...answer], labels: [...context.map(() => -100), ...answer] }
  }

  scoring(text: string): { context: number[]; candidates: { ids: number[] }[] } {
    return { context: this.context(text), candidates: this.#answers.map(ids => ({ ids })) }
  }
}

/** The soft prompt's start: the text's embeddings, repeated, as PEFT does; or a file with the tensor `prompt`. */
export async function startingPrompt(model: LanguageModel, file?: string): Promise<Float32Array> {
  if (file) {
    const opened = await openSafetensors(file)
    const prompt = await opened.read('prompt')
    await opened.close()
    return prompt
  }
  const ids = model.tokenizer.encode(INIT_TEXT)
  return model.embeddingRows(Array.from({ length: VIRTUAL_TOKENS }, (_, i) => ids[i % ids.length]!))
}
