import { GradpromptError } from '../../src/errors.js'

/** Keys that say nothing about what a model computes once it is trained. */
const HARMLESS: readonly RegExp[] = [
  /^_/,
  /^(architectures|auto_map|model_type|torch_dtype|dtype|transformers_version|transformers\.js_config|unsloth_\w+|language|license)$/,
  /_token_ids?$/,
  /(dropout|drop|pdrop|_p_drop)$/,
  /^(initializer_(range|factor)|init_std|init_device|embedding_initializer_range)$/,
  /^(use_cache|use_return_dict|return_dict\w*|output_\w+|torchscript|use_bfloat16|gradient_checkpointing|cache_implementation)$/,
  /^(attn_implementation|use_flash_attn|flash_attn\w*|pretraining_tp|tokenizer_class|problem_type|finetuning_task)$/,
  /^(id2label|label2id|num_labels|task_specific_params|pruned_heads|summary_\w+|chunk_size_feed_forward|n_ctx|max_sequence_length|is_llama_config|neftune\w*)$/,
  /^(is_decoder|is_encoder_decoder|prefix|max_length|min_length|do_sample|temperature|top_[kp]|repetition_penalty)$/,
]

/**
 * Reads the keys of a config.json, with errors that name the key. It knows which keys were asked for, so that one that nobody reads is
 * refused and never ignored; it does not know what they mean.
 */
export class ConfigReader {
  readonly #numTensors: number
  readonly #read = new Set<string>()
  readonly #children = new Map<string, ConfigReader>()

  /** @param numTensors how many tensors the checkpoint holds: it cannot have more layers */
  constructor(
    readonly raw: Readonly<Record<string, unknown>>,
    readonly source: string,
    numTensors = 2 ** 20,
  ) {
    this.#numTensors = numTensors
  }

  #find(names: string | readonly string[]): { name: string; value: unknown } | undefined {
    const list = typeof names === 'string' ? [names] : names
    for (const name of list) this.#read.add(name)
    for (const name of list) {
      const value = this.raw[name]
      if (value !== undefined && value !== null) return { name, value }
    }
    return undefined
  }

  /** The error for a value that cannot be used. */
  wrong(name: string, value: unknown, expected: string): GradpromptError {
    const found = JSON.stringify(value) ?? 'nothing'
    const hint = 'compare the configuration with the one that the model was published with'
    return new GradpromptError('invalid-model-config', `${this.source}: ${name} is not usable`, {
      found: found.length > 120 ? `${found.slice(0, 120)}…` : found,
      expected,
      hint,
    })
  }

  /** Whether a key has a value. */
  has(name: string): boolean {
    return this.#find(name) !== undefined
  }

  /** A whole number from 1 to 2^31, or from `least`. Several names are tried in order (older spellings). */
  integer(names: string | readonly string[], fallback?: number, least = 1): number {
    const { name, value } = this.#find(names) ?? { name: typeof names === 'string' ? names : names[0]!, value: fallback }
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > 2 ** 31)
      throw this.wrong(name, value, `a whole number from ${least} to 2^31`)
    return value
  }

  /** The number of layers: no more than the checkpoint has tensors, so that a list of them is short enough to be made. */
  layers(names: string | readonly string[]): number {
    const count = this.integer(names)
    if (count > this.#numTensors)
      throw this.wrong(String(names), count, `at most ${this.#numTensors}, the number of tensors that the checkpoint holds`)
    return count
  }

  /** A finite number; by default any. */
  number(names: string | readonly string[], fallback?: number, allowed: { above?: number; most?: number } = {}): number {
    const { above = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY } = allowed
    const { name, value } = this.#find(names) ?? { name: typeof names === 'string' ? names : names[0]!, value: fallback }
    if (typeof value === 'number' && Number.isFinite(value) && value > above && value <= most) return value
    const range = [above > Number.NEGATIVE_INFINITY && `above ${above}`, most < Number.POSITIVE_INFINITY && `at most ${most}`]
    throw this.wrong(name, value, ['a number', range.filter(Boolean).join(', ')].filter(Boolean).join(' '))
  }

  boolean(names: string | readonly string[], fallback: boolean): boolean {
    const { name, value } = this.#find(names) ?? { name: String(names), value: fallback }
    if (typeof value !== 'boolean') throw this.wrong(name, value, 'true or false')
    return value
  }

  /** One of the values that the family knows; another is an error, never a guess. */
  oneOf<T extends string>(names: string | readonly string[], known: readonly T[], fallback: T): T {
    const found = this.#find(names)
    const value = found?.value ?? fallback
    if (!known.includes(value as T)) throw this.wrong(found?.name ?? String(names), value, `one of ${known.join(', ')}`)
    return value as T
  }

  /** A key that must have this value, if any: another would change what is computed. */
  requireValue(name: string, value: unknown, why: string): void {
    const found = this.#find(name)
    if (found && found.value !== value) throw this.wrong(name, found.value, `${JSON.stringify(value)}: ${why}`)
  }

  /** As many values as there are layers, or `undefined`. */
  list<T>(name: string, length: number, known: (value: unknown) => value is T, expected: string): readonly T[] | undefined {
    const found = this.#find(name)
    if (!found) return undefined
    const { value } = found
    if (!Array.isArray(value) || value.length !== length || !value.every(known))
      throw this.wrong(name, value, `a list of ${length}, each ${expected}`)
    return value
  }

  object(name: string): ConfigReader | undefined {
    const found = this.#find(name)
    if (!found) return undefined
    const { value } = found
    if (typeof value !== 'object' || Array.isArray(value)) throw this.wrong(name, value, 'an object')
    const child =
      this.#children.get(name) ?? new ConfigReader(value as Record<string, unknown>, `${this.source}: ${name}`, this.#numTensors)
    this.#children.set(name, child)
    return child
  }

  /** Keys that say nothing here, whatever they hold. */
  ignore(...names: string[]): void {
    for (const name of names) this.#read.add(name)
  }

  /**
   * Every key that has a value was read, or changes nothing.
   * @throws GradpromptError `unknown-config-key`
   */
  requireAllRead(): void {
    for (const [name, value] of Object.entries(this.raw)) {
      const off = value === undefined || value === null || value === false || isEmpty(value)
      if (off || this.#read.has(name) || HARMLESS.some(pattern => pattern.test(name))) continue
      const found = `${name}: ${JSON.stringify(value)}`
      throw new GradpromptError('unknown-config-key', `${this.source} has a key that the model's family does not know`, {
        found: found.length > 120 ? `${found.slice(0, 120)}…` : found,
        expected: 'only keys whose meaning is known: one that is left unread may change what the model computes',
        hint: 'if it changes nothing, take it out of the configuration',
      })
    }
    for (const child of this.#children.values()) child.requireAllRead()
  }
}

const isEmpty = (value: unknown) => typeof value === 'object' && value !== null && Object.keys(value).length === 0
