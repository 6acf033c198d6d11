import { join } from 'node:path'
import type { DataRecord } from '../../data/readers/records.js'
import type { Task } from '../../data/task.js'
import { resolveAnswerEnd } from '../../data/texts/answer-end.js'
import type { Template } from '../../data/texts/template.js'
import { GradpromptError, refuseAborted } from '../../errors.js'
import { hashOf, RowResultFile } from '../../evaluate/row-results.js'
import { scoreClasses, scoreRows } from '../../evaluate/score.js'
import { logShare } from '../../hints/choice.js'
import { type HintForm, hintColumn, withHint } from '../../hints/form.js'
import type { LanguageModel } from '../../model/language-model.js'
import { mean } from '../../numbers.js'
import type { Config } from '../../train/config.js'
import { rowBuilderOf } from '../evaluation/likelihood.js'

/** How likely the plain model finds the right answer of a row behind a hint. What is scored stands in a file, and is not scored again. */

/** A row, and a text that stands before it; '' is none. */
export interface HintedRow {
  readonly record: DataRecord
  /** The row's place in its part. */
  readonly index: number
  readonly hint: string
}

export interface RowScore {
  /** Log-probability in nats: of the right class among the classes, or the mean over the tokens of a free answer. */
  readonly score: number
  /** Of classes: whether the right one is the likeliest. */
  readonly correct?: boolean
}

/** Rows whose scores reach the disk together. */
const chunk = 128

export interface LikelihoodOptions {
  readonly model: LanguageModel
  readonly config: Config
  readonly task: Task
  readonly form: HintForm
  readonly out: string
  readonly signal: AbortSignal | undefined
  readonly onProgress: (what: string, done: number, total: number) => void
}

export class Likelihoods {
  readonly #options: LikelihoodOptions
  readonly #builders: Readonly<Record<'plain' | 'hinted', ReturnType<typeof rowBuilderOf>>>

  /** @throws GradpromptError `unsupported-template` */
  constructor(options: LikelihoodOptions) {
    this.#options = options
    const { model, config, task, form } = options
    const { template, answer, train } = config
    const end = resolveAnswerEnd(config, model.tokenizer)
    const common = { answer, labels: task.labels, end, truncate: train.truncate }
    const builderOf = (shown: Template) => rowBuilderOf(model, undefined, { ...common, template: shown })
    this.#builders = { plain: builderOf(template), hinted: builderOf(withHint(template, form)) }
  }

  /** Makes rows without a hint, to see whether they can be scored. @throws GradpromptError `row-too-long`, and as making rows does */
  require(rows: readonly Pick<HintedRow, 'record' | 'index'>[]): void {
    for (const { record, index } of rows) this.#builders.plain.scoring(record, index)
  }

  /** @param name of the file that keeps them @throws GradpromptError `row-too-long`, `not-finite`, `aborted` */
  async of(name: string, rows: readonly HintedRow[]): Promise<RowScore[]> {
    const { model, config, form, out, signal, onProgress } = this.#options
    using file = await RowResultFile.open(join(out, `${name}.jsonl`))
    const decisive = [model.hash, config.template, config.answer, config.answerEnd, config.data.labels ?? null, form.say]
    const keys = rows.map(({ record, hint }) => hashOf([decisive, record, hint]))
    const scores = rows.map((_, i): RowScore | undefined => file.finished(i, keys[i]!))
    const missing = [...rows.keys()].filter(i => scores[i] === undefined)
    for (let start = 0; start < missing.length; start += chunk) {
      refuseAborted(signal)
      const part = missing.slice(start, start + chunk)
      const before = rows.length - missing.length + start
      const scored = await this.#score(
        part.map(i => rows[i]!),
        done => onProgress(name, before + done, rows.length),
      )
      for (const [place, i] of part.entries()) {
        scores[i] = scored[place]!
        file.append({ index: i, text: rows[i]!.hint, ...scored[place]!, key: keys[i]! })
      }
      onProgress(name, before + part.length, rows.length)
    }
    return scores.map(one => ({ score: one!.score, ...(one!.correct !== undefined && { correct: one!.correct }) }))
  }

  async #score(rows: readonly HintedRow[], onRows: (done: number) => void): Promise<RowScore[]> {
    const { model, config, task, signal } = this.#options
    const made = rows.map(({ record, index, hint }) => {
      const builder = this.#builders[hint === '' ? 'plain' : 'hinted']
      const hinted = hint === '' ? record : { ...record, [hintColumn]: hint }
      return builder.scoring(hinted, index)
    })
    const options = { batchSize: config.evaluate.batchSize, signal, onProgress: onRows }
    const finite = (score: number, i: number) => {
      if (Number.isFinite(score)) return score
      throw new GradpromptError(
        'not-finite',
        `the likelihood of the answer to row ${rows[i]!.index + 1} is not a finite number`,
        {
          found: String(score),
          exitCode: 1,
        },
      )
    }
    if (task.labels === undefined) {
      const { tokens } = await scoreRows(model, undefined, made, undefined, { ...options, seed: config.seed })
      return tokens!.map((values, i) => ({ score: finite(mean(values), i) }))
    }
    const classes = await scoreClasses(model, undefined, made, task.labels, options)
    return classes.map(({ logLikelihoods }, i) => {
      const { target } = made[i]!
      const score = finite(logShare(logLikelihoods, target), i)
      return { score, correct: logLikelihoods.indexOf(Math.max(...logLikelihoods)) === target }
    })
  }
}
