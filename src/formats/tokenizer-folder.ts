import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { addSpecialTokens, type SpecialIds, type TokenizerParts } from './gguf-tokenizer.js'
import { type AddedToken, invalid, type Merge, type PipelineStep, type TokenizerDefinition } from './tokenizer-core.js'

type Json = Readonly<Record<string, unknown>>

const maxFileBytes = 2 ** 28

/**
 * Reads the tokenizer of a Hugging Face folder: `tokenizer.json`, and what `tokenizer_config.json`, `special_tokens_map.json`,
 * `chat_template.jinja`, `generation_config.json` and `config.json` add to it, where they are there.
 *
 * @throws {GradpromptError} `file-not-found`, `file-too-large`, `invalid-tokenizer`, `unsupported-tokenizer`
 */
export async function tokenizerFromFolder(folder: string): Promise<TokenizerParts> {
  const [tokenizer, config, specialTokensMap, generationConfig, modelConfig, templateFile] = await Promise.all([
    readObject(join(folder, 'tokenizer.json')),
    readObject(join(folder, 'tokenizer_config.json')),
    readObject(join(folder, 'special_tokens_map.json')),
    readObject(join(folder, 'generation_config.json')),
    readObject(join(folder, 'config.json')),
    readText(join(folder, 'chat_template.jinja')),
  ])
  if (tokenizer === undefined) {
    throw new GradpromptError('file-not-found', 'The folder has no tokenizer', {
      found: folder,
      expected: 'a file tokenizer.json in it',
      hint: 'AutoTokenizer.from_pretrained(…).save_pretrained(…) in Python writes one from the older formats',
    })
  }
  const { model, bpe } = readModel(tokenizer)
  const addedTokens = new Map<number, AddedToken>()
  for (const entry of list(tokenizer.added_tokens, 'added_tokens')) addToken(addedTokens, entry, undefined)
  for (const [id, entry] of Object.entries(object(config?.added_tokens_decoder ?? {}, 'added_tokens_decoder'))) {
    addToken(addedTokens, entry, Number(id))
  }
  const idOf = (content: string) =>
    [...addedTokens.values()].find(token => token.content === content)?.id ?? bpe?.vocab.get(content)

  const names: Record<string, string> = {}
  for (const source of [specialTokensMap, config]) {
    for (const key of specialTokenKeys) {
      const content = contentOf(source?.[key])
      if (content !== undefined) names[key] = content
    }
  }
  const specialId = (key: string, configKey: string): number | undefined => {
    const name = names[key]
    return name === undefined ? (firstId(generationConfig?.[configKey]) ?? firstId(modelConfig?.[configKey])) : idOf(name)
  }
  const specialIds: SpecialIds = {
    bos: specialId('bos_token', 'bos_token_id'),
    eos: specialId('eos_token', 'eos_token_id'),
    pad: specialId('pad_token', 'pad_token_id'),
    unk: names.unk_token === undefined ? undefined : idOf(names.unk_token),
  }
  for (const content of Object.values(names)) {
    const id = idOf(content)
    if (id !== undefined) addedTokens.set(id, { normalized: false, ...addedTokens.get(id), id, content, special: true })
  }

  return {
    definition: {
      model,
      ...(bpe === undefined ? {} : { bpe }),
      addedTokens: [...addedTokens.values()],
      normalizer: step(tokenizer.normalizer, 'normalizer'),
      preTokenizer: step(tokenizer.pre_tokenizer, 'pre_tokenizer'),
      postProcessor: postProcessor(tokenizer, config, names, idOf),
      decoder: step(tokenizer.decoder, 'decoder'),
    },
    specialIds,
    chatTemplate: templateFile ?? defaultTemplate(config?.chat_template),
  }
}

const specialTokenKeys = ['bos_token', 'eos_token', 'pad_token', 'unk_token', 'sep_token', 'cls_token', 'mask_token']

function readModel(tokenizer: Json): Pick<TokenizerDefinition, 'model' | 'bpe'> {
  const { vocab, merges, ...rest } = object(tokenizer.model, 'model')
  const type = typeof rest.type === 'string' ? rest.type : merges === undefined ? undefined : 'BPE' // older files leave it out
  if (type === undefined) throw invalid('tokenizer.json does not name its model', 'no model.type', 'BPE, Unigram or WordPiece')
  if (type === 'Unigram' || type === 'WordPiece') return { model: { ...rest, type, vocab } }
  if (type !== 'BPE') {
    throw new GradpromptError('unsupported-tokenizer', 'The kind of tokenizer is not known', {
      found: type,
      expected: 'BPE, Unigram or WordPiece',
      hint: 'language models with byte-level BPE or SentencePiece work: Llama, Qwen, Gemma, GPT-2 and their relatives',
    })
  }
  if (typeof rest.continuing_subword_prefix === 'string' && rest.continuing_subword_prefix !== '') {
    throw new GradpromptError('unsupported-tokenizer', 'BPE with a prefix on continuing pieces cannot be run', {
      found: `model.continuing_subword_prefix ${JSON.stringify(rest.continuing_subword_prefix)}`,
      expected: 'none',
      hint: 'language models with byte-level BPE or SentencePiece have none',
    })
  }
  const entries = Object.entries(object(vocab, 'model.vocab'))
  for (const [token, id] of entries) {
    if (typeof id !== 'number') throw invalid(`The token ${JSON.stringify(token)} has no id`, JSON.stringify(id), 'an integer')
  }
  const rules = list(merges, 'model.merges')
  for (const rule of rules) {
    const pair = typeof rule === 'string' ? rule.split(' ') : rule
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every(piece => typeof piece === 'string' && piece !== '')) {
      throw invalid('A merge rule cannot be read', JSON.stringify(rule), 'two pieces')
    }
  }
  return { model: { ...rest, type }, bpe: { vocab: new Map(entries as [string, number][]), merges: rules as readonly Merge[] } }
}

function addToken(tokens: Map<number, AddedToken>, entry: unknown, key: number | undefined): void {
  const { id = key, content, special, normalized, ...rest } = object(entry, 'added_tokens')
  if (typeof id !== 'number' || typeof content !== 'string' || content === '') {
    throw invalid('An added token cannot be read', JSON.stringify(entry), 'an id and its content')
  }
  const isSpecial = special === true
  tokens.set(id, {
    ...rest,
    id,
    content,
    special: isSpecial,
    normalized: typeof normalized === 'boolean' ? normalized : !isSpecial,
  })
}

/** `add_bos_token` and `add_eos_token`, where the config states either, replace the file's own post-processor. */
function postProcessor(
  tokenizer: Json,
  config: Json | undefined,
  names: Readonly<Record<string, string>>,
  idOf: (content: string) => number | undefined,
): PipelineStep {
  const own = step(tokenizer.post_processor, 'post_processor')
  const { add_bos_token: addBos, add_eos_token: addEos } = config ?? {}
  if (typeof addBos !== 'boolean' && typeof addEos !== 'boolean') return own
  const token = (wanted: unknown, name: string | undefined) =>
    wanted === true && name !== undefined && idOf(name) !== undefined ? name : undefined
  return addSpecialTokens(token(addBos, names.bos_token), token(addEos, names.eos_token))
}

/** A config's template is a string, or a list of named ones. */
function defaultTemplate(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return undefined
  const named: Json | undefined = value.find(entry => entry?.name === 'default')
  return typeof named?.template === 'string' ? named.template : undefined
}

/** A special token is written as its text, or as an object that holds it. */
function contentOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  const content = typeof value === 'object' && value !== null ? (value as Json).content : undefined
  return typeof content === 'string' ? content : undefined
}

function firstId(value: unknown): number | undefined {
  const id: unknown = Array.isArray(value) ? value[0] : value
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 ? id : undefined
}

function step(value: unknown, name: string): PipelineStep {
  if (value === undefined || value === null) return null
  return object(value, name) as PipelineStep
}

function object(value: unknown, name: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw invalid(`The tokenizer's ${name} cannot be read`, JSON.stringify(value)?.slice(0, 80) ?? 'nothing', 'a JSON object')
}

function list(value: unknown, name: string): readonly unknown[] {
  if (value === undefined) return []
  if (Array.isArray(value)) return value
  throw invalid(`The tokenizer's ${name} cannot be read`, `a ${typeof value}`, 'a list')
}

async function readObject(path: string): Promise<Json | undefined> {
  const text = await readText(path)
  if (text === undefined) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw invalid(`${path} is not valid JSON`, (cause as Error).message, 'JSON', { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(`${path} cannot be used`, Array.isArray(value) ? 'a list' : JSON.stringify(value).slice(0, 80), 'a JSON object')
  return value as Json
}

/** The text of a file, or undefined where there is none. */
async function readText(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path)
    if (size > maxFileBytes) {
      throw new GradpromptError('file-too-large', `${path} is too large`, {
        found: `${size} bytes`,
        expected: `at most ${maxFileBytes}`,
        hint: 'tokenizers have a few tens of megabytes at most: is this the right folder?',
      })
    }
    return await readFile(path, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw cause instanceof GradpromptError
      ? cause
      : invalid(`${path} cannot be read`, code ?? String(cause), 'a file that can be read', {
          hint: 'look at its permissions',
          cause,
        })
  }
}
