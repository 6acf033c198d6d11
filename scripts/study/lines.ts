import { appendFileSync, existsSync, readFileSync } from 'node:fs'

/** What a study has finished so far: one JSON value a line, none where there is no file yet. */
export function readLines<T>(path: string): T[] {
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line) as T)
}

export const appendLine = (path: string, line: object) => appendFileSync(path, `${JSON.stringify(line)}\n`)
