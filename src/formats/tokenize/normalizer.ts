/**
 * Changes a text before it is cut, as the Rust `tokenizers` does. Every step takes time in proportion to its text, and a text that
 * grows beyond reason on the way is refused.
 */
import { GradpromptError } from '../../errors.js'
import { spellBytes } from './bytes.js'
import { checkDepth, type PipelineStep, StepFields, unknownStep, unsupported } from './definition.js'
import { readPattern } from './pattern.js'
import { unicodeNormal } from './unicode-normal.js'

export interface Normalizer {
  readonly doubtful: boolean
  normalize(text: string): string
}

const kinds = 'BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence, Strip or StripAccents'

/** More steps than this are run under a time limit. */
const fewSteps = 16

/** @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer`; from `normalize`: `text-grows` */
export function normalizerOf(step: PipelineStep): Normalizer {
  const steps: Normalizer[] = []
  collect(step, steps, 0)
  return {
    doubtful: steps.length > fewSteps || steps.some(each => each.doubtful),
    normalize: text => {
      const limit = 32 * text.length + 65_536
      let normalized = text
      for (const each of steps) {
        normalized = each.normalize(normalized)
        if (normalized.length > limit) throw grows(text.length, normalized.length)
      }
      return normalized
    },
  }
}

function grows(before: number, after: number): GradpromptError {
  return new GradpromptError('text-grows', "The tokenizer's normalizer makes far more of a text than it is", {
    found: `${after} characters out of ${before}`,
    expected: `at most ${32 * before + 65_536}`,
    hint: 'no published tokenizer does this: get the model again from where it was published',
  })
}

function collect(step: PipelineStep, into: Normalizer[], depth: number): void {
  checkDepth(depth, 'normalizer')
  if (step === null) return
  const fields = new StepFields(step, 'normalizer')
  const plain = (normalize: (text: string) => string) => into.push({ doubtful: false, normalize })
  switch (step.type) {
    case 'Sequence':
      for (const each of fields.steps('normalizers')) collect(each, into, depth + 1)
      return
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD': {
      const form = step.type
      plain(text => unicodeNormal(text, form))
      return
    }
    case 'Lowercase':
      plain(lowercase)
      return
    case 'Strip': {
      const left = fields.boolean('strip_left', false)
      const right = fields.boolean('strip_right', false)
      plain(text => text.slice(left ? leadingSpace(text) : 0, right ? trailingSpace(text) : undefined))
      return
    }
    case 'StripAccents':
      plain(text => text.replace(/\p{M}/gu, ''))
      return
    case 'Prepend': {
      const prefix = fields.string('prepend', '')
      plain(text => (text === '' ? '' : prefix + text))
      return
    }
    case 'ByteLevel':
      plain(spellBytes)
      return
    case 'Replace': {
      const pattern = readPattern(step.pattern, 'normalizer Replace')
      const content = fields.string('content', '')
      into.push({
        doubtful: pattern.doubtful,
        normalize: text => {
          const stretches = pattern.stretches(text)
          // Before it is built: a content may be as long as the file allows.
          const length = stretches.reduce((sum, { start, end, matched }) => sum + (matched ? content.length : end - start), 0)
          if (length > 32 * text.length + 65_536) throw grows(text.length, length)
          return stretches.map(({ start, end, matched }) => (matched ? content : text.slice(start, end))).join('')
        },
      })
      return
    }
    case 'BertNormalizer':
      bert(fields, plain)
      return
    case 'Precompiled':
      if (step.precompiled_charsmap === null || step.precompiled_charsmap === '') return
      throw unsupported("The tokenizer's normalizer is a compiled table of SentencePiece", 'Precompiled', kinds)
    default:
      throw unknownStep('normalizer', step.type, kinds)
  }
}

/** Character by character: in Rust, too, the last sigma of a word is no special case. */
function lowercase(text: string): string {
  let lower = ''
  for (const character of text) lower += character.toLowerCase()
  return lower
}

const whiteSpace = /\p{White_Space}/u

function leadingSpace(text: string): number {
  let at = 0
  while (at < text.length && whiteSpace.test(text[at]!)) at++
  return at
}

/** All white space is in the basic plane, so that units of UTF-16 can be looked at one by one. */
function trailingSpace(text: string): number {
  let at = text.length
  while (at > 0 && whiteSpace.test(text[at - 1]!)) at--
  return at
}

const ideographs =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu

function bert(fields: StepFields, plain: (normalize: (text: string) => string) => void): void {
  const lower = fields.boolean('lowercase', true)
  if (fields.boolean('clean_text', true)) {
    plain(text => text.replace(/[^\P{C}\t\n\r]|\ufffd/gu, '').replace(/\p{White_Space}/gu, ' '))
  }
  if (fields.boolean('handle_chinese_chars', true)) plain(text => text.replace(ideographs, ' $& '))
  if (fields.boolean('strip_accents', lower)) plain(text => unicodeNormal(text, 'NFD').replace(/\p{Mn}/gu, ''))
  if (lower) plain(lowercase)
}
