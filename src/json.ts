/** The value that a text says in JSON; undefined where it says none, as a line that a kill has torn. */
export function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
