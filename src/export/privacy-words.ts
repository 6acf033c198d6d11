/** What an export says of the rows that its prompt came of, where these were private. */

/**
 * @param privacy epsilon, delta, and what they are made of
 * @param what `these words`, `this prompt`
 */
export function privacyWords({ epsilon, delta, ...figures }: Readonly<Record<string, number>>, what: string): string {
  const by = Object.entries(figures).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
  return `Whether a row was among them changes the chance of ${what} by a factor of e^${epsilon?.toPrecision(3)} at most, but for a chance of ${delta?.toPrecision(3)} (differential privacy; ${by.join(', ')}).`
}

/** Of a private search whose prompt has no account. */
export const notPrivate =
  'Anything: these words are not private. They were found by a private search without its noise, or before it had ended, and nothing is promised of them.'
