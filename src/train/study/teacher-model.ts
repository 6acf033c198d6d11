import { GradpromptError } from '../../errors.js'
import { loadTokenizer } from '../../formats/tokenizer.js'
import type { LanguageModel } from '../../model/language-model.js'
import { type Checkpoint, openCheckpoint, shortName } from '../../model/weights/checkpoint.js'
import { loadBeside } from '../../model/with-model.js'

/**
 * A teacher of other weights: the model at full precision, for a prompt that is learned on its quantised weights (Xu et al. 2023, arXiv
 * 2305.11186, learn such a prompt by the language-model loss; the teacher is ours). It is opened when it is first asked, and lives as long
 * as the run's work.
 */
export interface TeacherModel extends AsyncDisposable {
  /** @throws GradpromptError as `LanguageModel.load` does */
  open(): Promise<LanguageModel>
}

/** @param name as `model` of a config @param model the one that learns, whose settings the teacher has */
export function teacherModel(name: string | undefined, model: LanguageModel): TeacherModel | undefined {
  if (name === undefined) return undefined
  let opened: Promise<LanguageModel> | undefined
  return {
    open() {
      opened ??= loadBeside(name, model)
      return opened
    },
    async [Symbol.asyncDispose]() {
      const model = await opened?.catch(() => undefined)
      opened = undefined
      await model?.dispose()
    },
  }
}

/** Texts in which tokenizers differ: case, digits, runs of spaces and breaks, marks, scripts. */
const probes = ["It's 12345 OK?!", ' two  spaces\n\n\tand a tab ', 'naïve Ελλάδα 日本語 😀', "I'll THEY'VE x=1,000.5;"]

/**
 * Whether another model predicts the tokens of this one, and with `hidden` from states of the same width.
 * @throws GradpromptError `model-mismatch`, and as opening it does
 */
export async function checkTeacherModel(name: string, student: Checkpoint, hidden: boolean): Promise<void> {
  const teacher = await openCheckpoint(name)
  await teacher.file.close()
  const refuse = (found: string, expected: string): never => {
    throw new GradpromptError('model-mismatch', `${shortName(teacher)} cannot teach ${shortName(student)}`, {
      found,
      expected,
      hint: 'train.distillation.model is the same model in other weights, or one of the same tokenizer',
    })
  }
  const [own, theirs] = [student.config, teacher.config]
  if (own.vocabSize !== theirs.vocabSize) refuse(`a vocabulary of ${theirs.vocabSize}`, `one of ${own.vocabSize}`)
  if (hidden && own.hiddenSize !== theirs.hiddenSize)
    refuse(`hidden states of ${theirs.hiddenSize} numbers`, `${own.hiddenSize}, as train.distillation.hidden compares them`)
  const [mine, other] = await Promise.all([student, teacher].map(({ tokenizer }) => loadTokenizer(tokenizer)))
  for (const probe of probes) {
    const [a, b] = [mine!, other!].map(tokenizer => tokenizer.encode(probe).join())
    if (a !== b) refuse(`${JSON.stringify(probe)} as the tokens ${b}`, a!)
  }
}
