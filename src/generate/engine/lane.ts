import { BLOCK_LENGTH } from '../../../kernels/attention/cached.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import { GradpromptError } from '../../errors.js'
import { type ActivePrompt, placementOf } from '../../model/active-prompt.js'
import { Forest } from '../../model/forest/forest.js'
import type { GenerationWeights, LanguageModel } from '../../model/language-model.js'
import type { OpenPrograms } from '../../program/open-programs.js'
import { actsOnText, type WeightWidth } from '../programs.js'
import { BlockStore, type CachedPosition, type NewKeyValues } from './block-store.js'
import { decodeInputs, planDecode, sampledRows } from './decode.js'
import { LanePrograms } from './lane-programs.js'
import { type PrefillPlan, planPrefill, prefillInputs, Staging } from './prefill.js'
import { PrefillTurns } from './prefill-turns.js'
import { type PrefixCache, type PrefixNode, rowsOf } from './prefix-cache.js'
import type { Sequence } from './sequence.js'

/** A shorter beginning is copied to each sequence: decoding from shared blocks costs some time of its own. */
const SHARED_FROM = 64
/** Of the sequences under way, the part that a beginning must have to be decoded from together. */
const SHARED_BY = 1 / 4

/** A soft prompt as the engine knows it. */
export interface NamedPrompt {
  readonly name: string
  readonly prompt: ActivePrompt | undefined
}

/**
 * Sequences that run under the same programs: those of one prompt that acts on text, or all others together. Each step computes a few
 * hundred new prompt tokens, or the next token of every sequence whose prompt is done, with guesses at those behind it.
 */
export class Lane {
  readonly #own: BlockStore
  readonly #shared: BlockStore
  readonly #staging = new Staging()
  readonly #programs: LanePrograms
  readonly #model: LanguageModel
  readonly #prefixes: PrefixCache
  readonly #guessing: WeightWidth | undefined
  /** Sequences whose prompts are not in the cache yet. */
  readonly #entering: Sequence[] = []
  readonly #decoding: Sequence[] = []
  /** How many sequences decode from each shared part. */
  readonly #sharers = new Map<PrefixNode, number>()
  readonly #turns: PrefillTurns

  constructor(
    model: LanguageModel,
    prefixes: PrefixCache,
    programs: OpenPrograms,
    /** The prompt that acts on the text of this lane's sequences. */
    acting: ActivePrompt | undefined,
    weights: GenerationWeights,
    /** The width of those weights, where tokens are guessed (see `PromptLookup`). */
    guessing: WeightWidth | undefined,
    interactive: boolean,
  ) {
    this.#model = model
    this.#prefixes = prefixes
    this.#guessing = guessing
    this.#turns = new PrefillTurns(model, interactive)
    this.#programs = new LanePrograms(model, programs, weights, acting)
    this.#own = new BlockStore(model.config)
    this.#shared = new BlockStore(model.config)
    // The first shared block is nobody's: sequences that share nothing look there.
    this.#shared.acquire({ blocks: [] })
  }

  /** Sequences under way. */
  get size(): number {
    return this.#entering.length + this.#decoding.length
  }

  get blocks(): number {
    return this.#own.used + this.#shared.used - 1
  }

  /** Takes a sequence in: its beginning is looked up, and the prompt's own keys are computed when it is the first under it. */
  async enter(sequence: Sequence, { name, prompt }: NamedPrompt): Promise<void> {
    if (prompt && placementOf(prompt, this.#model.config).perSequence) await this.#wholeText(sequence, prompt)
    else {
      const root = prompt ? await this.#promptRoot(name, prompt, sequence) : this.#prefixes.root(name)
      sequence.prefix = this.#prefixes.find(root, sequence.beginning)
      sequence.done = sequence.prefix.tokens
      this.#prefixes.hold(sequence.prefix)
    }
    this.#entering.push(sequence)
  }

  /** One run for the sequences under way. @returns those that it has ended; they have left */
  step(): Promise<Sequence[]> {
    return this.#turns.isDue(this.#entering.length, this.#ready.length) ? this.#prefill() : this.#decode()
  }

  /** Sequences whose next token is known. */
  get #ready(): Sequence[] {
    return this.#decoding.filter(({ waits }) => !waits)
  }

  /** Takes sequences out that are to end: aborted ones, or all of them. */
  remove(ends: (sequence: Sequence) => boolean): Sequence[] {
    const ended = [...this.#entering, ...this.#decoding].filter(ends)
    for (const sequence of ended) this.#leave(sequence)
    return ended
  }

  /** Opens the programs that every request needs. */
  prepare(): Promise<void> {
    return this.#programs.prepare()
  }

  async #prefill(): Promise<Sequence[]> {
    const { config } = this.#model
    this.#own.reserve([...this.#entering, ...this.#decoding].reduce((sum, { reserved }) => sum + reserved, 0))
    const { sequences, rows } = this.#turns.next(this.#entering, this.#decoding.length > 0)
    const plan = planPrefill(sequences, rows, config)
    const { inputs, reads } = prefillInputs(plan, this.#own, config, this.#staging)
    const sampled = [...reads].filter(([sequence]) => sequence.needsLogits()).map(([, place]) => place)
    const running = this.#programs.prefill(inputs, [...new Set(sampled)])
    const [results] = await Promise.all([running, ...[...reads.keys()].map(sequence => sequence.prepare())])
    this.#file(plan, { data: results.keyValues, rows: plan.rows })
    const ended: Sequence[] = []
    const unreal = this.#notFinite(plan, { data: results.keyValues, rows: plan.rows })
    for (const [sequence, place] of reads) {
      if (unreal.has(sequence)) {
        sequence.fail(notFinite())
        ended.push(sequence)
        continue
      }
      this.#entering.splice(this.#entering.indexOf(sequence), 1)
      this.#decoding.push(sequence)
      this.#settleBeginning(sequence)
      if (sequence.accept(results.tokens[place]!, results.logitsOf(place))) ended.push(sequence)
    }
    for (const sequence of ended) this.#leave(sequence)
    return ended
  }

  /** Sequences whose last token has keys or values that are no numbers: it has seen all that stands before it. */
  #notFinite({ stretches }: PrefillPlan, source: NewKeyValues): Set<Sequence> {
    const found = new Set<Sequence>()
    for (const { sequences, row, start, end } of stretches) {
      const ending = sequences.filter(({ ids }) => ids.length === end)
      const last = () => rowsOf(source, this.#model.config.headDim, [row + end - start - 1]).data
      if (ending.length > 0 && !last().every(Number.isFinite)) for (const sequence of ending) found.add(sequence)
    }
    return found
  }

  async #decode(): Promise<Sequence[]> {
    // Sequences that are left: a run before may have ended all of them.
    const ready = this.#ready
    if (ready.length === 0) return []
    for (const sequence of ready) this.#makeRoom(sequence)
    const plan = planDecode(ready, this.#guessing)
    const others = [...this.#entering, ...this.#decoding.filter(({ waits }) => waits)]
    const sharing = this.#sharers.size > 0
    const stores = { own: this.#own, shared: sharing ? this.#shared : undefined }
    const inputs = decodeInputs(plan, stores, others, this.#model.config)
    const running = this.#programs.decode(inputs, { sharing, sampled: sampledRows(plan) })
    const prepared = plan.sequences.map((sequence, i) => sequence.prepare(plan.guesses[i]))
    const [results] = await Promise.all([running, ...prepared])
    const source = { data: results.keyValues, rows: plan.rows }
    const ended: Sequence[] = []
    for (const [i, sequence] of plan.sequences.entries()) {
      const first = plan.firstRows[i]!
      const accepted = sequence.acceptGuessed(plan.guesses[i]!, ahead => ({
        likeliest: results.tokens[first + ahead]!,
        logits: results.logitsOf(first + ahead),
      }))
      if (accepted === undefined) ended.push(sequence)
      else this.#appendNext(sequence, source, Array.from({ length: accepted }, (_, ahead) => first + ahead)) // biome-ignore format: one row a token
    }
    for (const sequence of ended) this.#leave(sequence)
    return ended
  }

  /** Puts away what a run of prefill has computed: whole parts that several sequences have alike, and the rest in their own blocks. */
  #file(plan: PrefillPlan, source: NewKeyValues): void {
    const rowsOfSequence = new Map<Sequence, { row: number; alone: boolean }[]>()
    for (const stretch of plan.stretches) {
      for (const sequence of stretch.sequences) {
        const list = rowsOfSequence.get(sequence) ?? []
        rowsOfSequence.set(sequence, list)
        for (let i = stretch.start; i < stretch.end; i++)
          list.push({ row: stretch.row + i - stretch.start, alone: stretch.sequences.length === 1 })
      }
    }
    for (const [sequence, rows] of rowsOfSequence) {
      const end = sequence.done + rows.length
      if (sequence.prefix && sequence.ownLength === 0) this.#extendPrefix(sequence, rows, source, end)
      // The rest of a common stretch is computed again with what follows, so that the sequences stay together.
      if (end < sequence.ids.length && sequence.ownLength === 0 && sequence.prefix && rows.at(-1)?.alone === false) continue
      const skipped = rows.length - (end - sequence.done)
      this.#appendNext(
        sequence,
        source,
        rows.slice(skipped).map(({ row }) => row),
      )
    }
  }

  /** Moves the part of a sequence that comes from the prefix cache forward over whole parts that others have or had as well. */
  #extendPrefix(
    sequence: Sequence,
    rows: readonly { readonly row: number; readonly alone: boolean }[],
    source: NewKeyValues,
    end: number,
  ): void {
    const { beginning } = sequence
    const first = sequence.done
    let node = sequence.prefix!
    while (node.tokens + BLOCK_LENGTH <= end) {
      const part = rows.slice(node.tokens - first, node.tokens - first + BLOCK_LENGTH)
      const known = this.#prefixes.part(node, beginning) !== undefined || part.every(({ alone }) => !alone)
      const next = this.#prefixes.see(node, beginning)!
      if (!known) break
      if (!next.keyValues) {
        const positions = part.map((_, i): CachedPosition => ({ position: sequence.positionOf(node.tokens + i), virtual: false }))
        const own = rowsOf(
          source,
          this.#model.config.headDim,
          part.map(({ row }) => row),
        )
        this.#prefixes.hold(next)
        this.#prefixes.keep(next, positions, own)
        this.#prefixes.release(next)
      }
      node = next
    }
    if (node === sequence.prefix) return
    this.#prefixes.hold(node)
    this.#prefixes.release(sequence.prefix!)
    sequence.prefix = node
    sequence.done = node.tokens
  }

  /** Decides how a sequence decodes from its beginning: together with others, or from a copy in its own blocks. */
  #settleBeginning(sequence: Sequence): void {
    const { prefix } = sequence
    if (!prefix) return
    const least = Math.max(2, Math.ceil(this.size * SHARED_BY))
    const path = prefix.path()
    const last = path.findLastIndex(node => node.users >= least && node.length >= SHARED_FROM)
    for (const node of path.slice(0, last + 1)) {
      this.#sharers.set(node, (this.#sharers.get(node) ?? 0) + 1)
      if (node.blocks.length === 0) this.#fill(node)
    }
    for (const { keyValues, positions } of path.slice(last + 1))
      if (keyValues) this.#append(sequence, positions, keyValues, [...positions.keys()])
    if (last >= 0) {
      sequence.shared = path[last]!
      this.#prefixes.hold(sequence.shared)
    }
    this.#prefixes.release(prefix)
    sequence.prefix = undefined
  }

  /** Lays a part's keys and values into shared blocks. */
  #fill(node: PrefixNode): void {
    const rows = [...node.positions.keys()]
    for (let start = 0; start < rows.length; start += BLOCK_LENGTH) {
      const end = start + BLOCK_LENGTH
      this.#shared.write(this.#shared.acquire(node), 0, node.positions.slice(start, end), node.keyValues!, rows.slice(start, end))
    }
  }

  #leave(sequence: Sequence): void {
    for (const list of [this.#entering, this.#decoding]) {
      const at = list.indexOf(sequence)
      if (at >= 0) list.splice(at, 1)
    }
    this.#own.release(sequence)
    for (const node of sequence.shared?.path() ?? []) {
      const left = this.#sharers.get(node)! - 1
      if (left > 0) this.#sharers.set(node, left)
      else {
        this.#sharers.delete(node)
        this.#shared.release(node)
      }
    }
    for (const node of [sequence.prefix, sequence.shared]) if (node) this.#prefixes.release(node)
    sequence.prefix = sequence.shared = undefined
  }

  /** A block with a place for the next position. */
  #makeRoom(sequence: Sequence): void {
    if (sequence.ownLength === sequence.blocks.length * BLOCK_LENGTH) this.#own.acquire(sequence)
  }

  /** Adds the next tokens of a sequence's own. */
  #appendNext(sequence: Sequence, source: NewKeyValues, rows: readonly number[]): void {
    const at = rows.map((_, i): CachedPosition => ({ position: sequence.positionOf(sequence.done + i), virtual: false }))
    this.#append(sequence, at, source, rows)
    sequence.done += rows.length
  }

  #append(sequence: Sequence, at: readonly CachedPosition[], source: NewKeyValues, rows: readonly number[]): void {
    for (let start = 0; start < rows.length; ) {
      this.#makeRoom(sequence)
      const place = sequence.ownLength % BLOCK_LENGTH
      const end = Math.min(rows.length, start + BLOCK_LENGTH - place)
      this.#own.write(sequence.blocks.at(-1)!, place, at.slice(start, end), source, rows.slice(start, end))
      sequence.ownLength += end - start
      start = end
    }
  }

  /** Where texts under a prompt begin: its virtual tokens, and the first token where they stand behind it. */
  async #promptRoot(name: string, prompt: ActivePrompt, { ids, beginning, promptLength }: Sequence): Promise<PrefixNode> {
    const placement = placementOf(prompt, this.#model.config)
    const afterFirst = placement.position === 'after-bos' && placement.numVirtualTokens > 0
    const root = this.#prefixes.root(name)
    const node = afterFirst ? this.#prefixes.see(root, beginning, 1)! : root
    if (node.keyValues || placement.numVirtualTokens === 0) return node
    const text = afterFirst ? ids.slice(0, 1) : []
    const forest = new Forest([{ ids: text, instructionLength: promptLength }], placement)
    const source = await this.#programs.promptKeys(prompt, forest)
    const virtual = Array.from({ length: placement.numVirtualTokens }, (_, i) => i)
    const rows = [...virtual, ...text.map((_, i) => virtual.length + i)]
    const positions = rows.map(row => ({ position: forest.positions[row]!, virtual: row < virtual.length }))
    this.#prefixes.keep(node, positions, rowsOf(source, this.#model.config.headDim, rows))
    return node
  }

  /** The keys of a text whose virtual tokens are made from the text itself. Its last token is left for the run that reads it. */
  async #wholeText(sequence: Sequence, prompt: ActivePrompt): Promise<void> {
    const placement = placementOf(prompt, this.#model.config)
    const forest = new Forest([{ ids: sequence.ids }], placement)
    const source = await this.#programs.promptKeys(prompt, forest)
    const { numVirtualTokens } = placement
    const virtual = Array.from({ length: numVirtualTokens }, (_, i) => forest.virtualRow(0, i))
    const rows = [...virtual, ...Array.from({ length: sequence.ids.length - 1 }, (_, i) => forest.tokenRow(0, i))]
    const at = rows.map((row, i): CachedPosition => ({ position: forest.positions[row]!, virtual: i < numVirtualTokens }))
    this.#append(sequence, at, source, rows)
    sequence.done = sequence.ids.length - 1
  }
}

/** Whatever is likeliest among such numbers is the first token, or the end. */
const notFinite = () =>
  new GradpromptError('not-finite', 'what the model computes of this text is not finite', {
    found: 'NaN or an infinity among its keys and values',
    hint: 'the prompt or the weights hold numbers that are too large',
    exitCode: 1,
  })

/** The lane of a prompt: sequences under prompts that act by their virtual tokens alone run together. */
export const laneOf = ({ name, prompt }: NamedPrompt, model: ModelConfig): string =>
  prompt && actsOnText(prompt, model) ? name : ''
