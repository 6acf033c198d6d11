import { refuseAborted } from '../../errors.js'
import { encodeChoices } from '../../generate/limits/choices.js'
import type { Ask, Judge } from '../moves/writer.js'
import { askText, EngineRole } from './engine-role.js'

const letters = ['A', 'B'].map(letter => ({ text: letter, written: letter }))

/** Compares by likelihood: the letters are forced, one after the other, so that no answer has to be read and none is without a sense. */
export class EngineJudge extends EngineRole implements Judge {
  async prefer(asks: readonly Ask[]): Promise<number[]> {
    const preferred: number[] = []
    for (const ask of asks) preferred.push(await this.#preferOne(ask))
    return preferred
  }

  async #preferOne(ask: Ask): Promise<number> {
    const { budget, signal } = this.options
    budget.require()
    const given = this.encoded(ask, 2)
    const { ids, choices } = encodeChoices(this.tokenizer, askText(ask, this.tokenizer), given, letters)
    const [a, b] = await Promise.all(
      choices.map(async choice => {
        const { logProbabilities } = await this.engine.generate({
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
