import { refuseAborted } from '../../errors.js'
import { encodeChoices } from '../../generate/limits/choices.js'
import type { Ask, Judge } from '../moves/writer.js'
import { askText, EngineRole } from './engine-role.js'

/** Compares by likelihood: answers are forced, one after the other, so that none has to be read and none is without a sense. */
export class EngineJudge extends EngineRole implements Judge {
  async prefer(asks: readonly Ask[]): Promise<number[]> {
    const preferred: number[] = []
    for (const ask of asks) {
      const [a, b] = await this.#likelihoods(ask, ['A', 'B'])
      preferred.push(a! - b!)
    }
    return preferred
  }

  async choose(asks: readonly Ask[], labels: readonly string[]): Promise<string[]> {
    const chosen: string[] = []
    for (const ask of asks) {
      const likelihoods = await this.#likelihoods(ask, labels)
      chosen.push(labels[likelihoods.indexOf(Math.max(...likelihoods))]!)
    }
    return chosen
  }

  /** @returns of each answer its log-probability behind the ask, in nats */
  async #likelihoods(ask: Ask, answers: readonly string[]): Promise<number[]> {
    const { budget, signal } = this.options
    budget.require()
    // A letter is two tokens at most.
    const room = Math.max(2, ...answers.map(text => this.tokenizer.encode(` ${text}`, { addSpecialTokens: false }).length + 1))
    const given = this.encoded(ask, room)
    const written = answers.map(text => ({ text, written: text }))
    const { ids, choices } = encodeChoices(this.tokenizer, askText(ask, this.tokenizer), given, written)
    const likelihoods = await Promise.all(
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
    budget.addCall('judge', { promptTokens: ids.length + answers.length, generatedTokens: 0 })
    return likelihoods
  }
}
