import type { SearchConfig } from '../config.js'
import { searchMethods } from '../methods/index.js'
import type { Forecast } from '../moves/method.js'

/** What a search asks for before it has begun, at most, where its method says so. */
export function forecastOf({ search }: SearchConfig, questions: number): { readonly forecast?: Forecast } {
  const forecast = searchMethods.get(search.type).forecast?.(search, { questions, steps: search.steps })
  return forecast === undefined ? {} : { forecast }
}

/** The same in words, with the tokens that it comes to at most. */
export function forecastWords(
  { answers, written, judged = 0 }: Forecast,
  { search: { maxNewTokens, extractor, ...search } }: SearchConfig,
): string {
  const number = (count: number) => Math.round(count).toLocaleString('en')
  const { maxWrittenTokens } = search as { readonly maxWrittenTokens?: number }
  const tokens = (extractor === undefined ? 0 : answers * maxNewTokens!) + written * (maxWrittenTokens ?? 0)
  return [
    `${number(answers)} answers`,
    ...(written > 0 ? [`${number(written)} texts of the critic`] : []),
    ...(judged > 0 ? [`${number(judged)} comparisons`] : []),
    ...(tokens > 0 ? [`${number(tokens)} generated tokens`] : []),
  ].join(', ')
}
