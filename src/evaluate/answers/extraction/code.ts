import type { ExtractionRule } from './rule.js'

/** Between fences; an end that the budget of tokens has cut off is the end of the text. */
const fenced = /^[ \t]*(`{3,}|~{3,})[^\n]*\n([\s\S]*?)(?:^[ \t]*\1|(?![\s\S]))/dm

/** The first block of code in an answer that is written as Markdown. */
export const codeBlock: ExtractionRule = {
  name: 'code-block',
  description: 'what stands between the first ``` and the next',
  find(text) {
    const found = fenced.exec(text)
    if (found === null) return undefined
    const [start, end] = found.indices![2]!
    return { value: found[2]!, start, end }
  },
}
