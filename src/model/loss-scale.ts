/**
 * Loss scaling (Micikevicius et al. 2018): numbers of `fp16` below 6e-8 are nothing, and gradients are that small. So the loss is multiplied
 * by a power of two before it is differentiated, and the gradients are divided by it in float32. It knows neither programs nor losses.
 */

/** What of it changes: a run that goes on needs it to come to the same bits. */
export interface LossScaleState {
  readonly scale: number
  /** Gradients in turn that were finite. */
  readonly good: number
}

/** Before the first gradient. */
export const initialLossScale: LossScaleState = { scale: 2 ** 16, good: 0 }
const most = 2 ** 24
/** After so many gradients that were finite the scale is doubled. */
const growth = 200

export class LossScale {
  #scale = initialLossScale.scale
  #good = initialLossScale.good

  /**
   * Gradients with as large a scale as lets them be finite: it is halved, and they are computed again, until they are. Where they are not
   * finite without one either, they are returned so.
   *
   * @param compute the loss, and gradients of the loss times the scale, which are divided by it in place
   */
  async gradients<Result extends { readonly loss: number; readonly scaled: readonly Float32Array[] }>(
    compute: (scale: number) => Promise<Result>,
  ): Promise<Result> {
    for (;;) {
      const scale = this.#scale
      const result = await compute(scale)
      // No scale mends a loss that is none.
      if (!Number.isFinite(result.loss)) return result
      if (scale > 1 && !result.scaled.every(numbers => numbers.every(Number.isFinite))) {
        // Another computation may have halved it meanwhile.
        this.#scale = Math.min(this.#scale, scale / 2)
        this.#good = 0
        continue
      }
      for (const numbers of result.scaled) for (let i = 0; i < numbers.length; i++) numbers[i]! /= scale
      if (++this.#good >= growth) {
        this.#scale = Math.min(most, this.#scale * 2)
        this.#good = 0
      }
      return result
    }
  }

  get state(): LossScaleState {
    return { scale: this.#scale, good: this.#good }
  }

  restore({ scale, good }: LossScaleState): void {
    this.#scale = scale
    this.#good = good
  }
}
