import { stat } from 'node:fs/promises'
import type { ModelConfig } from '../../../models/blocks/family.js'
import { targetsOf } from '../../export/index.js'
import { loadTokenizer, type Tokenizer } from '../../formats/tokenizer.js'
import { type MemoryNeeds, memoryNeeds, type ParameterCounts, parameterCounts } from '../../model/known-models.js'
import { MemoryPlan } from '../../model/memory.js'
import { type Checkpoint, openCheckpoint, shortName } from '../../model/weights/checkpoint.js'
import { elementCount } from '../../numbers.js'
import { promptMethods } from '../../prompts/methods/index.js'
import { bytes, count, type Output, plural, quoted, table } from '../terminal/output.js'
import { kept } from './dry-run.js'

const example = [
  { role: 'system', content: 'You are helpful.' },
  { role: 'user', content: 'Hello!' },
]

/** `gradprompt inspect MODEL`: what a model is, what it takes, and what can be done with it. */
export async function inspectModel(name: string, output: Output): Promise<void> {
  const checkpoint = await openCheckpoint(name)
  await checkpoint.file.close()
  const tokenizer = await loadTokenizer(checkpoint.tokenizer)
  const { config, family, path } = checkpoint
  const plan = new MemoryPlan(checkpoint)
  const memory = memoryNeeds(plan)
  const types = storedTypes(checkpoint)
  const parameters = parameterCounts(checkpoint)
  const stored = await Promise.all(checkpoint.files.map(async file => (await stat(file)).size))
  const onDisk = stored.reduce((a, b) => a + b, 0)
  const methods = [...promptMethods.keys()]
  const exports = Object.fromEntries(await Promise.all(methods.map(async type => [type, await targetsOf(type)] as const)))
  const special = specialTokens(tokenizer)
  const chat = chatExample(tokenizer)
  output.object({
    event: 'inspect',
    kind: 'model',
    name: shortName(checkpoint),
    path,
    family: family.name,
    config,
    parameters: parameters.total,
    parts: parameters,
    bytes: onDisk,
    tensors: Object.fromEntries(types),
    memory: { ...memory, bytesPerRow: plan.bytesPerRow(true) },
    tokenizer: {
      vocabulary: tokenizer.vocabSize,
      hash: tokenizer.hash,
      special,
      chatTemplate: tokenizer.chatTemplate !== undefined,
      chatExample: chat.text ?? null,
    },
    methods,
    exports,
  })
  output.text(
    table([
      ['model', `${shortName(checkpoint)} (${family.name})`],
      ['path', path],
      ['size', `${plural(parameters.total, 'parameter')}, ${bytes(onDisk)} on disk`],
      ['parameters', partsText(parameters, config.tieWordEmbeddings)],
      [
        'layers',
        `${config.numLayers} of hidden size ${config.hiddenSize}: ${config.numAttentionHeads} heads of ${config.headDim}, ` +
          `${config.numKeyValueHeads} for keys and values; MLP ${config.intermediateSize}`,
      ],
      ['context', plural(config.maxPositionEmbeddings, 'token')],
      ['tensors', [...types].map(([type, { tensors, numbers }]) => `${tensors} ${type} (${count(numbers)} numbers)`).join(', ')],
      [
        'memory',
        `${bytes(memory.weights)} of weights, shared by all programs (${keptText(memory)}); a text of 512 tokens ${bytes(memory.oneText)} in all, a training step of ` +
          `16 rows of 64 tokens ${bytes(memory.trainingStep)} (${bytes(plan.bytesPerRow(true))} a token), or ${bytes(memory.recomputedStep)} with \`train.recompute\`; ${bytes(memory.budget)} to use`,
      ],
      ['tokenizer', `${plural(tokenizer.vocabSize, 'token')}${withoutEmbedding(tokenizer, config)}; ${specialText(special)}`],
      ['chat', chat.shown],
      [
        'methods',
        methods.map(type => `${type}${exports[type]!.length > 0 ? ` (to ${exports[type]!.join(', ')})` : ''}`).join(', '),
      ],
    ]),
  )
}

/** Tokens that no text may hold, for the model computes nothing of them: one or two are published so, many belong to another model. */
function withoutEmbedding(tokenizer: Tokenizer, { vocabSize }: ModelConfig): string {
  const more = tokenizer.vocabSize - vocabSize
  return more > 0 ? `, the last ${more} of them without an embedding: a text that holds one is refused` : ''
}

/** How weights are kept here, and what the other form would take. */
function keptText({ keeping, kept: { fp32, compact } }: MemoryNeeds): string {
  if (keeping === 'compact') return `${kept(keeping)}; in fp32 ${bytes(fp32)}`
  return compact < fp32 ? `${kept(keeping)}; compact ${bytes(compact)}` : kept(keeping)
}

/** Tensors and numbers by the type that they are stored as. */
function storedTypes({ file }: Checkpoint): Map<string, { tensors: number; numbers: number }> {
  const types = new Map<string, { tensors: number; numbers: number }>()
  for (const { dtype, shape } of file.tensors.values()) {
    const { tensors, numbers } = types.get(dtype) ?? { tensors: 0, numbers: 0 }
    types.set(dtype, { tensors: tensors + 1, numbers: numbers + elementCount(shape) })
  }
  return types
}

function partsText({ total, embedding, attention, mlp, norms, head }: ParameterCounts, isTied: boolean): string {
  const share = (part: number) => `${count(part)} (${((100 * part) / total).toFixed(part / total < 0.1 ? 1 : 0)} %)`
  const parts = [`attention ${share(attention)}`, `MLP ${share(mlp)}`, `embeddings ${share(embedding)}`, `norms ${count(norms)}`]
  return [...parts, isTied ? 'the head is the embeddings' : `head ${share(head)}`].join(', ')
}

type Special = Readonly<Record<'bos' | 'eos' | 'pad' | 'unk', { id: number; text: string } | undefined>> & {
  readonly ends: readonly { id: number; text: string }[]
}

function specialTokens(tokenizer: Tokenizer): Special {
  const token = (id: number | undefined) => (id === undefined ? undefined : { id, text: tokenizer.token(id) })
  return {
    bos: token(tokenizer.bosTokenId),
    eos: token(tokenizer.eosTokenId),
    pad: token(tokenizer.padTokenId),
    unk: token(tokenizer.unkTokenId),
    ends: tokenizer.endTokenIds.map(id => token(id)!),
  }
}

function specialText({ ends, ...named }: Special): string {
  const show = ({ id, text }: { id: number; text: string }) => `${quoted(text, 30)} ${id}`
  const parts = Object.entries(named).flatMap(([name, token]) => (token === undefined ? [] : [`${name} ${show(token)}`]))
  const further = ends.filter(({ id }) => id !== named.eos?.id)
  if (further.length > 0) parts.push(`also ends a text: ${further.map(show).join(', ')}`)
  return parts.join(', ') || 'no special tokens'
}

/** A short conversation as the template writes it; some templates know no system message. */
function chatExample(tokenizer: Tokenizer): { text?: string; shown: string } {
  if (tokenizer.chatTemplate === undefined) return { shown: 'no chat template' }
  for (const messages of [example, example.slice(1)])
    try {
      const text = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })
      return { text, shown: quoted(text, 400) }
    } catch {
      // The next conversation is shorter.
    }
  return { shown: 'its chat template cannot be rendered' }
}
