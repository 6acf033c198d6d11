/**
 * Cuts a text into the pieces that the model works on, one by one, as the Rust `tokenizers` does. It knows neither vocabulary nor ids.
 */
import { spellBytes } from './bytes.js'
import { checkDepth, describe, invalid, type PipelineStep, StepFields, unknownStep } from './definition.js'
import { characterPattern, type Pattern, readPattern, type Stretch } from './pattern.js'

export interface PreTokenizer {
  /** Whether its time may grow faster than the text. */
  readonly doubtful: boolean
  /** Cuts each of `pieces`. `first`: the first of them begins the text that was given to the tokenizer. */
  split(pieces: readonly string[], first: boolean): string[]
}

const kinds =
  'BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace, Punctuation, Sequence, Split, Whitespace or WhitespaceSplit'

/**
 * @param spelledLater leaves out the spelling of bytes where it is the very last step: whoever asks does it, with a cache
 * @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer`
 */
export function preTokenizerOf(step: PipelineStep, spelledLater: boolean, depth = 0): PreTokenizer {
  checkDepth(depth, 'pre-tokenizer')
  if (step === null) return { doubtful: false, split: pieces => [...pieces] }
  const fields = new StepFields(step, 'pre-tokenizer')
  switch (step.type) {
    case 'Sequence': {
      const steps = fields.steps('pretokenizers')
      const inner = steps.map((each, i) => preTokenizerOf(each, spelledLater && i === steps.length - 1, depth + 1))
      return {
        doubtful: inner.some(each => each.doubtful),
        split: (pieces, first) => inner.reduce((current, each) => each.split(current, first), [...pieces]),
      }
    }
    case 'ByteLevel':
      return byteLevel(fields, spelledLater)
    case 'Metaspace':
      return metaspace(fields)
    case 'Split':
      return cutting(
        readPattern(step.pattern, 'pre-tokenizer Split'),
        behaviorOf(fields, undefined),
        fields.boolean('invert', false),
      )
    case 'Punctuation':
      return cutting(characterPattern(punctuation), behaviorOf(fields, 'Isolated'))
    case 'Digits':
      return cutting(characterPattern(/\p{N}/gu), fields.boolean('individual_digits', false) ? 'Isolated' : 'Contiguous')
    case 'Whitespace':
      return cutting(
        characterPattern(
          /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu,
        ),
        'Removed',
        true,
      )
    case 'WhitespaceSplit':
      return cutting(characterPattern(whiteSpace), 'Removed')
    case 'BertPreTokenizer':
      return chained(cutting(characterPattern(whiteSpace), 'Removed'), cutting(characterPattern(punctuation), 'Isolated'))
    case 'CharDelimiterSplit': {
      const delimiter = fields.character('delimiter', '')
      return cutting(readPattern({ String: delimiter }, 'pre-tokenizer'), 'Removed')
    }
    case 'FixedLength':
      return fixedLength(fields)
    default:
      throw unknownStep('pre-tokenizer', step.type, kinds)
  }
}

/** Whether a prefix for the beginning of the text is asked for behind steps that have cut it. */
export function prefixesAfterCutting(step: PipelineStep): boolean {
  const steps: unknown = step?.type === 'Sequence' ? step.pretokenizers : undefined
  return Array.isArray(steps) && steps.slice(1).some(each => each?.type === 'Metaspace' && each.prepend_scheme === 'first')
}

/** Whether the bytes of each piece are spelled as the very last step. */
export function endsInByteLevel(step: PipelineStep, depth = 0): boolean {
  if (step === null || depth > 16) return false
  if (step.type !== 'Sequence') return step.type === 'ByteLevel'
  const steps: unknown = step.pretokenizers
  const last: unknown = Array.isArray(steps) ? steps.at(-1) : undefined
  return typeof last === 'object' && last !== null && endsInByteLevel(last as PipelineStep, depth + 1)
}

const punctuation = /[\p{P}!-/:-@[-`{-~]/gu
const whiteSpace = /\p{White_Space}/gu

const behaviors = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const
type Behavior = (typeof behaviors)[number]

function behaviorOf(fields: StepFields, otherwise: Behavior | undefined): Behavior {
  if (fields.step.behavior === undefined && otherwise === undefined) {
    throw invalid("The tokenizer's pre-tokenizer Split has no behavior", describe(fields.step), `one of ${behaviors.join(', ')}`)
  }
  return fields.choice('behavior', behaviors, otherwise ?? 'Isolated')
}

/** Cuts where a pattern matches; what is cut off and what is kept together is the behavior's. `invert` cuts where it does not match. */
function cutting(pattern: Pattern, behavior: Behavior, invert = false): PreTokenizer {
  return {
    doubtful: pattern.doubtful,
    split: pieces => {
      const out: string[] = []
      for (const piece of pieces) {
        const stretches = pattern.stretches(piece)
        const flipped = invert ? stretches.map(stretch => ({ ...stretch, matched: !stretch.matched })) : stretches
        for (const { start, end } of joined(flipped, behavior)) if (end > start) out.push(piece.slice(start, end))
      }
      return out
    },
  }
}

function joined(stretches: readonly Stretch[], behavior: Behavior): readonly { readonly start: number; readonly end: number }[] {
  switch (behavior) {
    case 'Isolated':
      return stretches
    case 'Removed':
      return stretches.filter(stretch => !stretch.matched)
    case 'Contiguous':
      return merged(stretches, (matched, before) => matched === before)
    case 'MergedWithPrevious':
      return merged(stretches, (matched, before) => matched && !before)
    case 'MergedWithNext': {
      const backwards = stretches.map(({ start, end, matched }) => ({ start: -end, end: -start, matched })).reverse()
      return merged(backwards, (matched, before) => matched && !before)
        .map(({ start, end }) => ({ start: -end, end: -start }))
        .reverse()
    }
  }
}

/** Joins each stretch to the one before where `joins` says so. Before the first stands what did not match. */
function merged(stretches: readonly Stretch[], joins: (matched: boolean, before: boolean) => boolean) {
  const out: { start: number; end: number }[] = []
  let before = false
  for (const { start, end, matched } of stretches) {
    const last = out.at(-1)
    if (last !== undefined && joins(matched, before)) last.end = end
    else out.push({ start, end })
    before = matched
  }
  return out
}

function chained(a: PreTokenizer, b: PreTokenizer): PreTokenizer {
  return { doubtful: a.doubtful || b.doubtful, split: (pieces, first) => b.split(a.split(pieces, first), first) }
}

// In JavaScript `\s` has U+FEFF and lacks U+0085, which is not what GPT-2's pattern means in Rust.
const gpt2Pattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

function byteLevel(fields: StepFields, spelledLater: boolean): PreTokenizer {
  const addPrefixSpace = fields.boolean('add_prefix_space', true)
  const useRegex = fields.boolean('use_regex', true)
  fields.boolean('trim_offsets', true)
  return {
    doubtful: false,
    split: pieces => {
      const out: string[] = []
      for (const piece of pieces) {
        const prefixed = addPrefixSpace && !piece.startsWith(' ') ? ` ${piece}` : piece
        for (const part of useRegex ? (prefixed.match(gpt2Pattern) ?? []) : [prefixed])
          out.push(spelledLater ? part : spellBytes(part))
      }
      return out
    },
  }
}

function metaspace(fields: StepFields): PreTokenizer {
  const replacement = fields.character('replacement', '▁')
  const scheme = fields.choice('prepend_scheme', ['first', 'always', 'never'], 'always')
  // Older files write `add_prefix_space` instead, which only ever takes the prefix away.
  const prepend = fields.boolean('add_prefix_space', true) || scheme === 'first' ? scheme : 'never'
  const split = fields.boolean('split', true)
  const cut = cutting(readPattern({ String: replacement }, 'pre-tokenizer Metaspace'), 'MergedWithNext')
  return {
    doubtful: false,
    split: (pieces, first) => {
      const replaced = pieces.map((piece, i) => {
        const spaced = piece.replaceAll(' ', () => replacement)
        const prefixed = prepend === 'always' || (prepend === 'first' && first && i === 0)
        return prefixed && !spaced.startsWith(replacement) ? replacement + spaced : spaced
      })
      return split ? cut.split(replaced, first) : replaced
    },
  }
}

function fixedLength(fields: StepFields): PreTokenizer {
  const length = fields.count('length', 5)
  if (length === 0) throw invalid("The tokenizer's pre-tokenizer FixedLength has no length", '0', 'a whole number from 1')
  return {
    doubtful: false,
    split: pieces =>
      pieces.flatMap(piece => {
        const characters = [...piece]
        const out: string[] = []
        for (let i = 0; i < characters.length; i += length) out.push(characters.slice(i, i + length).join(''))
        return out
      }),
  }
}
