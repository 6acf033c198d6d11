import type { ModelConfig } from '../../models/blocks/family.js'
import type { DataNotice } from '../data/readers/reader.js'
import type { RowBuilder } from '../data/rows/rows.js'
import { taskNotices } from '../data/rows/tasks.js'
import type { Task } from '../data/task.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { PromptPlacement } from '../prompts/method.js'
import type { Config } from './config.js'
import { controlNotices } from './control.js'
import { metaNotices } from './meta/tasks.js'

/** What is said of a run's rows before it begins: what was guessed of them, and where they are not as its options provide for. */

interface RowNoticesContext extends Pick<ActivePrompt, 'method'> {
  /** The method's options, resolved. */
  readonly options: ActivePrompt['config']
  readonly model: ModelConfig
  readonly tokenizer: Tokenizer
  readonly builder: RowBuilder
}

export const rowNotices = (
  config: Config,
  task: Task,
  { method, options, model, tokenizer, builder }: RowNoticesContext,
): DataNotice[] => [
  ...taskNotices(method.tasks?.(options), task.train),
  ...controlNotices(config, task, { tokenizer, contextLength: model.maxPositionEmbeddings }),
  ...metaNotices(config.train.meta, task.train),
  ...placeNotices(method.placement(options, model), builder, task),
]

/** What there is to say of texts that are shorter than virtual tokens within them provide for. */
function placeNotices(
  { beforeLast = 1 }: PromptPlacement,
  builder: RowBuilder,
  task: Pick<Task, 'train' | 'scored' | 'test'>,
): DataNotice[] {
  // One token every text has.
  if (beforeLast === 1) return []
  const records = [task.train, task.scored, task.test].flatMap(part => part.map((record, i) => ({ record, i })))
  const short = records.filter(({ record, i }) => builder.scoring(record, i).context.length < beforeLast).length
  const message = `${short} of ${records.length} rows have fewer than the ${beforeLast} tokens of method.beforeLast: there the virtual tokens stand in front of the whole text`
  return short === 0 ? [] : [{ code: 'short-texts', message }]
}
