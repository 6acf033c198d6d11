import type { LanguageModel } from '../../model/language-model.js'
import type { AnswerPair } from './verdicts.js'

/** Who compares two answers: the way it is asked, and a local model as one, by the likelihood of what it would say. */

/** Two answers in an order. */
export interface Question {
  readonly input: string
  readonly first: string
  readonly second: string
}

export interface Judge {
  readonly name: string
  /** What it is, so that another is told apart: a hash of a model, an address. */
  readonly identity: string
  /** @returns how likely the first answer is better; 0.5: it says neither; null: the pair does not fit it */
  prefer(question: Question): Promise<number | null>
}

export const usualInstruction =
  'Which of two outputs answers the input better? Mind whether it is right and whether it helps; its length and its place say nothing.'

/** What a judge reads. */
export const judgeText = (instruction: string, { input, first, second }: Question): string =>
  [
    instruction,
    `# Input\n${input}`,
    `# Output (a)\n${first}`,
    `# Output (b)\n${second}`,
    'Answer with "Output (a)" or "Output (b)" and nothing else.',
  ].join('\n\n')

/** Both orders of a pair. */
export const bothOrders = ({ input, baseline, other }: AnswerPair): readonly [Question, Question] => [
  { input, first: baseline, second: other },
  { input, first: other, second: baseline },
]

/** A model that judges by how likely it would say `Output (a)` and `Output (b)`: one pass, nothing is generated. */
export function modelJudge(model: LanguageModel, instruction: string): Judge {
  const { tokenizer } = model
  const isChat = tokenizer.chatTemplate !== undefined
  const asked = (question: Question) => {
    const text = judgeText(instruction, question)
    return isChat
      ? tokenizer.applyChatTemplate([{ role: 'user', content: text }], { addGenerationPrompt: true })
      : `${text}\n\nAnswer: `
  }
  return {
    name: model.name,
    identity: model.hash,
    async prefer(question) {
      const text = asked(question)
      const [a, b] = ['a', 'b'].map(letter => tokenizer.encode(`${text}Output (${letter})`, { addSpecialTokens: !isChat })) as [
        number[],
        number[],
      ]
      if (Math.max(a.length, b.length) > model.config.maxPositionEmbeddings) return null
      // What both begin with is computed once; of what they differ in, and what follows, each says its own.
      let shared = 0
      while (a[shared] === b[shared]) shared++
      const candidates = [a, b].map(ids => ({ ids: ids.slice(shared) }))
      const [[ofA, ofB]] = (await model.logLikelihoods(undefined, [{ context: a.slice(0, shared), candidates }])) as [
        [number, number],
      ]
      return 1 / (1 + Math.exp(ofB - ofA))
    },
  }
}
