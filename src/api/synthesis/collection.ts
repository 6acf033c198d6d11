import { cleaned } from '../../synthesis/asks.js'
import { alike, piecesOf } from '../../synthesis/similarity.js'

/** The rows that are kept of what a model writes: so many of each class, no two alike. It asks nobody for any. */

export interface Rejected {
  /** Without a word in them. */
  readonly empty: number
  /** The name of a class, or what was asked for, in the place of a text. */
  readonly echoed: number
  /** Like another text that was written. */
  readonly repeated: number
  /** Like one of people's own. */
  readonly copied: number
  /** Of a class that was whole by then: some more are asked for than are wanted. */
  readonly surplus: number
  /** Taken for another class. */
  readonly disagreed: number
}

export interface KeptRow {
  readonly text: string
  readonly label: string | undefined
}

export class Collection {
  readonly #quota: ReadonlyMap<string | undefined, number>
  readonly #similar: number
  readonly #own: readonly ReadonlySet<string>[]
  #rows: (KeptRow & { readonly pieces: ReadonlySet<string> })[] = []
  readonly #rejected = { empty: 0, echoed: 0, repeated: 0, copied: 0, surplus: 0, disagreed: 0 }

  /** @param similar from which share of common pieces on two texts are one */
  constructor({
    labels,
    rows,
    similar,
    own,
  }: {
    readonly labels: readonly string[] | undefined
    readonly rows: number
    readonly similar: number
    readonly own: readonly { readonly text: string }[]
  }) {
    const each = labels ?? [undefined]
    // What does not come out even is of the first classes.
    this.#quota = new Map(each.map((label, i) => [label, Math.floor(rows / each.length) + Number(i < rows % each.length)]))
    this.#similar = similar
    this.#own = own.map(({ text }) => piecesOf(text))
  }

  get size(): number {
    return this.#rows.length
  }

  get rows(): readonly KeptRow[] {
    return this.#rows
  }

  get isWhole(): boolean {
    return [...this.missing().values()].every(count => count === 0)
  }

  get rejected(): Rejected {
    return { ...this.#rejected }
  }

  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(
      [...this.#quota.keys()].flatMap(label => (label === undefined ? [] : [[label, this.#count(label)]])),
    )
  }

  /** How many rows of each class there are to come. */
  missing(): ReadonlyMap<string | undefined, number> {
    return new Map([...this.#quota].map(([label, quota]) => [label, quota - this.#count(label)]))
  }

  /**
   * Takes a text in, unless it is none, is there already, or its class is whole.
   * @param asked what it was written for
   * @returns the row that it is
   */
  add(written: string, label: string | undefined, asked: string): KeptRow | undefined {
    const text = cleaned(written)
    const reason = this.#reasonAgainst(text, label, asked)
    if (reason !== undefined) {
      this.#rejected[reason]++
      return undefined
    }
    const row = { text: text!, label, pieces: piecesOf(text!) }
    this.#rows.push(row)
    return row
  }

  /** Takes rows out that are of another class than they were to be. */
  drop(rows: readonly KeptRow[]): void {
    const dropped = new Set(rows)
    this.#rows = this.#rows.filter(row => !dropped.has(row))
    this.#rejected.disagreed += dropped.size
  }

  #reasonAgainst(text: string | undefined, label: string | undefined, asked: string): keyof Rejected | undefined {
    if (text === undefined) return 'empty'
    const pieces = piecesOf(text)
    if (this.#isEcho(text, pieces, asked)) return 'echoed'
    const isLike = (other: ReadonlySet<string>) => alike(pieces, other) >= this.#similar
    if (this.#own.some(isLike)) return 'copied'
    if (this.#rows.some(row => isLike(row.pieces))) return 'repeated'
    return this.#count(label) >= (this.#quota.get(label) ?? 0) ? 'surplus' : undefined
  }

  /** Small models say a class's name, or what they were told, in the place of a text. */
  #isEcho(text: string, pieces: ReadonlySet<string>, asked: string): boolean {
    const said = text.toLowerCase().replace(/[.!]$/, '')
    const names = [...this.#quota.keys()].flatMap(label => (label === undefined ? [] : [label.toLowerCase()]))
    if (names.some(name => said === name || said.includes(`"${name}"`))) return true
    const told = piecesOf(asked)
    return [...pieces].filter(piece => told.has(piece)).length > pieces.size / 2
  }

  #count(label: string | undefined): number {
    return this.#rows.filter(row => row.label === label).length
  }
}
