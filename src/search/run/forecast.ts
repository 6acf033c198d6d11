import type { SearchConfig } from '../config.js'
import { searchMethods } from '../methods/index.js'
import type { Forecast } from '../moves/method.js'

/** What a search asks for before it has begun, at most, where its method says so. */
export function forecastOf({ search }: SearchConfig, questions: number): { readonly forecast?: Forecast } {
  const forecast = searchMethods.get(search.type).forecast?.(search, { questions, steps: search.steps })
  return forecast === undefined ? {} : { forecast }
}
