import type { AnswerEnd } from '../../data/texts/answer-end.js'
import { GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import type { LanguageModel } from '../../model/language-model.js'
import { loadBeside } from '../../model/with-model.js'
import { writtenAnswer } from '../space/search-row.js'
import type { SearchRow, TokenSpace } from '../space/token-space.js'
import { Budget } from './budget.js'
import { Objective } from './objective.js'
import { SearchPrograms } from './programs.js'

/** How a smaller model reads a search's texts. */
interface DraftTexts {
  readonly addSpecialTokens: boolean
  readonly endOf: (tokenizer: Tokenizer) => AnswerEnd | undefined
}

/** A smaller model that scores prompts in the place of the one that they are searched for. */
export class Draft {
  readonly #programs: SearchPrograms

  readonly #target: LanguageModel
  readonly #space: TokenSpace
  /** A text is encoded with the special tokens that the tokenizer adds; chat templates write their own. */
  readonly #addSpecialTokens: boolean
  /** What ends an answer, in this model's tokens. */
  readonly #end: readonly number[]

  private constructor(
    readonly model: LanguageModel,
    target: LanguageModel,
    space: TokenSpace,
    { addSpecialTokens, endOf }: DraftTexts,
  ) {
    this.#target = target
    this.#space = space
    this.#addSpecialTokens = addSpecialTokens
    this.#end = endOf(model.tokenizer)?.ids ?? []
    this.#programs = new SearchPrograms(model)
  }

  /** @throws GradpromptError as loading a model does */
  static async open(path: string, target: LanguageModel, space: TokenSpace, texts: DraftTexts): Promise<Draft> {
    return new Draft(await loadBeside(path, target), target, space, texts)
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose()
    await this.model.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  /** A way of scoring that stops with a search. */
  scorer(options: {
    mellowmax?: number | undefined
    seconds?: number | undefined
    elapsed: () => number
    signal?: AbortSignal | undefined
  }): DraftScorer {
    const budget = new Budget({ seconds: options.seconds }, options.elapsed)
    const settings = { free: [], fluency: 0, mellowmax: options.mellowmax }
    const objective = new Objective(this.model, this.#programs, budget, settings, options.signal)
    return {
      get computedTokens() {
        return budget.spent.computedTokens
      },
      score: async (prompts, rows) => {
        if (this.model.tokenizer.hash === this.#target.tokenizer.hash)
          return (await objective.score(prompts, rows)).map(({ loss }) => loss)
        // Other tokens: every text is its own sequence.
        const texts = prompts.flatMap(prompt => rows.map(row => this.#reread(prompt, row)))
        const [scores] = await objective.score([[]], texts)
        return prompts.map((_, p) => {
          const own = scores!.rowLosses.slice(p * rows.length, (p + 1) * rows.length)
          return own.reduce((sum, loss) => sum + loss, 0) / rows.length
        })
      },
    }
  }

  /** A row's text under a prompt, in this model's tokens. */
  #reread(prompt: readonly number[], row: SearchRow): SearchRow {
    const encode = (text: string) => this.model.tokenizer.encode(text, { addSpecialTokens: this.#addSpecialTokens })
    const text = row.text.before + this.#space.text(prompt) + row.text.after
    const ids = encode(text)
    const context = encode(text.slice(0, text.length - this.#space.text(writtenAnswer(row)).length))
    const end = row.end === undefined ? [] : this.#end
    let border = 0
    while (border < context.length && border < ids.length - 1 && context[border] === ids[border]) border++
    const { maxPositionEmbeddings } = this.model.config
    if (border > 0 && ids.length + end.length <= maxPositionEmbeddings)
      return { ...row, before: ids.slice(0, border), after: [], answer: [...ids.slice(border), ...end], end }
    throw new GradpromptError('row-too-long', 'a question does not fit into the context of the draft model', {
      found: `${ids.length + end.length} tokens`,
      expected: `at most ${maxPositionEmbeddings}`,
      hint: 'take a draft model with a longer context, or leave such rows out',
    })
  }
}

export interface DraftScorer {
  /** Token rows that went through the draft model, so far. */
  readonly computedTokens: number
  /** The mean cross entropy (or mellowmax) of the answers under each prompt. */
  score(prompts: readonly (readonly number[])[], rows: readonly SearchRow[]): Promise<number[]>
}
