import { resolveAnswerEnd } from '../../data/texts/answer-end.js'
import type { Encoder } from '../../data/texts/encoder.js'
import type { LabelSet } from '../../data/texts/labels.js'
import { GradpromptError } from '../../errors.js'
import type { LanguageModel } from '../../model/language-model.js'
import { loadBeside } from '../../model/with-model.js'
import { needsOf, type SearchConfig } from '../config.js'
import { searchMethods } from '../methods/index.js'
import { DriftGuard } from '../moves/drift.js'
import type { SearchMethod } from '../moves/method.js'
import type { RoleModel } from '../moves/writer.js'
import type { Spending } from '../score/budget.js'
import { Draft } from '../score/draft.js'
import { type Embedding, embeddingOf } from '../score/embedding.js'
import { SearchPrograms } from '../score/programs.js'
import { type SearchRow, TokenSpace, type TokenSpaceOptions } from '../space/token-space.js'
import { allowedTokens } from '../space/vocabulary.js'
import { caseColumns } from '../writing/case-columns.js'
import { GrowingQuestions } from './growing-questions.js'
import type { SearchProgress, Stored } from './loop.js'
import { pseudoLabelled } from './pseudo-labels.js'
import { softPromptOf } from './soft-prompt.js'
import type { SearchTask } from './task.js'

/** A search with its data and its model, ready for the first step. */
export interface SearchJob {
  readonly config: SearchConfig
  readonly task: SearchTask
  readonly model: LanguageModel
  readonly method: SearchMethod
  readonly programs: SearchPrograms
  readonly space: TokenSpace
  readonly rows: readonly SearchRow[]
  readonly allowed: Int32Array
  readonly guard: DriftGuard
  readonly embedding: Embedding
  readonly softPrompt: Float32Array | undefined
  readonly draft: Draft | undefined
  /** The model that writes prompts, where it is not the searched one. */
  readonly optimizer: LanguageModel | undefined
  /** The model that compares answers, where it is another on this machine. */
  readonly judge: LanguageModel | undefined
  /** Where questions come up during the search. */
  readonly growing: GrowingQuestions | undefined
  /** Tokens that a prompt may have so that every row fits into the context. */
  readonly maxLength: number
  readonly spent: Spending | undefined
  /** Where a resumed search stands. */
  readonly progress: SearchProgress | undefined
  /** How many entries of what the model wrote it goes on with. */
  readonly reasoned: number
}

/** What a search's prompts and rows are made of. */
export function spaceOptions(
  { template, answer, answerEnd, search }: SearchConfig,
  labels: LabelSet | undefined,
  contextLength: number,
  tokenizer: Encoder,
): TokenSpaceOptions {
  const { prompt, extractor, maxNewTokens } = search
  const reasoning = extractor === undefined ? undefined : { extractor, maxNewTokens: maxNewTokens! }
  const end = resolveAnswerEnd({ answerEnd, template }, tokenizer)
  return { template, answer, labels, contextLength, end, prompt, ...(reasoning && { reasoning }) }
}

/**
 * Checks every row and makes what a step works with.
 * @throws GradpromptError as `TokenSpace` and `allowedTokens` do; `prompt-size`
 */
export async function prepareSearch(
  config: SearchConfig,
  given: SearchTask,
  model: LanguageModel,
  earlier?: Stored,
): Promise<SearchJob> {
  const { search } = config
  const { tokenizer } = model
  requireLabels(config, given)
  const options = spaceOptions(config, given.labels, model.config.maxPositionEmbeddings, tokenizer)
  const space = new TokenSpace(tokenizer, options, given.shape)
  const labelled =
    search.pseudoLabels === undefined ? given : await pseudoLabelled(given, search.pseudoLabels, model, space, config)
  const grown = earlier?.progress.grown ?? []
  const questions = [...labelled.questions, ...grown]
  const task = { ...labelled, questions }
  const rows = task.questions.map((record, i) => space.row(record, i))
  const others = [task.shots, task.dev, task.test].flatMap(records => records.map((record, i) => space.row(record, i)))
  const method = searchMethods.get(search.type)
  if (method.writes) requireOnePiece(space)
  const { softPrompt: from, draft: smaller, writer, judge: judging, cases } = needsOf(config)
  if (cases !== undefined) caseColumns(space.columns, task.labels)
  const soft = from === undefined ? undefined : await softPromptOf(from)
  if (soft !== undefined && (soft.count !== space.free.length || soft.hiddenSize !== model.config.hiddenSize))
    throw new GradpromptError('prompt-size', 'the prompt has not as many free tokens as the run has vectors', {
      found: `${space.free.length} free tokens; ${soft.count} vectors of width ${soft.hiddenSize} in ${from}`,
      expected: `as many, of width ${model.config.hiddenSize}`,
      hint: 'leave search.prompt out, and it has as many tokens as the run has vectors',
    })
  const allowed = allowedTokens(tokenizer, search.vocabulary, model.config.vocabSize)
  const programs = new SearchPrograms(model)
  const draft = smaller === undefined ? undefined : await openDraft(smaller, config, model, space)
  const opened: LanguageModel[] = []
  const beside = async (role: RoleModel | undefined) => {
    // A role behind an endpoint is opened when the search runs.
    if (typeof role !== 'string') return undefined
    const loaded = await loadBeside(role, model)
    opened.push(loaded)
    return loaded
  }
  const opening = async () => {
    const optimizer = await beside(writer)
    return { optimizer, judge: judging === writer ? optimizer : await beside(judging) }
  }
  const { optimizer, judge } = await opening().catch(async (error: unknown) => {
    await draft?.dispose()
    for (const other of opened) await other.dispose()
    throw error
  })
  if (cases !== undefined && judge?.hash === model.hash) {
    for (const other of opened) await other.dispose()
    throw circular(judge.name)
  }
  // What a search begins with decides, so that one that goes on decides alike.
  const first = rows.length > grown.length ? rows.slice(0, rows.length - grown.length) : [space.row(given.shape, 0)]
  const longest = [...first, ...others].reduce((most, row) => Math.max(most, space.lengthAround(row)), 0) + (cases?.tokens ?? 0)
  return {
    config,
    task,
    model,
    method,
    programs,
    space,
    rows,
    allowed,
    guard: new DriftGuard(space, first, search.drift, earlier?.drifted),
    embedding: embeddingOf(model, programs),
    softPrompt: soft?.rows,
    draft,
    optimizer,
    judge,
    growing: cases && new GrowingQuestions(questions, rows, grown.length, space, longest),
    maxLength: options.contextLength - longest,
    spent: earlier?.spent,
    progress: earlier?.progress,
    reasoned: earlier?.reasoned ?? 0,
  }
}

/** What a job has open beside the model. */
export async function disposeJob({ programs, draft, optimizer, judge }: SearchJob): Promise<void> {
  await programs.dispose()
  await draft?.dispose()
  await optimizer?.dispose()
  if (judge !== optimizer) await judge?.dispose()
}

async function openDraft(draft: string, config: SearchConfig, model: LanguageModel, space: TokenSpace): Promise<Draft> {
  const { search, template } = config
  if (search.extractor !== undefined)
    throw new GradpromptError('invalid-config', 'a draft model does not reason', {
      found: `a draft model (${draft}) and search.extractor`,
      expected: 'one of them',
    })
  return Draft.open(draft, model, space, {
    addSpecialTokens: typeof template === 'string',
    endOf: tokenizer => resolveAnswerEnd(config, tokenizer),
  })
}

const circular = (name: string) =>
  new GradpromptError('circular-labels', 'labels of the model that is searched for say what it does already', {
    found: `search.judge: ${name}, which is the model of the search`,
    expected: 'another model, or nobody: then you are asked',
    hint: 'leave search.judge out, and the run waits for labels in its cases.csv; or name a larger model',
  })

/** @throws GradpromptError `invalid-config` */
function requireOnePiece(space: TokenSpace): void {
  if (space.isOnePiece) return
  throw new GradpromptError('invalid-config', 'a prompt that a model writes is one text', {
    found: 'search.prompt with several texts that are searched',
    expected: 'one text, with { frozen: text } before it or behind it',
  })
}

/** @throws GradpromptError `invalid-config` where labels are compared, or taken from the model, and answers are free text */
function requireLabels({ search }: SearchConfig, { labels }: SearchTask): void {
  const isGap = search.measure === 'gap'
  if (search.extractor !== undefined && (isGap || search.pseudoLabels !== undefined))
    throw new GradpromptError('invalid-config', 'answers behind reasoning are not compared with other labels', {
      found: `search.extractor and ${isGap ? 'search.measure: gap' : 'search.pseudoLabels'}`,
      expected: 'one of them',
    })
  if (labels !== undefined || (!isGap && search.pseudoLabels === undefined)) return
  const option = isGap ? 'search.measure: gap' : 'search.pseudoLabels'
  throw new GradpromptError('invalid-config', `${option} needs answers of a closed set`, {
    found: 'free-text answers',
    expected: 'data.labels, or few values in the label column',
    hint: 'search.measure: cross-entropy, or mistakes, scores free text',
  })
}
