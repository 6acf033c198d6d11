import { columnValue, type DataRecord } from '../../../data/readers/records.js'
import { unknownName } from '../../../errors.js'
import { codeBlock } from '../../answers/extraction/code.js'
import type { Scorer } from '../../answers/scorer-kind.js'
import { type CodeBleu, codeBleuOf } from './codebleu.js'
import { codeLanguages } from './languages.js'

type Compare = (code: string, reference: string) => CodeBleu

/** The code of an answer that is written as Markdown is what stands in its first block. */
function scored(compare: Compare, row: DataRecord, text: string) {
  return compare(codeBlock.find(text, '')?.value ?? text, columnValue(row, 'answer', 0))
}

const unopened = (name: string) => () => {
  throw new Error(`the scorer ${name} is opened before it scores`)
}

/** `codebleu-python` and so on, and `codebleu`, which reads the language in the column `language` of each row. */
export const codeBleuScorers: readonly Scorer[] = [
  {
    name: 'codebleu',
    score: unopened('codebleu'),
    open: async () => {
      const opened = new Map<string, Promise<Compare>>()
      return {
        name: 'codebleu',
        async score(row, text) {
          const name = columnValue(row, 'language', 0).toLowerCase()
          const language = codeLanguages.find(known => known.name === (aliases[name] ?? name))
          if (language === undefined)
            throw unknownName(
              'unknown-language',
              'CodeBLEU does not know the language',
              name,
              codeLanguages.map(({ name }) => name),
            )
          const compare = opened.get(language.name) ?? codeBleuOf(language)
          opened.set(language.name, compare)
          return scored(await compare, row, text)
        },
      }
    },
  },
  ...codeLanguages.map(
    (language): Scorer => ({
      name: `codebleu-${language.name}`,
      score: unopened(`codebleu-${language.name}`),
      open: async () => {
        const compare = await codeBleuOf(language)
        return { name: `codebleu-${language.name}`, score: (row, text) => scored(compare, row, text) }
      },
    }),
  ),
]

/** As data sets write it. */
const aliases: Readonly<Record<string, string>> = { 'c#': 'c-sharp', csharp: 'c-sharp', c_sharp: 'c-sharp' }
