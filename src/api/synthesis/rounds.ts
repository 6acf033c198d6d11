import { readFile, rm } from 'node:fs/promises'
import { hashOf } from '../../evaluate/row-results.js'
import { exists } from '../../files.js'
import { sampleSeed } from '../../generate/settings.js'
import type { LanguageModel } from '../../model/language-model.js'
import { shuffle, streams } from '../../random.js'
import { replaceText } from '../../store/atomic.js'
import { askFor } from '../../synthesis/asks.js'
import { topics } from '../foreign/topics.js'
import { generate } from '../generation/generate.js'

/** Texts that a model writes, a round at a time. Each stands in a file beside the output until that is whole: a call that was stopped goes on. */

export interface RoundsOptions {
  readonly model: LanguageModel
  readonly task: string
  readonly meanings: ReadonlyMap<string, string | undefined> | undefined
  readonly own: readonly { readonly text: string; readonly label: string | undefined }[]
  readonly seed: number
  readonly temperature: number
  readonly maxNewTokens: number
  readonly output: string
  readonly signal: AbortSignal | undefined
}

/** Own texts that the model is shown with each ask. */
const shownTexts = 3
/** Some of what is written repeats what is there. */
const surplus = 1.25

export class Rounds {
  readonly #options: RoundsOptions
  readonly #isChat: boolean
  readonly #files: string[] = []

  constructor(options: RoundsOptions) {
    this.#options = options
    this.#isChat = options.model.tokenizer.chatTemplate !== undefined
  }

  /** @param wanted texts of each class @returns what was written, class after class */
  async write(
    round: number,
    wanted: ReadonlyMap<string | undefined, number>,
    onDone: (texts: number) => void,
  ): Promise<{ readonly text: string; readonly label: string | undefined; readonly asked: string }[]> {
    const { task, meanings, own, seed } = this.#options
    const words = shuffle([...topics], seed, streams.synthesis, 1 + round)
    const asks = [...wanted].flatMap(([label, count]) =>
      Array.from({ length: Math.ceil(count * surplus) }, (_, place) => {
        const ofLabel = shuffle(own.filter(row => row.label === label).map(({ text }) => text), seed, streams.synthesis, 1 + round, place) // biome-ignore format: one line
        const topic = place % 2 === 1 ? words[place % words.length] : undefined
        const asked = { task, label, meaning: label === undefined ? undefined : meanings?.get(label), shown: ofLabel.slice(0, shownTexts), topic, place } // biome-ignore format: one line
        return { label, prompt: askFor(asked, this.#isChat), told: askFor({ ...asked, shown: [] }, this.#isChat) }
      }),
    )
    const { temperature, maxNewTokens } = this.#options
    const texts = await this.#generated(`round-${round + 1}`, asks.map(({ prompt }) => prompt), { temperature, topP: 0.95, maxNewTokens, seed: sampleSeed(seed, round) }, onDone) // biome-ignore format: one call
    return texts.map((text, i) => ({ text, label: asks[i]!.label, asked: asks[i]!.told }))
  }

  /** The model's own answers to texts, greedily. */
  answer(texts: readonly string[], onProgress?: (done: number, total: number, what: string) => void): Promise<string[]> {
    const { task, maxNewTokens } = this.#options
    const prompts = texts.map(text =>
      this.#isChat ? `${task}\n\nInput: ${text}\n\nWrite the answer alone.` : `${task}\n\nText: ${text}\nAnswer:`,
    )
    return this.#generated('answers', prompts, { maxNewTokens }, done => onProgress?.(done, texts.length, 'answers')).then(
      answers => answers.map(text => text.replaceAll(/\s+/g, ' ').trim()),
    )
  }

  /** What was kept to go on with. */
  async remove(): Promise<void> {
    for (const file of this.#files) await rm(file, { force: true })
  }

  async #generated(
    part: string,
    prompts: readonly string[],
    settings: { readonly maxNewTokens: number; readonly temperature?: number; readonly topP?: number; readonly seed?: number },
    onDone: (texts: number) => void,
  ): Promise<string[]> {
    const { model, output, signal } = this.#options
    // Texts are found again by what was asked: another call's are not taken for these.
    const path = `${output}-${part}-${hashOf([model.hash, prompts, settings]).slice(0, 8)}.jsonl`
    const asked = `${path}.asked`
    this.#files.push(path, asked)
    if (!(await exists(path))) {
      await replaceText(asked, prompts.map(prompt => `${JSON.stringify({ prompt })}\n`).join(''))
      await generate.toFile({
        ...{ model, input: asked, output: path, chat: this.#isChat, signal },
        ...(!this.#isChat && { stop: ['\n'] }),
        ...settings,
        onProgress: done => onDone(done),
      })
    }
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
    return lines.map(line => (JSON.parse(line) as { readonly text: string }).text)
  }
}
