import { labelNext as labelNextByApi } from '../../api/prediction/label-next.js'
import { refuseExisting } from '../../api/prediction/output.js'
import { rowFormatNamed } from '../../data/writers/index.js'
import { textOfRows } from '../../data/writers/text.js'
import { GradpromptError } from '../../errors.js'
import { replaceText } from '../../store/atomic.js'
import type { LabelNextRequest, LabelNextResult } from './messages.js'
import type { Context } from './tasks.js'

/** `gradprompt label-next`, in the computing process: the rows that were chosen, as a file that people can label. */

const added = ['prediction', 'probability', 'unsure'] as const

export async function labelNext(
  { prompts, output, format, families: _, ...request }: LabelNextRequest,
  { signal, onProgress, onEvent }: Context<'labelNext'>,
): Promise<LabelNextResult> {
  if (output !== undefined) await refuseExisting(output)
  const { columns, ...chosen } = await labelNextByApi({
    ...request,
    prompt: prompts,
    signal,
    onProgress: (done, total, what) => onProgress({ what, done, total }),
    onWarning: warning => onEvent({ event: 'warning', ...warning }),
    onColumns: refuseTaken,
  })
  const text = await textOfRows(
    rowFormatNamed(format),
    [
      ...columns.map(name => ({ name, type: 'text' as const })),
      { name: 'prediction', type: 'text' },
      { name: 'probability', type: 'number' },
      { name: 'unsure', type: 'number' },
    ],
    chosen.rows.map(({ row, prediction, probability, unsure }) => ({
      cells: [...columns.map(name => row[name] as string | undefined), prediction, probability, unsure],
      object: { ...row, prediction, probability, unsure },
    })),
  )
  if (output === undefined) return { ...chosen, text }
  await replaceText(output, text)
  return { ...chosen, output }
}

/** Before all rows are answered. @throws GradpromptError `column-taken` */
function refuseTaken(columns: readonly string[]): void {
  const taken = columns.find(name => (added as readonly string[]).includes(name))
  if (taken !== undefined)
    throw new GradpromptError('column-taken', 'the data have a column that the chosen rows have as well', {
      found: taken,
      expected: `other names than ${added.join(', ')}`,
    })
}
