/** Puts special tokens around the ids of a text, as the post-processor of a `tokenizer.json` says. It knows single texts only, no pairs. */
import { checkDepth, describe, invalid, type PipelineStep, StepFields, unknownStep } from './definition.js'

/** What stands before a text and behind it. A template that repeats the text is none of a language model. */
export interface SpecialFrame {
  readonly before: readonly number[]
  readonly after: readonly number[]
}

/** The post-processor that puts `bos` before the text and `eos` behind it, where given. */
export function framing(bos: string | undefined, eos: string | undefined): PipelineStep {
  const single: object[] = [{ Sequence: { id: 'A', type_id: 0 } }]
  if (bos !== undefined) single.unshift({ SpecialToken: { id: bos, type_id: 0 } })
  if (eos !== undefined) single.push({ SpecialToken: { id: eos, type_id: 0 } })
  return { type: 'TemplateProcessing', single, pair: single }
}

/**
 * @param idOf the id of a token by its text, for templates that do not list theirs
 * @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer`
 */
export function frameOf(step: PipelineStep, idOf: (token: string) => number | undefined, depth = 0): SpecialFrame {
  checkDepth(depth, 'post-processor')
  if (step === null) return { before: [], after: [] }
  switch (step.type) {
    case 'ByteLevel':
      return { before: [], after: [] }
    case 'TemplateProcessing':
      return template(step, idOf)
    case 'BertProcessing':
    case 'RobertaProcessing':
      return { before: [pairId(step, 'cls')], after: [pairId(step, 'sep')] }
    case 'Sequence':
      return new StepFields(step, 'post-processor')
        .steps('processors')
        .map(inner => frameOf(inner, idOf, depth + 1))
        .reduce(
          (frame, { before, after }) => ({
            before: [...before, ...frame.before],
            after: [...frame.after, ...after],
          }),
          { before: [], after: [] } as SpecialFrame,
        )
    default:
      throw unknownStep(
        'post-processor',
        step.type,
        'BertProcessing, ByteLevel, RobertaProcessing, Sequence or TemplateProcessing',
      )
  }
}

const maxTemplateItems = 1024

function template(step: NonNullable<PipelineStep>, idOf: (token: string) => number | undefined): SpecialFrame {
  const { single, special_tokens: listed } = step as {
    single?: unknown
    special_tokens?: Readonly<Record<string, { ids?: unknown }>>
  }
  const unreadable = (found: unknown, expected: string) =>
    invalid("The tokenizer's post-processor TemplateProcessing cannot be read", describe(found), expected)
  if (!Array.isArray(single) || single.length > maxTemplateItems) {
    throw unreadable(single, `a list "single" of at most ${maxTemplateItems} items`)
  }
  const before: number[] = []
  const after: number[] = []
  let texts = 0
  for (const item of single as readonly (Readonly<Record<string, { id?: unknown } | undefined>> | null)[]) {
    const special = item?.SpecialToken?.id
    const sequence = item?.Sequence?.id
    if (sequence === 'A') texts++
    else if (typeof special === 'string') {
      const ids = listed !== undefined && Object.hasOwn(listed, special) ? listed[special]?.ids : [idOf(special)]
      if (!Array.isArray(ids) || ids.length > maxTemplateItems || !ids.every(id => Number.isInteger(id) && id >= 0)) {
        throw invalid('The post-processor adds an unknown token', describe(special), 'tokens of the vocabulary')
      }
      for (const id of ids as number[]) (texts === 0 ? before : after).push(id)
    } else throw unreadable(item, 'a special token, or the sequence A')
  }
  if (texts !== 1) throw unreadable(single, 'the text once')
  return { before, after }
}

function pairId(step: NonNullable<PipelineStep>, field: string): number {
  const pair: unknown = step[field]
  const id: unknown = Array.isArray(pair) ? pair[1] : undefined
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0) return id
  throw invalid(`The tokenizer's post-processor ${step.type} cannot be read: ${field}`, describe(pair), '[token, id]')
}
