import type { SearchConfig } from '../config.js'
import type { Forecast } from '../moves/method.js'

/** A forecast in words. */

const number = (count: number) => Math.round(count).toLocaleString('en')

/** `1,200 answers, 20 texts of the critic` */
export const forecastCounts = ({ answers, written, judged = 0 }: Forecast): string =>
  [
    `${number(answers)} answers`,
    ...(written > 0 ? [`${number(written)} texts of the critic`] : []),
    ...(judged > 0 ? [`${number(judged)} comparisons`] : []),
  ].join(', ')

/** The same with the tokens that it comes to at most. */
export function forecastWords(forecast: Forecast, { search }: SearchConfig): string {
  const { maxNewTokens, extractor, maxWrittenTokens = 0 } = search as typeof search & { readonly maxWrittenTokens?: number }
  const tokens = (extractor === undefined ? 0 : forecast.answers * maxNewTokens!) + forecast.written * maxWrittenTokens
  return `${forecastCounts(forecast)}${tokens > 0 ? `, ${number(tokens)} generated tokens` : ''}`
}
