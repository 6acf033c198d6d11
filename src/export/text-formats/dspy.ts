import { columnsOf, isIdentifier, json, type TextFormat } from './format.js'

/** Names of fields as DSPy makes labels of them: `review_text` is `Review Text:`. */
const prefix = (name: string) =>
  `${name
    .split('_')
    .filter(Boolean)
    .map(word => word[0]!.toUpperCase() + word.slice(1))
    .join(' ')}:`

/** The state of a `dspy.Predict` whose instructions are the found words. DSPy writes the text around them itself. */
export const dspy: TextFormat = {
  file: 'dspy.json',
  usage:
    '`program = dspy.Predict("INPUTS -> ANSWER"); program.load("dspy.json")`, with the columns as inputs and that of the answer. DSPy writes the text around the words itself, so that this is no longer what was searched over.',
  content({ found, template, answer }) {
    const names = [...columnsOf(template), ...columnsOf(answer)]
    if (names.length < 2 || !names.every(isIdentifier) || new Set(names).size < names.length) return undefined
    const fields = names.map(name => ({ prefix: prefix(name), description: `\${${name}}` }))
    return json({
      traces: [],
      train: [],
      demos: [],
      signature: { instructions: found.prompt.trim(), fields },
      lm: null,
      metadata: { dependency_versions: {} },
    })
  },
}
