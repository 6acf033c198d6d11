import { plainText } from './failure.js'

/** Where a command writes. Nothing that comes from a file can control the terminal. */
export interface Output {
  readonly json: boolean
  readonly quiet: boolean
  /** A result for people: standard output, or standard error when that holds JSON. */
  text(text: string): void
  /** News on the way: standard error; silent with `--quiet`. */
  note(text: string): void
  /** A line of JSON on standard output, when it is asked for. */
  object(value: unknown): void
}

export function createOutput({ json, quiet }: { json?: unknown; quiet?: unknown }): Output {
  const [asJson, asQuiet] = [json === true, quiet === true]
  return {
    json: asJson,
    quiet: asQuiet,
    text(text) {
      if (asJson && asQuiet) return
      const stream = asJson ? process.stderr : process.stdout
      stream.write(`${plainText(text)}\n`)
    },
    note(text) {
      if (!asQuiet) process.stderr.write(`${plainText(text)}\n`)
    },
    object(value) {
      if (asJson) process.stdout.write(`${JSON.stringify(value)}\n`)
    },
  }
}

/** Shows warnings of a computation that has nothing else to tell on its way. */
export const warningsTo =
  (output: Output) =>
  (event: { readonly event: string }): void => {
    output.object(event)
    if (event.event !== 'warning') return
    const { code, message } = event as { readonly event: string; readonly code?: string; readonly message?: string }
    output.note(`warning[${code}]: ${message}`)
  }

/** Columns of text, two spaces apart; numbers (`align: 'right'`) stand under each other. */
export function table(
  rows: readonly (readonly string[])[],
  { align = [] }: { align?: readonly ('left' | 'right')[] } = {},
): string {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length)
    })
  const pad = (cell: string, i: number) => (align[i] === 'right' ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))
  return rows.map(row => row.map(pad).join('  ').trimEnd()).join('\n')
}

/** `11520` -> `11,520` */
export const count = (value: number): string => value.toLocaleString('en-US')

/** `1 row`, `11,520 rows` */
export const plural = (value: number, noun: string): string => `${count(value)} ${noun}${value === 1 ? '' : 's'}`

/** `98.0 MB`, `1.25 GB` */
export function bytes(value: number): string {
  const [unit, size] = value >= 1e9 ? ['GB', 1e9] : value >= 1e6 ? ['MB', 1e6] : ['kB', 1e3]
  return `${(value / (size as number)).toFixed(unit === 'GB' ? 2 : 1)} ${unit}`
}

/** A text on one line, in quotes, cut to `width`. */
export function quoted(text: string, width = 80): string {
  const whole = JSON.stringify(text)
  return whole.length <= width ? whole : `${whole.slice(0, width - 2)}…"`
}

export const shorten = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, width - 1)}…`)
