import type { DataNotice } from '../../data/readers/reader.js'
import { shorten } from '../../data/readers/records.js'
import { compileTemplate } from '../../data/texts/template.js'
import { GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import type { AnswerCursor } from './cursor.js'

/**
 * Answers that are limited to a set: which tokens may come next. The choices stand in a prefix tree of their tokens; what is chosen
 * among those is not its matter. So each token is chosen among those that some choice goes on with: that is quick, and not the same as the
 * choice of the highest likelihood as a whole, which scoring finds.
 */

/** An answer that may be given. */
export interface AnswerChoice {
  /** What it reads as. */
  readonly text: string
  /** Its tokens behind the prompt. */
  readonly ids: readonly number[]
  /** How it is written there, where that is not its text: by this it gets tokens behind another prompt. */
  readonly written?: string
}

/** A choice before it has tokens: what it reads as, and how it is written behind what is asked. */
export interface WrittenChoice {
  readonly text: string
  readonly written: string
}

/** @param answer of the prompt, in whose only column a choice stands as answers have stood there when it was learned */
export function writtenChoices(choices: readonly string[] | undefined, answer: string | undefined): WrittenChoice[] | undefined {
  const write = writtenIn(answer)
  return choices?.map(text => ({ text, written: write(text) }))
}

/** How an answer is written: in the only column of the prompt's own, if it has one. */
export function writtenIn(answer: string | undefined): (text: string) => string {
  const { columns, render } = compileTemplate(answer ?? '')
  const [column] = columns
  return text => (columns.length === 1 ? render({ [column!]: text }) : text)
}

/** Of a prompt: the template that its answers are written in, and whether it has one for what is asked. */
export interface AnswerPlace {
  readonly answer?: string | undefined
  readonly template?: unknown
}

/**
 * The choices of a request: those that it names, or the labels of the run that answers it.
 * @param labels of classes that were learned without an end
 */
export function choicesOf(
  named: readonly string[] | undefined,
  { answer, template }: AnswerPlace,
  labels: readonly string[] | undefined,
  announce: (notice: DataNotice) => void,
): WrittenChoice[] | undefined {
  if (named !== undefined || labels === undefined || template === undefined) return writtenChoices(named, answer)
  const { code, message } = limitedToLabels(labels)
  announce({ code, message: `${message}: other choices, or a raw text, are answered otherwise` })
  return writtenChoices(labels, answer)
}

/** Said where nothing but labels is answered. */
export const limitedToLabels = (labels: readonly string[]): DataNotice => ({
  code: 'limited-to-labels',
  message: `answers are the labels that the prompt learned, ${labels.map(shorten).join(', ')}`,
})

/** Characters of what is asked that decide how a text behind it is cut into tokens. */
const tailLength = 64

/**
 * The tokens of choices behind a text, as those of the joined text are. Where a token straddles the border, the text's last ones belong
 * to the choices.
 * @param ids of the text
 */
export function encodeChoices(
  tokenizer: Pick<Tokenizer, 'encode'>,
  text: string,
  ids: readonly number[],
  choices: readonly WrittenChoice[],
): { readonly ids: readonly number[]; readonly choices: readonly AnswerChoice[] } {
  const plain = (part: string) => tokenizer.encode(part, { addSpecialTokens: false })
  // Half a character is none.
  const tail = text.slice(-tailLength).replace(/^[\udc00-\udfff]/, '')
  const base = plain(tail)
  const joints = choices.map(({ written }) => plain(tail + written))
  const border = joints.reduce((least, joint) => Math.min(least, commonLength(base, joint)), base.length)
  const moved = base.length - border
  const isSame = moved < ids.length && base.slice(border).every((id, i) => ids[ids.length - moved + i] === id)
  if (!isSame) return { ids, choices: choices.map(({ text, written }) => ({ text, written, ids: plain(written) })) }
  return {
    ids: ids.slice(0, ids.length - moved),
    choices: choices.map(({ text, written }, i) => ({ text, written, ids: joints[i]!.slice(border) })),
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

/** New tokens that any of them may need, with the one that ends it. */
export const tokensOfChoices = (choices: readonly AnswerChoice[]): number =>
  1 + choices.reduce((most, { ids }) => Math.max(most, ids.length), 0)

interface Node {
  readonly next: Map<number, Node>
  /** The choice that ends here. */
  choice: AnswerChoice | undefined
}

/** A way through the tree: one for each answer. */
export class ChoiceCursor implements AnswerCursor {
  /** A choice is told as a whole: what it reads as need not be what its tokens do. */
  readonly readsAsTokens = false
  readonly certainty = 1
  #node: Node
  readonly #endTokenIds: readonly number[]

  /**
   * @param endTokenIds tokens that end an answer, where another choice goes on
   * @throws GradpromptError `invalid-option`: no choices, one without tokens, one that begins another where nothing ends an answer
   */
  constructor(choices: readonly AnswerChoice[], endTokenIds: readonly number[]) {
    this.#endTokenIds = endTokenIds
    const root = treeOf(choices)
    if (endTokenIds.length === 0) refuseBeginnings(root)
    this.#node = root
  }

  /** The choice that the tokens so far are. */
  get choice(): AnswerChoice | undefined {
    return this.#node.choice
  }

  /** Whether nothing can follow: the choice is made. */
  get isEnd(): boolean {
    return this.#node.next.size === 0
  }

  /** The tokens that may come next, at least one unless `isEnd`. */
  get allowed(): number[] {
    return [...this.#node.next.keys(), ...(this.#node.choice === undefined ? [] : this.#endTokenIds)]
  }

  /** Takes a token that is allowed and does not end the answer. */
  take(id: number): void {
    const next = this.#node.next.get(id)
    if (next === undefined) throw new RangeError(`the token ${id} goes on with no choice`)
    this.#node = next
  }

  /** The tokens that must come next: at most so many. */
  certain(most: number): number[] {
    const ids: number[] = []
    let node = this.#node
    while (ids.length < most && node.next.size === 1 && node.choice === undefined) {
      const [id, next] = [...node.next][0]!
      ids.push(id)
      node = next
    }
    return ids
  }

  accepts(ids: readonly number[]): number {
    let node: Node | undefined = this.#node
    let count = 0
    for (const id of ids) {
      node = node.next.get(id)
      if (node === undefined) break
      count++
    }
    return count
  }

  async prepare(): Promise<void> {}

  answerOf(text: string): string {
    return this.choice?.text ?? text
  }
}

/** Nobody changes a tree, and all samples of a prompt go through the same. */
const trees = new WeakMap<readonly AnswerChoice[], Node>()

function treeOf(choices: readonly AnswerChoice[]): Node {
  const known = trees.get(choices)
  if (known !== undefined) return known
  const root: Node = { next: new Map(), choice: undefined }
  for (const choice of choices) {
    if (choice.ids.length === 0) throw unusable(`${JSON.stringify(choice.text)}, which has no tokens`)
    let node = root
    for (const id of choice.ids) {
      const next = node.next.get(id) ?? { next: new Map(), choice: undefined }
      node.next.set(id, next)
      node = next
    }
    node.choice ??= choice
  }
  if (root.next.size === 0) throw unusable('none')
  trees.set(choices, root)
  return root
}

function refuseBeginnings(node: Node): void {
  if (node.choice !== undefined && node.next.size > 0)
    throw unusable(`${JSON.stringify(node.choice.text)}, with which another begins, and no token that ends an answer`)
  for (const next of node.next.values()) refuseBeginnings(next)
}

const unusable = (found: string) =>
  new GradpromptError('invalid-option', 'choices are not usable', {
    found,
    expected: 'one text or more that differ, such as positive and negative',
  })
