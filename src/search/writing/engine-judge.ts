import { refuseAborted } from '../../errors.js'
import { encodeChoices } from '../../generate/choices.js'
import type { Generator } from '../../generate/request.js'
import type { Ask, Judge } from '../moves/writer.js'
import { type AskTokenizer, askText, encodeAsk, type WriterOptions } from './engine-writer.js'

const letters = ['A', 'B'].map(letter => ({ text: letter, written: letter }))

/** Compares by likelihood: the letters are forced, one after the other, so that no answer has to be read and none is without a sense. */
export class EngineJudge implements Judge {
  readonly #engine: Generator & { forget(): void }
  readonly #tokenizer: AskTokenizer
  readonly #options: WriterOptions

  constructor(engine: Generator & { forget(): void }, tokenizer: AskTokenizer, options: WriterOptions) {
    this.#engine = engine
    this.#tokenizer = tokenizer
    this.#options = options
  }

  beginRound(): void {
    this.#engine.forget()
  }

  async prefer(asks: readonly Ask[]): Promise<number[]> {
    const preferred: number[] = []
    for (const ask of asks) preferred.push(await this.#preferOne(ask))
    return preferred
  }

  async #preferOne(ask: Ask): Promise<number> {
    const { contextLength, budget, signal } = this.#options
    budget.require()
    const given = encodeAsk(ask, this.#tokenizer, contextLength - 2)
    const { ids, choices } = encodeChoices(this.#tokenizer, askText(ask, this.#tokenizer), given, letters)
    const [a, b] = await Promise.all(
      choices.map(async choice => {
        const { logProbabilities } = await this.#engine.generate({
          ids,
          maxNewTokens: choice.ids.length,
          choices: [choice],
          logProbabilities: true,
          ...(signal && { signal }),
        })
        refuseAborted(signal)
        return logProbabilities!.reduce((sum, value) => sum + value, 0)
      }),
    )
    budget.addCall('judge', { promptTokens: ids.length + 2, generatedTokens: 0 })
    return a! - b!
  }
}
