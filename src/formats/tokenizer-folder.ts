/**
 * The tokenizer of a Hugging Face folder: what its files say, put together with the precedence of `transformers` 5. How text is cut is
 * decided elsewhere; which tokens are special and what ends a text, here.
 */

import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import type { SpecialIds, TokenizerParts } from './gguf-tokenizer.js'
import {
  type AddedToken,
  checkId,
  describe,
  invalid,
  type Merge,
  maxTokenId,
  stepOf,
  type TokenizerDefinition,
  unsupported,
} from './tokenize/definition.js'
import { tokenizerClassOf } from './tokenize/tokenizer-class.js'

type Json = Readonly<Record<string, unknown>>

/** The largest published `tokenizer.json` has 35 MB, and two million values. */
const maxFileBytes = 2 ** 26
const maxValues = 2 ** 23

/**
 * Reads the tokenizer of a Hugging Face folder: `tokenizer.json`, and what `tokenizer_config.json`, `special_tokens_map.json`,
 * `chat_template.jinja`, `generation_config.json` and `config.json` add to it, where they are there.
 *
 * @throws {GradpromptError} `file-not-found`, `file-too-large`, `invalid-tokenizer`, `unsupported-tokenizer`
 */
export async function tokenizerFromFolder(folder: string): Promise<TokenizerParts> {
  const [text, config = {}, specialTokensMap = {}, generationConfig = {}, modelConfig = {}, templateFile] = await Promise.all([
    readText(join(folder, 'tokenizer.json')),
    readObject(join(folder, 'tokenizer_config.json')),
    readObject(join(folder, 'special_tokens_map.json')),
    readObject(join(folder, 'generation_config.json')),
    readObject(join(folder, 'config.json')),
    readText(join(folder, 'chat_template.jinja')),
  ])
  if (text === undefined) {
    throw new GradpromptError('file-not-found', 'The folder has no tokenizer', {
      found: folder,
      expected: 'a file tokenizer.json in it',
      hint: 'AutoTokenizer.from_pretrained(…).save_pretrained(…) in Python writes one from the older formats',
    })
  }
  const tokenizer = parseObject(join(folder, 'tokenizer.json'), text)
  const { pipeline, names: defaults, resetsSpecialTokens } = tokenizerClassOf(config, modelConfig, text.includes('"ByteLevel"'))
  if (config.split_special_tokens === true) {
    throw unsupported(
      'The tokenizer reads special tokens as plain text',
      'split_special_tokens true',
      'special tokens that are found in texts',
    )
  }
  const { names, extra } = namedTokens(config, specialTokensMap, defaults)
  const { model, bpe } = readModel(tokenizer)
  const built = pipeline?.(config, names)
  if (built !== undefined && bpe === undefined) {
    throw unsupported('The tokenizer is of a class that has BPE only', describe(model.type), 'model.type BPE')
  }
  const vocab = bpe?.vocab ?? new Map(vocabularyOf(model))

  // A class that builds its own pipeline takes the tokens of the config where it lists any; one that runs the file has the file's already.
  const listed = config.added_tokens_decoder
  const fromConfig = Object.entries(object(listed ?? {}, 'added_tokens_decoder')).map(([id, entry]) =>
    readToken(entry, Number(id)),
  )
  const fromFile = list(tokenizer.added_tokens, 'added_tokens').map(entry => readToken(entry, undefined))
  const sorted = (tokens: AddedToken[]) => tokens.toSorted((a, b) => a.id - b.id)
  const added = addTokens(
    vocab,
    built === undefined ? [...fromFile, ...sorted(fromConfig)] : sorted(listed === undefined ? fromFile : fromConfig),
  )
  const idOf = (content: string) => added.get(content)?.id ?? vocab.get(content)
  for (const content of [...Object.values(names), ...extra]) {
    const id = idOf(content)
    const before = resetsSpecialTokens ? undefined : added.get(content)
    if (id !== undefined) added.set(content, { normalized: false, ...before, id, content, special: true })
  }

  const specialId = (key: string): number | undefined => {
    const name = names[`${key}_token`]
    return name === undefined ? idsIn([generationConfig, modelConfig], `${key}_token_id`)[0] : idOf(name)
  }
  const specialIds: SpecialIds = {
    bos: specialId('bos'),
    eos: specialId('eos'),
    pad: specialId('pad'),
    unk: names.unk_token === undefined ? undefined : idOf(names.unk_token),
  }
  const configs = [generationConfig, modelConfig, isRecord(modelConfig.text_config) ? modelConfig.text_config : {}]
  const postProcessor = built?.dropsPostProcessor === true ? null : stepOf(tokenizer.post_processor, 'post-processor')
  const cleansBpe = config.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output === true
  return {
    definition: {
      model: built?.model === undefined ? model : { ...built.model, type: 'BPE' },
      ...(bpe === undefined ? {} : { bpe }),
      addedTokens: [...added.values()],
      normalizer: built === undefined ? stepOf(tokenizer.normalizer, 'normalizer') : built.normalizer,
      preTokenizer: built === undefined ? stepOf(tokenizer.pre_tokenizer, 'pre-tokenizer') : built.preTokenizer,
      postProcessor,
      decoder: built === undefined ? stepOf(tokenizer.decoder, 'decoder') : built.decoder,
    },
    specialIds,
    endTokenIds: [...new Set([...(specialIds.eos === undefined ? [] : [specialIds.eos]), ...idsIn(configs, 'eos_token_id')])],
    cleansUpSpaces: config.clean_up_tokenization_spaces === true && (bpe === undefined || cleansBpe),
    chatTemplate: templateFile ?? defaultTemplate(config.chat_template),
  }
}

/**
 * The special tokens by name, and those without one. `special_tokens_map.json` is an older file: it counts only where the config has no
 * `added_tokens_decoder`, and then before the config.
 */
function namedTokens(
  config: Json,
  map: Json,
  defaults: Readonly<Record<string, string>>,
): { names: Record<string, string>; extra: string[] } {
  const names: Record<string, string> = {}
  const extra: string[] = []
  const stated = config.added_tokens_decoder === undefined ? { ...config, ...map } : config
  for (const [key, value] of Object.entries({ ...defaults, ...stated })) {
    const content = key.endsWith('_token') ? contentOf(value) : undefined
    if (content !== undefined) names[key] = content
  }
  const more = stated.extra_special_tokens ?? stated.additional_special_tokens
  if (typeof more === 'object' && more !== null) {
    for (const value of Object.values(more)) {
      const content = contentOf(value)
      if (content !== undefined) extra.push(content)
    }
  }
  return { names, extra }
}

/**
 * Adds tokens one after another as the Rust `tokenizers` does: a token that is known keeps its id, whatever is said of it again, and is
 * what it is said to be last; a new one gets the next free id. A file that gives it another would mean another row of the model.
 */
function addTokens(vocab: ReadonlyMap<string, number>, tokens: readonly AddedToken[]): Map<string, AddedToken> {
  const added = new Map<string, AddedToken>()
  let highest = -1
  for (const token of tokens) {
    const known = added.get(token.content)?.id ?? vocab.get(token.content)
    const next = highest >= vocab.size || (vocab.size === 0 && highest >= 0) ? highest + 1 : vocab.size
    const id = known ?? next
    if (checkId(token.id, token.content) !== id && known === undefined) {
      const what = `The added token ${JSON.stringify(token.content)} has another id than the next that is free`
      throw invalid(what, String(token.id), `${id}`)
    }
    added.set(token.content, { ...token, id })
    highest = Math.max(highest, id)
  }
  return added
}

function readModel(tokenizer: Json): Pick<TokenizerDefinition, 'model' | 'bpe'> {
  const { vocab, merges, ...rest } = object(tokenizer.model, 'model')
  const type = typeof rest.type === 'string' ? rest.type : merges === undefined ? undefined : 'BPE' // older files leave it out
  if (type === undefined)
    throw invalid('tokenizer.json does not name its model', 'no model.type', 'BPE, Unigram, WordLevel or WordPiece')
  if (type !== 'BPE') return { model: { ...rest, type, vocab } }
  const entries = Object.entries(object(vocab, 'model.vocab'))
  for (const [token, id] of entries) checkId(id, token)
  const rules = list(merges, 'model.merges')
  for (const rule of rules) {
    const pair = typeof rule === 'string' ? rule.split(' ') : rule
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every(piece => typeof piece === 'string' && piece !== '')) {
      throw invalid('A merge rule cannot be read', JSON.stringify(rule), 'two pieces')
    }
  }
  return { model: { ...rest, type }, bpe: { vocab: new Map(entries as [string, number][]), merges: rules as readonly Merge[] } }
}

/** Tokens and ids of a model that is not BPE: an object, or pieces in order. */
function vocabularyOf(model: Json): [string, number][] {
  const { vocab } = model
  if (Array.isArray(vocab)) return vocab.map((entry: unknown, id) => [String(Array.isArray(entry) ? entry[0] : entry), id])
  return Object.entries(isRecord(vocab) ? vocab : {}).map(([token, id]) => [token, checkId(id, token)])
}

function readToken(entry: unknown, key: number | undefined): AddedToken {
  const { id = key, content, special, normalized, lstrip, rstrip, single_word: singleWord } = object(entry, 'added_tokens')
  if (typeof id !== 'number' || typeof content !== 'string' || content === '') {
    throw invalid('An added token cannot be read', describe(entry), 'an id and its content')
  }
  const isSpecial = special === true
  return {
    id,
    content,
    special: isSpecial,
    normalized: typeof normalized === 'boolean' ? normalized : !isSpecial,
    lstrip: lstrip === true,
    rstrip: rstrip === true,
    single_word: singleWord === true,
  }
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

/** The ids under `key` of the first files that have it: one, or a list. */
function idsIn(files: readonly Json[], key: string): number[] {
  return files
    .flatMap(file => file[key])
    .filter((id): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < maxTokenId)
}

function object(value: unknown, name: string): Json {
  if (isRecord(value)) return value
  throw invalid(`The tokenizer's ${name} cannot be read`, JSON.stringify(value)?.slice(0, 80) ?? 'nothing', 'a JSON object')
}

function list(value: unknown, name: string): readonly unknown[] {
  if (value === undefined) return []
  if (Array.isArray(value)) return value
  throw invalid(`The tokenizer's ${name} cannot be read`, `a ${typeof value}`, 'a list')
}

const maxDepth = 64

/** How deep the JSON is nested, and how many values it has; both up to just beyond what is allowed. */
function measure(text: string): { depth: number; values: number } {
  let depth = 0
  let values = 0
  for (let i = 0, inString = false; i < text.length && depth <= maxDepth && values <= maxValues; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === 0x5c) i++
      else if (code === 0x22) inString = false
    } else if (code === 0x22) inString = true
    else if (code === 0x2c) values++
    else if (code === 0x7b || code === 0x5b) {
      depth++
      values++
    } else if (code === 0x7d || code === 0x5d) depth--
  }
  return { depth, values }
}

async function readObject(path: string): Promise<Json | undefined> {
  const text = await readText(path)
  return text === undefined ? undefined : parseObject(path, text)
}

function parseObject(path: string, text: string): Json {
  // Before it is parsed: what is nested without end would overflow every stack that looks at it later, and small values are many times
  // as large in memory as in the file.
  const { depth, values } = measure(text)
  if (depth > maxDepth) throw invalid(`${path} is nested too deep`, `more than ${maxDepth} levels`, `at most ${maxDepth} levels`)
  if (values > maxValues) throw invalid(`${path} holds too many values`, `${values} values or more`, `at most ${maxValues}`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw invalid(`${path} is not valid JSON`, (cause as Error).message, 'JSON', { cause })
  }
  if (isRecord(value)) return value
  throw invalid(`${path} cannot be used`, Array.isArray(value) ? 'a list' : describe(value), 'a JSON object')
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
