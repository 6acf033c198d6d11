import { type ExtractionRule, extractAnswer } from './extraction.js'

/** The answer in a text as another text may have it as well: without case, thousands marks, a currency before it or a full stop behind it. */
export function plainAnswer(text: string, rules: readonly ExtractionRule[], question = ''): string | undefined {
  const found = extractAnswer(text, rules, question)
  return found?.value
    .trim()
    .toLowerCase()
    .replaceAll(/(?<=\d),(?=\d{3})/g, '')
    .replace(/^\$|\.$/g, '')
}
