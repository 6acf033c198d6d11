import type { AnswerSpace } from '../../data/describe/answer-space.js'
import type { DataDescription, Lengths, PartDescription } from '../../data/describe/describe.js'
import { count, plural, quoted, table } from '../terminal/output.js'

/** What data are like, as lines for people. It counts nothing itself. */

const SHOWN_CLASSES = 8

export function dataTable({ parts, overlaps, answerSpace }: DataDescription & { readonly answerSpace?: AnswerSpace }): string {
  const rows = Object.entries(parts).flatMap(([part, described]) => (described.rows === 0 ? [] : partRows(part, described)))
  for (const { part, other, rows: shared, conflicting } of overlaps)
    rows.push([
      'overlap',
      `${plural(shared, 'row')} of ${part} stand in ${other} as well${conflicting > 0 ? `, ${count(conflicting)} with another answer` : ''}`,
    ])
  if (overlaps.length === 0 && Object.values(parts).filter(part => part.rows > 0).length > 1)
    rows.push(['overlap', 'no row stands in two parts'])
  if (answerSpace !== undefined) rows.push(['answer', describeSpace(answerSpace)])
  return table(rows.map(([name, text]) => [`  ${name}`, text!]))
}

function partRows(
  part: string,
  { rows, classes, answers, repeated, tokens, answerTokens, cut, measured }: PartDescription,
): string[][] {
  const shown = classes?.slice(0, SHOWN_CLASSES).map(({ label, rows }) => `${quoted(label, 30)} ${count(rows)}`)
  const more = (classes?.length ?? 0) - SHOWN_CLASSES
  const repeats =
    repeated.rows === 0
      ? 'no input twice'
      : `${plural(repeated.rows, 'row')} with the input of an earlier one${repeated.conflicting > 0 ? `, ${count(repeated.conflicting)} with another answer` : ''}`
  return [
    [part, `${plural(rows, 'row')}, ${plural(answers, 'different answer')}; ${repeats}`],
    ...(shown ? [['', `classes: ${shown.join(', ')}${more > 0 ? `, and ${count(more)} more` : ''}`]] : []),
    ...(tokens && answerTokens
      ? [
          [
            '',
            `tokens: ${range(tokens)}, of which the answer has ${range(answerTokens)}` +
              `${cut ? `; ${plural(cut, 'row')} cut to fit` : ''}${measured === rows ? '' : ` (first ${plural(measured ?? 0, 'row')})`}`,
          ],
        ]
      : []),
  ]
}

const range = ({ least, median, most }: Lengths) =>
  least === most ? count(least) : `${count(least)} to ${count(most)} (median ${count(median)})`

function describeSpace({ begins, wanted, endsInSpace }: AnswerSpace): string {
  const said = `begins ${begins ? 'with' : 'without'} a space`
  if (endsInSpace) return `${said}; the template ends in one, which belongs to the answer`
  if (wanted === null) return said
  return begins === wanted ? `${said}, as it should here` : `${said}; here it should begin ${wanted ? 'with' : 'without'} one`
}
