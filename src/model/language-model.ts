import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { tf } from '../../kernels/tf.js'
import { tokenCrossEntropy, tokenLogProbabilities } from '../../kernels/token-cross-entropy.js'
import type { ModelConfig } from '../../models/family.js'
import { GradpromptError } from '../errors.js'
import { loadTokenizer, type Tokenizer } from '../formats/tokenizer.js'
import { defaultThreads, Program, type ProgramInput, type ProgramSpec, type WeightFile } from '../program/program.js'
import type { Device } from '../program/session.js'
import type { LayerState, PromptMethod } from '../prompts/method.js'
import { numSoftTokens } from '../prompts/soft-rows.js'
import { type Checkpoint, openCheckpoint, shortName } from './checkpoint.js'
import { Forest, forestSpec, type PromptPlacement, type Sequence, type Target } from './forest.js'
import { forwardForest, frozenLayers, targetsOf } from './forward.js'
import { MemoryPlan } from './memory.js'
import { quantizedWeights } from './quantized-weights.js'
import { hiddenDifference, type Teaching, teacherDivergence } from './teacher.js'
import { hashModel, weightFile } from './weight-file.js'

export interface LoadOptions {
  readonly device?: Device
  readonly threads?: number
  /** Memory budget in bytes; by default what the machine has free. */
  readonly memory?: number
  /** Called while the weights are dequantised for the first time. */
  readonly onProgress?: (fraction: number) => void
}

/** A soft prompt as plain rows, `[m, hiddenSize]`. */
export interface SoftPrompt {
  readonly data: Float32Array
  readonly shape: readonly [number, number]
  /** Where the rows stand; by default before everything, as in PEFT. */
  readonly position?: 'before-bos' | 'after-bos'
}

/** A row for training or scoring: `labels[i]` is `ids[i]`, or -100 where there is no loss. */
export interface LabelledRow {
  readonly ids: readonly number[]
  readonly labels: readonly number[]
  /** Which of the prompt's tasks it belongs to, where the prompt has several. */
  readonly task?: number | undefined
}

/** A row to score: a context, and what may follow it. */
export interface CandidateRow {
  readonly context: readonly number[]
  readonly candidates: readonly { readonly ids: readonly number[] }[]
  readonly task?: number | undefined
}

/** What acts in front of the text: a method with its configuration and the values of its parameters. */
export interface ActivePrompt {
  readonly method: PromptMethod
  readonly config: { readonly type: string }
  readonly parameters: ReadonlyMap<string, Float32Array>
}

/** A row limit that no batch on a machine of today reaches, so that one program serves all of them. */
const MAX_ROWS = 1 << 17
const IGNORED = -100

type Kind = 'gradient' | 'gradientFromFrozen' | 'logProbabilities' | 'logits' | 'logitsAndHidden'

export interface GradientOptions {
  readonly labelSmoothing?: number
  /** Adds `weight temperature²` times the mean divergence from a teacher over the label tokens. */
  readonly teaching?: Teaching | undefined
  /** For each row what `frozenRows` says of it: the layers below are then not computed again. */
  readonly frozen?: readonly Float32Array[] | undefined
}

/** A causal language model: frozen weights on disk, and programs that are compiled when they are first needed. */
export class LanguageModel {
  private readonly programs = new Map<string, Promise<Program>>()
  private embedding: FileHandle | undefined
  private stored: Promise<WeightFile> | undefined

  private constructor(
    readonly checkpoint: Checkpoint,
    readonly tokenizer: Tokenizer,
    /** Hash of the model's files. */
    readonly hash: string,
    /** The weights as every program of this model maps them. */
    readonly weights: WeightFile,
    readonly device: Device,
    readonly threads: number,
    readonly memory: MemoryPlan,
  ) {}

  /** @throws GradpromptError as `openCheckpoint` and `loadTokenizer` do; `not-enough-memory`, `disk-full` */
  static async load(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
    const checkpoint = await openCheckpoint(name)
    try {
      const memory = new MemoryPlan(checkpoint, options.memory)
      memory.requireWeights()
      const [tokenizer, hash] = await Promise.all([loadTokenizer(checkpoint.tokenizer), hashModel(checkpoint.files)])
      const weights = await weightFile(checkpoint, hash, options.onProgress)
      return new LanguageModel(
        checkpoint,
        tokenizer,
        hash,
        weights,
        options.device ?? 'cpu',
        options.threads ?? defaultThreads(),
        memory,
      )
    } finally {
      await checkpoint.file.close()
    }
  }

  get config(): ModelConfig {
    return this.checkpoint.config
  }

  /**
   * The weights as the checkpoint stores them, in 4 and 8 bits, for programs that decode.
   * @throws GradpromptError `disk-full` when they cannot be written to the cache
   */
  storedWeights(): Promise<WeightFile> {
    this.stored ??= quantizedWeights(this.checkpoint, this.weights)
    this.stored.catch(() => {
      this.stored = undefined
    })
    return this.stored
  }

  /** Short name: of the folder or file. */
  get name(): string {
    return shortName(this.checkpoint)
  }

  /** Rows of the embedding table as the first layer takes them: [ids.length, d]. */
  async embeddingRows(ids: readonly number[]): Promise<Float32Array> {
    const { hiddenSize, vocabSize } = this.config
    const { offset, file } = this.weights.tensors.get(this.checkpoint.family.embedding)!
    this.embedding ??= await open(join(this.weights.folder, file), 'r')
    const rows = new Float32Array(ids.length * hiddenSize)
    for (const [i, id] of ids.entries()) {
      if (!(id >= 0 && id < vocabSize))
        throw new GradpromptError('invalid-token-id', 'A token id lies outside the vocabulary', {
          found: String(id),
          expected: `0 to ${vocabSize - 1}`,
        })
      await this.embedding.read(
        new Uint8Array(rows.buffer, i * hiddenSize * 4, hiddenSize * 4),
        0,
        hiddenSize * 4,
        offset + id * hiddenSize * 4,
      )
    }
    return rows
  }

  /** The whole embedding table, [V, d]. */
  async embeddingTable(): Promise<Float32Array> {
    const { offset, byteLength, file } = this.weights.tensors.get(this.checkpoint.family.embedding)!
    this.embedding ??= await open(join(this.weights.folder, file), 'r')
    const table = new Float32Array(byteLength / 4)
    await this.embedding.read(new Uint8Array(table.buffer), 0, byteLength, offset)
    return table
  }

  /**
   * What the layers make of rows that stand alone at positions 0, 1, …: what a prompt of keys, or one before later layers, starts from.
   *
   * @param rows as the first layer takes them, [m, hiddenSize]
   * @returns one for each layer
   */
  async keysAndValues(rows: Float32Array): Promise<LayerState[]> {
    const { hiddenSize, numLayers, numKeyValueHeads, headDim, intermediateSize } = this.config
    const prompt = plainPrompt({ data: rows, shape: [rows.length / hiddenSize, hiddenSize] }, this.config)
    const placement = placementOf(prompt, this.config)
    const forest = new Forest([{ ids: [] }], placement)
    const { inputs } = forest.inputs([{ row: placement.numVirtualTokens - 1, id: 0, weight: 0 }])
    const program = await Program.compile(this.statesSpec(prompt, placement), { device: this.device, threads: this.threads })
    try {
      const results = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as Record<string, Float32Array>
      const layer = (name: string, size: number) => (index: number) => results[name]!.slice(index * size, (index + 1) * size)
      const size = placement.numVirtualTokens * numKeyValueHeads * headDim
      const [hidden, key, value] = [layer('hidden', rows.length), layer('keys', size), layer('values', size)]
      const neurons = layer('neurons', intermediateSize)
      return Array.from({ length: numLayers }, (_, i) => ({
        hidden: hidden(i),
        key: key(i),
        value: value(i),
        neurons: neurons(i),
      }))
    } finally {
      await program.dispose()
    }
  }

  /**
   * Logits at every position of each row.
   *
   * @param rows token ids
   * @param soft a prompt that acts on every row, as plain rows in front of it or as a method's; its own positions have no logits in
   *   the result
   * @returns for each row [length * vocabSize]
   */
  async logits(rows: readonly (readonly number[])[], soft?: SoftPrompt | ActivePrompt): Promise<Float32Array[]> {
    const prompt = soft && ('method' in soft ? soft : plainPrompt(soft, this.config))
    const { vocabSize } = this.config
    const results: Float32Array[] = []
    for (const [start, end] of this.memory.split(
      rows.map(ids => ids.length),
      { headRows: rows.map(ids => ids.length) },
    )) {
      const part = rows.slice(start, end)
      this.checkIds(part, prompt)
      const forest = new Forest(
        part.map(ids => ({ ids })),
        placementOf(prompt, this.config),
      )
      const targets = part.flatMap((ids, i) => ids.map((_, j): Target => ({ row: forest.rowOf(i, j)!, id: 0, weight: 0 })))
      if (targets.length === 0) {
        results.push(...part.map(() => new Float32Array(0)))
        continue
      }
      const { inputs, readRows } = forest.inputs(targets)
      const program = await this.program('logits', prompt, forest.hasChildren)
      const { logits } = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as { logits: Float32Array }
      const place = new Map(readRows.map((row, i) => [row, i]))
      let target = 0
      for (const ids of part) {
        const own = new Float32Array(ids.length * vocabSize)
        for (let j = 0; j < ids.length; j++) {
          const at = place.get(targets[target++]!.row)! * vocabSize
          own.set(logits.subarray(at, at + vocabSize), j * vocabSize)
        }
        results.push(own)
      }
    }
    return results
  }

  /**
   * Mean cross entropy of the label tokens of all rows, and its gradient with respect to a soft prompt before every row.
   *
   * @returns loss, and the gradient [m * hiddenSize]
   */
  async lossAndGradient({
    softPrompt,
    rows,
  }: {
    softPrompt: SoftPrompt
    rows: readonly LabelledRow[]
  }): Promise<{ loss: number; gradient: Float32Array }> {
    const { loss, gradients } = await this.promptGradient(plainPrompt(softPrompt, this.config), rows)
    return { loss, gradient: gradients.get('prompt')! }
  }

  /**
   * Loss of a batch and its gradient with respect to a prompt's parameters. A batch that does not fit into the memory budget is
   * computed in parts; the sum of their gradients is the batch's.
   *
   * @returns the loss, with what a teacher adds; `divergence` is the mean divergence from it alone, in nats
   */
  async promptGradient(
    prompt: ActivePrompt,
    rows: readonly LabelledRow[],
    { labelSmoothing = 0, teaching, frozen }: GradientOptions = {},
  ): Promise<{ loss: number; divergence?: number; gradients: Map<string, Float32Array>; rows: number }> {
    const labelled = rows.map(row => labelPositions(row))
    const count = labelled.reduce((sum, positions) => sum + positions.length, 0)
    if (count === 0)
      throw new GradpromptError('no-labels', 'No row of the batch has a label token', {
        expected: 'labels[i] = ids[i] where there is a loss, -100 elsewhere',
      })
    this.checkIds(
      rows.map(row => row.ids),
      prompt,
    )
    const fed = rows.map(fedIds)
    const gradients = new Map(
      prompt.method
        .parameters(prompt.config, this.config)
        .filter(({ frozen }) => !frozen)
        .map(({ name, shape }) => [name, new Float32Array(product(shape))]),
    )
    const kind = frozen ? 'gradientFromFrozen' : 'gradient'
    const hiddenTerm = teaching?.hidden !== undefined
    const program = await this.program(kind, prompt, false, labelSmoothing, teaching?.temperature, hiddenTerm)
    const taught = teaching && teaching.weight * teaching.temperature ** 2
    // The prompt's own targets count in every row that has a label.
    const own = prompt.method.ownTargets?.(prompt.config) ?? []
    const counted = count + own.length * labelled.filter(({ length }) => length > 0).length
    let loss = 0
    let divergence = 0
    let computed = 0
    for (const { active, members } of tasksOf(prompt, rows)) {
      const parts = this.memory.split(
        members.map(i => fed[i]!.length + ownTokens(active, this.config)),
        // A teacher's row of probabilities lies beside each row of logits.
        { headRows: members.map(i => labelled[i]!.length * (teaching ? 2 : 1)), training: true },
      )
      for (const [start, end] of parts) {
        const part = members.slice(start, end)
        const forest = new Forest(
          part.map(i => ({ ids: fed[i]!, instructionLength: labelled[i]![0] ?? fed[i]!.length })),
          placementOf(prompt, this.config),
        )
        const targets = part.flatMap((index, i) =>
          labelled[index]!.map((position): Target => {
            const row = forest.rowOf(i, position - 1)
            if (row === undefined)
              throw new GradpromptError('unpredictable-label', 'A label stands where nothing precedes it', {
                found: `row ${index}, position ${position}`,
              })
            return { row, id: rows[index]!.labels[position]!, weight: 1 / counted }
          }),
        )
        if (targets.length === 0) continue
        const copies = part.filter(i => labelled[i]!.length > 0).length
        const ownTargets = own.map(({ row, id, weight }) => ({
          row: forest.virtualRow(0, row),
          id,
          weight: (weight * copies) / counted,
        }))
        const { inputs, readRows } = forest.inputs([...targets, ...ownTargets])
        const lesson =
          teaching &&
          this.lesson(
            targets,
            part.flatMap(i =>
              labelled[i]!.map((_, k) =>
                this.teacherRow(teaching.logProbabilities[i], i, k, labelled[i]!.length, this.config.vocabSize),
              ),
            ),
            readRows,
            { teacher: this.config.vocabSize, weight: taught! / count },
          )
        const hidden = teaching?.hidden
        const hiddenLesson =
          hidden &&
          this.lesson(
            targets,
            part.flatMap(i =>
              labelled[i]!.map((_, k) => this.teacherRow(hidden.rows[i], i, k, labelled[i]!.length, this.config.hiddenSize)),
            ),
            readRows,
            { teacherHidden: this.config.hiddenSize, weight: hidden.weight / count },
          )
        const below = frozen && {
          frozen: forest.textRows(
            part.map(i => this.frozenRow(frozen, i, fed[i]!.length)),
            this.config.hiddenSize,
          ),
        }
        const outputs = (await program.run({
          ...inputs,
          ...lesson,
          ...hiddenLesson,
          ...below,
          ...parameterInputs(active),
        })) as Record<string, Float32Array>
        loss += outputs.loss![0]!
        if (teaching) divergence += outputs.divergence![0]! / taught!
        computed += forest.rows
        for (const [name, sum] of gradients) {
          const part = outputs[`gradient:${name}`]!
          for (let i = 0; i < sum.length; i++) sum[i]! += part[i]!
        }
      }
    }
    return { loss, ...(teaching && { divergence }), gradients, rows: computed }
  }

  private frozenRow(frozen: readonly Float32Array[], row: number, tokens: number): Float32Array {
    const numbers = frozen[row]
    if (numbers?.length === tokens * this.config.hiddenSize) return numbers
    throw new GradpromptError('shape-mismatch', `What frozen layers make of row ${row} does not fit its tokens`, {
      found: `${numbers?.length ?? 0} numbers`,
      expected: `${tokens * this.config.hiddenSize}: ${tokens} tokens of ${this.config.hiddenSize}`,
    })
  }

  /**
   * What the layers that nothing learned reaches make of rows: their hidden states as the first layer beyond takes them. These never
   * change while a prompt is learned. Which rows are computed together shows in the last bits alone.
   *
   * @returns for each row [tokens * hiddenSize], of the tokens that `promptGradient` feeds
   */
  async frozenRows(prompt: ActivePrompt, rows: readonly LabelledRow[]): Promise<Float32Array[]> {
    const { hiddenSize } = this.config
    this.checkIds(
      rows.map(row => row.ids),
      prompt,
    )
    const fed = rows.map(fedIds)
    const results: Float32Array[] = []
    const parts = this.memory.split(
      fed.map(ids => ids.length + ownTokens(prompt, this.config)),
      { headRows: fed.map(() => 0) },
    )
    for (const [start, end] of parts) {
      const part = fed.slice(start, end)
      const forest = new Forest(
        part.map(ids => ({ ids })),
        placementOf(prompt, this.config),
      )
      const { inputs } = forest.inputs([{ row: forest.rows - 1, id: 0, weight: 0 }])
      const program = await this.frozenProgram(prompt)
      const { hidden } = (await program.run(inputs)) as { hidden: Float32Array }
      for (const [i, ids] of part.entries()) {
        const own = new Float32Array(ids.length * hiddenSize)
        for (const j of ids.keys()) {
          const at = forest.textRowOf(i, j) * hiddenSize
          own.set(hidden.subarray(at, at + hiddenSize), j * hiddenSize)
        }
        results.push(own)
      }
    }
    return results
  }

  /** What a teacher says of a row's label. */
  private teacherRow(numbers: Float32Array | undefined, row: number, label: number, labels: number, width: number): Float32Array {
    if (numbers?.length !== labels * width)
      throw new GradpromptError('shape-mismatch', `The teacher of row ${row} does not fit its labels`, {
        found: `${numbers?.length ?? 0} numbers`,
        expected: `${labels * width}: ${labels} labels of ${width}`,
      })
    return numbers.subarray(label * width, (label + 1) * width)
  }

  /** What a teacher says beside the rows that it is about, under its name in the program. Where sequences share a row they share its teacher. */
  private lesson(
    targets: readonly Target[],
    teacher: readonly Float32Array[],
    readRows: readonly number[],
    { weight, ...named }: { weight: number; teacher: number } | { weight: number; teacherHidden: number },
  ): Record<string, ProgramInput> {
    const [name, width] = Object.entries(named)[0]!
    const place = new Map(readRows.map((row, i) => [row, i]))
    const data = new Float32Array(readRows.length * width)
    const weights = new Float32Array(readRows.length)
    for (const [i, { row }] of targets.entries()) {
      const at = place.get(row)!
      if (weights[at] === 0) data.set(teacher[i]!, at * width)
      weights[at]! += weight
    }
    return {
      [name]: { data, shape: [readRows.length, width] },
      [`${name}Weight`]: { data: weights, shape: [readRows.length] },
    }
  }

  /**
   * Log-probabilities of the whole vocabulary where each label of a row is predicted: what a teacher says. The row is computed alone,
   * so that its numbers do not depend on which rows were computed beside it.
   *
   * @returns [labels * vocabSize]
   * @throws GradpromptError `unpredictable-label` when nothing precedes a label
   */
  async labelLogProbabilities(prompt: ActivePrompt | undefined, row: LabelledRow): Promise<Float32Array> {
    return (await this.labelOutputs('logits', prompt, row)).logProbabilities
  }

  /** The same, with the normalised hidden states that they are made of, [labels * hiddenSize]. */
  async labelStates(
    prompt: ActivePrompt | undefined,
    row: LabelledRow,
  ): Promise<{ logProbabilities: Float32Array; hidden: Float32Array }> {
    return this.labelOutputs('logitsAndHidden', prompt, row)
  }

  private async labelOutputs(kind: 'logits' | 'logitsAndHidden', prompt: ActivePrompt | undefined, row: LabelledRow) {
    const positions = labelPositions(row)
    const { vocabSize, hiddenSize } = this.config
    const logProbabilities = new Float32Array(positions.length * vocabSize)
    const hidden = new Float32Array(kind === 'logitsAndHidden' ? positions.length * hiddenSize : 0)
    if (positions.length === 0) return { logProbabilities, hidden }
    this.checkIds([row.ids], prompt)
    const active = prompt && tasksOf(prompt, [row])[0]!.active
    const ids = row.ids.slice(0, positions.at(-1))
    const forest = new Forest([{ ids, instructionLength: positions[0]! }], placementOf(active, this.config))
    const targets = positions.map((position): Target => {
      const at = forest.rowOf(0, position - 1)
      if (at === undefined)
        throw new GradpromptError('unpredictable-label', 'A label stands where nothing precedes it', {
          found: `position ${position}, without a soft prompt`,
          hint: 'give the template some text before the answer',
        })
      return { row: at, id: 0, weight: 0 }
    })
    const { inputs, readRows } = forest.inputs(targets)
    const program = await this.program(kind, active, false)
    const outputs = (await program.run({ ...inputs, ...parameterInputs(active) })) as Record<string, Float32Array>
    const rowOf = (name: string, place: number, width: number) => outputs[name]!.subarray(place * width, (place + 1) * width)
    for (const [i, { row: at }] of targets.entries()) {
      const place = readRows.indexOf(at)
      logProbabilities.set(logSoftmax(rowOf('logits', place, vocabSize)), i * vocabSize)
      if (hidden.length > 0) hidden.set(rowOf('hidden', place, hiddenSize), i * hiddenSize)
    }
    return { logProbabilities, hidden }
  }

  /**
   * Log-likelihood of each candidate answer after its context. The candidates of one row share its context, and all rows what they
   * begin with alike.
   *
   * @returns for each row and candidate the sum of the log-probabilities of its tokens
   */
  async logLikelihoods(prompt: ActivePrompt | undefined, rows: readonly CandidateRow[]): Promise<number[][]> {
    const tokens = await this.tokenLogProbabilities(prompt, rows)
    return tokens.map(candidates => candidates.map(own => own.reduce((sum, value) => sum + value, 0)))
  }

  /**
   * As `logLikelihoods`, token by token.
   * @returns for each row, candidate and token of it the log-probability, in nats
   */
  async tokenLogProbabilities(prompt: ActivePrompt | undefined, rows: readonly CandidateRow[]): Promise<number[][][]> {
    const results: number[][][] = []
    if (prompt && rows.some(({ task }) => task !== undefined)) {
      for (const { active, members } of tasksOf(prompt, rows)) {
        const scores = await this.tokenLogProbabilities(
          active,
          members.map(i => ({ ...rows[i]!, task: undefined })),
        )
        for (const [i, member] of members.entries()) results[member] = scores[i]!
      }
      return results
    }
    const lengths = rows.map(
      row =>
        row.context.length +
        ownTokens(prompt, this.config) +
        row.candidates.reduce((sum, { ids }) => sum + Math.max(0, ids.length - 1), 0),
    )
    for (const [start, end] of this.memory.split(lengths, {
      headRows: rows.map(row => 1 + row.candidates.reduce((sum, { ids }) => sum + ids.length - 1, 0)),
    })) {
      const part = rows.slice(start, end)
      this.checkIds(
        part.flatMap(row => [row.context, ...row.candidates.map(({ ids }) => ids)]),
        prompt,
      )
      // The last token of an answer is never fed: nothing is predicted from it.
      const sequences = part.map(
        (row): Sequence => ({ ids: row.context, children: row.candidates.map(({ ids }) => ids.slice(0, -1)) }),
      )
      const forest = new Forest(sequences, placementOf(prompt, this.config))
      const targets = part.flatMap((row, i) =>
        row.candidates.flatMap(({ ids }, j) =>
          ids.map((id, k): Target => {
            const at = k === 0 ? forest.rowOf(i, row.context.length - 1) : forest.childRow(i, j, k - 1)
            if (at === undefined)
              throw new GradpromptError('empty-context', 'Nothing precedes the answer of a row', { found: `row ${start + i}` })
            return { row: at, id, weight: 0 }
          }),
        ),
      )
      const { inputs } = forest.inputs(targets)
      const program = await this.program('logProbabilities', prompt, forest.hasChildren)
      const { logProbabilities } = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as {
        logProbabilities: Float32Array
      }
      let next = 0
      for (const row of part) results.push(row.candidates.map(({ ids }) => ids.map(() => logProbabilities[next++]!)))
    }
    return results
  }

  /** Opens (and compiles, if need be) the programs of a training run, so that its first step is as fast as the others. */
  async prepare(
    prompt: ActivePrompt | undefined,
    kinds: readonly Kind[],
    labelSmoothing = 0,
    temperature?: number,
    hiddenTerm = false,
  ): Promise<void> {
    for (const kind of kinds)
      await (kind === 'gradient' || kind === 'gradientFromFrozen'
        ? this.program(kind, prompt, false, labelSmoothing, temperature, hiddenTerm)
        : this.program(kind, prompt, false))
  }

  async dispose(): Promise<void> {
    const programs = await Promise.allSettled(this.programs.values())
    this.programs.clear()
    for (const program of programs) if (program.status === 'fulfilled') await program.value.dispose()
    await this.embedding?.close()
    this.embedding = undefined
  }

  /**
   * The specification of a program of this model: also what an eager run takes.
   *
   * @param temperature of a teacher, where the gradient has one: it is then given as `teacher` [Q, V] and `teacherWeight` [Q]
   * @param hiddenTerm its hidden states count as well: `teacherHidden` [Q, d] and `teacherHiddenWeight` [Q]
   */
  programSpec(
    kind: Kind,
    prompt: Pick<ActivePrompt, 'method' | 'config'> | undefined,
    children: boolean,
    labelSmoothing = 0,
    temperature?: number,
    hiddenTerm = false,
  ): ProgramSpec {
    const { family, config } = this.checkpoint
    const { inputs, dims } = forestSpec({ placement: placementOf(prompt, config), children, maxRows: MAX_ROWS })
    const parameters = prompt?.method.parameters(prompt.config, config) ?? []
    const parameterInput = ({ name, shape }: { name: string; shape: readonly number[] }) => [
      `parameter:${name}`,
      { shape, dtype: 'float32' as const },
    ]
    return {
      name: `${family.name} ${kind}`,
      inputs: {
        ...inputs,
        ...(kind === 'gradientFromFrozen' && {
          frozen: { shape: [inputs.tokenIds!.shape[0]!, config.hiddenSize], dtype: 'float32' as const },
        }),
        ...(temperature !== undefined && {
          teacher: { shape: ['Q', config.vocabSize], dtype: 'float32' as const },
          teacherWeight: { shape: ['Q'], dtype: 'float32' as const },
        }),
        ...(hiddenTerm && {
          teacherHidden: { shape: ['Q', config.hiddenSize], dtype: 'float32' as const },
          teacherHiddenWeight: { shape: ['Q'], dtype: 'float32' as const },
        }),
        ...Object.fromEntries(parameters.map(parameterInput)),
      },
      dims,
      weights: this.weights,
      key: {
        kind,
        family: family.name,
        config,
        method: prompt && programKey(prompt.config),
        parameters,
        labelSmoothing,
        temperature,
        hiddenTerm,
        children,
      },
      fn: (given, weight) => {
        const targets = targetsOf(given)
        /** [Q, d] */
        const states = (values: Readonly<Record<string, tf.Tensor>>) =>
          forwardForest({
            family,
            config,
            weight,
            given,
            ...(prompt ? { prompt: { ...prompt, parameters: values } } : {}),
          })
        /** [Q, V] */
        const read = (values: Readonly<Record<string, tf.Tensor>>) => family.logits(config, weight, states(values))
        const all = Object.fromEntries(parameters.map(({ name }) => [name, given[`parameter:${name}`]!]))
        if (kind === 'logits') return { logits: read(all) }
        if (kind === 'logitsAndHidden') {
          const hidden = states(all)
          return { logits: family.logits(config, weight, hidden), hidden }
        }
        if (kind === 'logProbabilities')
          return { logProbabilities: tokenLogProbabilities(read(all), targets.row, targets.target) }
        const names = parameters.filter(({ frozen }) => !frozen).map(({ name }) => name)
        let divergence: tf.Scalar | undefined
        const loss = (...tensors: tf.Tensor[]) => {
          const learned = Object.fromEntries(names.map((name, i) => [name, tensors[i]!]))
          const hidden = states({ ...all, ...learned })
          const logits = family.logits(config, weight, hidden)
          const crossEntropy = tokenCrossEntropy(logits, targets, labelSmoothing)
          if (temperature === undefined) return crossEntropy
          const { teacher, teacherWeight, teacherHidden, teacherHiddenWeight } = given as Record<string, tf.Tensor>
          divergence = tf.keep(teacherDivergence(logits, { teacher: teacher!, weight: teacherWeight!, temperature }))
          const both = tf.add(crossEntropy, divergence) as tf.Scalar
          if (!hiddenTerm) return both
          return tf.add(both, hiddenDifference(hidden, { teacher: teacherHidden!, weight: teacherHiddenWeight! })) as tf.Scalar
        }
        const { value, grads } = tf.valueAndGrads(loss)(names.map(name => all[name]!))
        return {
          loss: value,
          ...(divergence && { divergence }),
          ...Object.fromEntries(names.map((name, i) => [`gradient:${name}`, grads[i]!])),
        }
      },
    }
  }

  private frozenSpec({ method, config: options }: ActivePrompt): ProgramSpec {
    const { family, config } = this.checkpoint
    const prompt = { method, config: options, parameters: {} }
    const placement = placementOf(prompt, config)
    const to = frozenLayers(prompt, config)
    const { inputs, dims } = forestSpec({ placement, children: false, maxRows: MAX_ROWS })
    return {
      name: `${family.name} frozen layers`,
      inputs,
      dims,
      weights: this.weights,
      key: { kind: 'frozen', family: family.name, config, placement, to },
      // No hook acts below, so that none of the parameters is needed.
      fn: (given, weight) => ({ hidden: forwardForest({ family, config, weight, given, prompt, to }) }),
    }
  }

  private statesSpec({ method, config: options }: ActivePrompt, placement: PromptPlacement): ProgramSpec {
    const { family, config } = this.checkpoint
    const { numVirtualTokens: count } = placement
    const { inputs, dims } = forestSpec({ placement, children: false, maxRows: MAX_ROWS })
    return {
      name: `${family.name} states`,
      inputs: { ...inputs, 'parameter:prompt': { shape: [count, config.hiddenSize], dtype: 'float32' } },
      dims,
      weights: this.weights,
      key: { kind: 'states with neurons', family: family.name, config, count },
      fn: (given, weight) => {
        const made = {
          hidden: [] as tf.Tensor2D[],
          keys: [] as tf.Tensor3D[],
          values: [] as tf.Tensor3D[],
          neurons: [] as tf.Tensor2D[],
        }
        forwardForest({
          family,
          config,
          weight,
          given,
          prompt: { method, config: options, parameters: { prompt: given['parameter:prompt']! } },
          onRows: (_, x) => made.hidden.push(tf.slice(x as tf.Tensor2D, [0, 0], [count, -1])),
          // The last layer has the row alone that is read: the prompt's last.
          onNeurons: (layer, x) => {
            const row = layer === config.numLayers - 1 ? 0 : count - 1
            made.neurons.push(tf.slice(x as tf.Tensor2D, [row, 0], [1, -1]))
          },
          onKeys: (_, key, value) => {
            made.keys.push(tf.slice(key as tf.Tensor3D, [0, 0, 0], [-1, count, -1]))
            made.values.push(tf.slice(value as tf.Tensor3D, [0, 0, 0], [-1, count, -1]))
          },
        })
        return {
          hidden: tf.concat(made.hidden, 0),
          keys: tf.concat(made.keys, 0),
          values: tf.concat(made.values, 0),
          neurons: tf.concat(made.neurons, 0),
        }
      },
    }
  }

  /** @throws GradpromptError whatever compiling throws; a failed program is compiled anew the next time */
  private program(
    kind: Kind,
    prompt: ActivePrompt | undefined,
    children: boolean,
    labelSmoothing = 0,
    temperature?: number,
    hiddenTerm = false,
  ): Promise<Program> {
    const key = JSON.stringify([kind, prompt?.config, children, labelSmoothing, temperature, hiddenTerm])
    return this.opened(key, () => this.programSpec(kind, prompt, children, labelSmoothing, temperature, hiddenTerm))
  }

  private frozenProgram(prompt: ActivePrompt): Promise<Program> {
    return this.opened(JSON.stringify(['frozen', prompt.config]), () => this.frozenSpec(prompt))
  }

  private opened(key: string, spec: () => ProgramSpec): Promise<Program> {
    const known = this.programs.get(key)
    if (known) return known
    const made = Program.compile(spec(), { device: this.device, threads: this.threads })
    this.programs.set(key, made)
    made.catch(() => this.programs.delete(key))
    return made
  }

  /** Behind the vocabulary are the prompt's soft tokens. */
  private checkIds(rows: readonly (readonly number[])[], prompt: Pick<ActivePrompt, 'config'> | undefined): void {
    const limit = this.config.vocabSize + (prompt ? numSoftTokens(prompt.config) : 0)
    for (const [i, ids] of rows.entries()) {
      const bad = ids.find(id => !(Number.isInteger(id) && id >= 0 && id < limit))
      if (bad !== undefined) {
        throw new GradpromptError('invalid-token-id', `Row ${i} holds an id outside the vocabulary`, {
          found: String(bad),
          expected: `0 to ${this.config.vocabSize - 1}`,
        })
      }
    }
  }
}

/** Sums in double precision. */
function logSoftmax(logits: Float32Array): Float32Array {
  const highest = logits.reduce((most, x) => Math.max(most, x), Number.NEGATIVE_INFINITY)
  const level = highest + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - highest), 0))
  return logits.map(x => x - level)
}

const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

const NO_PROMPT: PromptPlacement = { numVirtualTokens: 0, position: 'before-bos' }

export const placementOf = (prompt: Pick<ActivePrompt, 'method' | 'config'> | undefined, model: ModelConfig): PromptPlacement =>
  prompt?.method.placement(prompt.config, model) ?? NO_PROMPT

/** The rows of each task with the prompt as that task has it; all of them as it stands, where rows name no task. */
function tasksOf(
  prompt: ActivePrompt,
  rows: readonly { readonly task?: number | undefined }[],
): { active: ActivePrompt; members: number[] }[] {
  const { method, config, parameters } = prompt
  return [...new Set(rows.map(({ task }) => task))].map(task => ({
    active: task === undefined || !method.forTask ? prompt : { ...prompt, parameters: method.forTask(config, parameters, task) },
    members: [...rows.keys()].filter(i => rows[i]!.task === task),
  }))
}

/** Virtual tokens that every sequence has for itself. */
function ownTokens(prompt: ActivePrompt | undefined, model: ModelConfig): number {
  const { perSequence, numVirtualTokens } = placementOf(prompt, model)
  return perSequence ? numVirtualTokens : 0
}

/** What a method's tensor code can depend on: what it starts from is not among it. */
function programKey({
  init,
  softTokens,
  ...config
}: {
  readonly type: string
  readonly init?: unknown
  readonly softTokens?: unknown
}): object {
  return config
}

const parameterInputs = (prompt: ActivePrompt | undefined): Record<string, ProgramInput> =>
  Object.fromEntries([...(prompt?.parameters ?? [])].map(([name, data]) => [`parameter:${name}`, data]))

/** Nothing is predicted from what stands behind the second-last label, so it is not computed. */
const fedIds = (row: LabelledRow) => row.ids.slice(0, labelPositions(row).at(-1) ?? 0)

/** Positions of the labels of a row. */
function labelPositions({ ids, labels }: LabelledRow): number[] {
  if (labels.length !== ids.length) {
    throw new GradpromptError('shape-mismatch', 'A row has not as many labels as ids', {
      found: `${labels.length} labels`,
      expected: `${ids.length}, one for each id`,
    })
  }
  return labels.flatMap((label, i) => (label === IGNORED ? [] : [i]))
}

/** A soft prompt given as rows acts as prompt tuning's does. */
function plainPrompt({ data, shape, position = 'before-bos' }: SoftPrompt, model: ModelConfig): ActivePrompt {
  const [count, width] = shape
  if (width !== model.hiddenSize || data.length !== count * width || count < 1) {
    throw new GradpromptError('shape-mismatch', 'The soft prompt does not fit the model', {
      found: `${data.length} numbers of shape [${shape}]`,
      expected: `[m, ${model.hiddenSize}]`,
    })
  }
  return {
    method: plainRows,
    config: { type: 'rows', numVirtualTokens: count, position } as { type: string },
    parameters: new Map([['prompt', data]]),
  }
}

type RowsConfig = { type: string; numVirtualTokens: number; position: 'before-bos' | 'after-bos' }

/** Rows in front of the text, whatever they come from. */
const plainRows: PromptMethod = {
  type: 'rows',
  paper: '',
  learningRate: 0.01,
  placement: config => config as RowsConfig,
  parameters: (config, { hiddenSize }) => [{ name: 'prompt', shape: [(config as RowsConfig).numVirtualTokens, hiddenSize] }],
  initialise: () => Promise.resolve(new Map()),
  inputRows: (_, { prompt }) => prompt!,
}
