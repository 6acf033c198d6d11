import { isRecord } from '../../json.js'
import type { PromptReader } from './imported.js'
import { notAPrompt } from './rows.js'
import { textOf, wholeObject } from './texts.js'

interface Found {
  readonly name: string
  readonly instructions: string
  readonly demos: number
}

const deepest = 8

/** A DSPy program as `program.save("x.json")` writes it: the instructions of its one predictor. */
export const dspy: PromptReader = {
  name: 'dspy',
  description: 'the instructions of a saved DSPy program, .json',
  reads: (path, head) => path.endsWith('.json') && /^\s*\{[\s\S]*"signature"\s*:\s*\{/.test(head.toString('utf8')),
  async read(path) {
    const found = predictors(await wholeObject(path), 'the program', 0)
    const [first] = found
    if (first === undefined) throw notAPrompt(path, 'no signature with instructions', 'a DSPy program as program.save writes it')
    if (found.length > 1)
      throw notAPrompt(
        path,
        `${found.length} predictors: ${found
          .slice(0, 5)
          .map(({ name }) => name)
          .join(', ')}`,
        'one predictor',
        'save the one that you mean: program.PREDICTOR.save(path)',
      )
    const text = first.instructions.replaceAll('{', '{{').replaceAll('}', '}}')
    const demos = first.demos === 0 ? '' : `, and ${first.demos} demonstrations`
    return textOf(path, text, `only the instructions of the DSPy program are used; its fields${demos} are left out`)
  },
}

function predictors(value: Readonly<Record<string, unknown>>, name: string, depth: number): Found[] {
  const { signature, demos } = value
  if (isRecord(signature) && typeof signature.instructions === 'string')
    return [{ name, instructions: signature.instructions, demos: Array.isArray(demos) ? demos.length : 0 }]
  if (depth === deepest) return []
  return Object.entries(value).flatMap(([key, inner]) => (isRecord(inner) ? predictors(inner, key, depth + 1) : []))
}
