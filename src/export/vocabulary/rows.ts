import { GradpromptError } from '../../errors.js'
import type { TensorFile } from '../../formats/tensor-file.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { PromptMethod } from '../../prompts/method.js'
import { numSoftTokens, softParameter, softVocabulary } from '../../prompts/soft-rows.js'
import { staticOffset, staticRows } from '../../prompts/static.js'
import type { PromptFile } from '../../store/prompt-file.js'

/** What is exported, as far as tokens need it. */
export interface ExportedPrompt {
  readonly prompt: PromptFile
  readonly active: ActivePrompt
  readonly model: LanguageModel
  readonly selfTest: {
    readonly cases: readonly {
      readonly ids: readonly number[]
      readonly greedy: readonly number[]
      readonly top: readonly { readonly logit: number }[]
    }[]
  }
}

/**
 * A prompt as tokens of a longer vocabulary: further rows of the embedding table, and for a method whose offset depends on the token
 * alone another table. Whatever reads tokens can then run the prompt. Which files these go into is unknown here.
 */
export interface VocabularyRows {
  /** What the new tokens are called, in the order of their ids. */
  readonly tokens: readonly string[]
  /** Id of the first: the next that the tokenizer has free. */
  readonly firstId: number
  /** Rows of the longer table. */
  readonly tableRows: number
  /** The new tokens' rows as the first layer takes them, [tokens, d]. */
  readonly rows: Float32Array
  /** What the model multiplies rows of its table by. */
  readonly scale: number
  /** The tokens that stand in front of the text. */
  readonly promptTokens: readonly string[]
  readonly promptIds: readonly number[]
  /** Rows of the table as the checkpoint stores them, with the method's offset: [n, d]; undefined: they stay. */
  readonly fold: ((stored: Float32Array) => Promise<Float32Array>) | undefined
  /** What a consumer feeds for a row of ids. */
  fed(ids: readonly number[]): number[]
  /** A text in which the template's soft tokens are written as tokens. */
  written(text: string): string
}

/** Whether prompts of a method come to rows of tokens: at the input, and the same for every text. */
export function hasVocabularyRows(method: PromptMethod): boolean {
  const { sequenceRows, layerRows, prefix, attention, layerOutput, offset, offsetBy } = method
  return !sequenceRows && !layerRows && !prefix && !attention && !layerOutput && (!offset || offsetBy === 'token')
}

/**
 * @param file the checkpoint, open
 * @throws GradpromptError `not-exportable`
 */
export async function vocabularyRows(
  { prompt, active, model }: Pick<ExportedPrompt, 'prompt' | 'active' | 'model'>,
  file: TensorFile,
): Promise<VocabularyRows> {
  const { method, config } = active
  const { vocabSize, hiddenSize } = model.config
  const tensors = prompt.tensors.map(tensor => ({ ...tensor, data: active.parameters.get(tensor.name) ?? tensor.data }))
  const own = method.inputRows ? await staticRows(method, config, tensors) : new Float32Array()
  const soft = tensors.find(({ name }) => name === softParameter)?.data ?? new Float32Array()
  const numSoft = numSoftTokens(config)
  const firstId = model.tokenizer.vocabSize
  const count = numSoft + prompt.numVirtualTokens
  const tokens = tokenNames(model, count)
  const scale = await embeddingScale(model, file)
  const rows = new Float32Array(count * hiddenSize)
  rows.set(soft)
  rows.set(own, soft.length)
  const ids = tokens.map((_, i) => firstId + i)
  const promptIds = ids.slice(numSoft)
  const placeholders = softVocabulary(config, model.config)?.placeholders ?? []
  return {
    tokens,
    firstId,
    tableRows: Math.max(vocabSize, firstId + count),
    rows,
    scale,
    promptTokens: tokens.slice(numSoft),
    promptIds,
    fold: method.offset && (stored => folded(stored)),
    fed: given =>
      inserted(
        given.map(id => (id < vocabSize ? id : id - vocabSize + firstId)),
        promptIds,
        prompt.position,
      ),
    written(text) {
      let done = ''
      let rest = text
      let next = 0
      for (const placeholder of placeholders) {
        const own = tokens.slice(next, next + placeholder.ids.length).join('')
        next += placeholder.ids.length
        const at = rest.indexOf(placeholder.text)
        if (at < 0) continue
        done += rest.slice(0, at) + own
        rest = rest.slice(at + placeholder.text.length)
      }
      return done + rest
    },
  }

  async function folded(stored: Float32Array): Promise<Float32Array> {
    const embedded = scale === 1 ? stored : stored.map(x => x * scale)
    const offset = await staticOffset(method, config, tensors, embedded, hiddenSize)
    return offset.map((x, i) => (x + embedded[i]!) / scale)
  }
}

/** A prompt's ids in front of a row: before everything, or behind the first token. */
const inserted = (ids: readonly number[], promptIds: readonly number[], position: 'before-bos' | 'after-bos') =>
  position === 'before-bos' ? [...promptIds, ...ids] : [...ids.slice(0, 1), ...promptIds, ...ids.slice(1)]

/** `<|soft_0|>` and so on; another word where the tokenizer knows such a token already. */
export function tokenNames({ tokenizer }: Pick<LanguageModel, 'tokenizer'>, count: number): string[] {
  for (let attempt = 0; ; attempt++) {
    const word = attempt === 0 ? 'soft' : `soft${attempt}`
    const names = Array.from({ length: count }, (_, i) => `<|${word}_${i}|>`)
    const isKnown = names.some(name => tokenizer.encode(name, { addSpecialTokens: false }).length === 1)
    if (!isKnown) return names
  }
}

/** What a model multiplies the rows of its table by: seen in some of them. @throws GradpromptError `not-exportable` */
async function embeddingScale(model: LanguageModel, file: TensorFile): Promise<number> {
  const { family, weights, config } = model.checkpoint
  const [first] = await firstPiece(file.valuePieces(weights.find(({ name }) => name === family.embedding)!.parts[0]!.source))
  const count = Math.min(64, config.vocabSize, first!.length / config.hiddenSize)
  const embedded = await model.embeddingRows(Array.from({ length: count }, (_, id) => id))
  let [product, square] = [0, 0]
  for (const [i, x] of embedded.entries()) {
    product += x * first![i]!
    square += first![i]! ** 2
  }
  const scale = embedded.every((x, i) => x === first![i]) ? 1 : Math.fround(product / square)
  const off = embedded.reduce((most, x, i) => Math.max(most, Math.abs(x - scale * first![i]!)), 0)
  const largest = embedded.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  if (square > 0 && off <= 1e-5 * largest) return scale
  throw new GradpromptError('not-exportable', 'The model does more with a token than to take its row and multiply it', {
    found: `the ${family.name} family`,
    expected: 'embeddings that are rows of the table, times one number',
    hint: 'export to embeds: there the rows are given as the first layer takes them',
  })
}

async function firstPiece<T>(pieces: AsyncGenerator<T>): Promise<[T | undefined]> {
  const { value, done } = await pieces.next()
  await pieces.return(undefined)
  return [done === true ? undefined : value]
}

/**
 * What the head says of the new tokens: rows of zeros have the logit 0, which is far below the likely ones; where a model's logits are
 * all low, the row of a token that is least likely is repeated.
 *
 * @returns the id of that token, or undefined for zeros
 */
export async function headRow({ selfTest, model, active }: ExportedPrompt): Promise<number | undefined> {
  if (selfTest.cases.every(({ top }) => top.at(-1)!.logit > 0)) return undefined
  const [last] = await model.logits([[...selfTest.cases[0]!.ids]], active, { last: 1 })
  return last!.reduce((least, logit, id) => (logit < last![least]! ? id : least), 0)
}
