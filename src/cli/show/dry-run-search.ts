import { configAndTask } from '../../api/search.js'
import { originOf } from '../../data/readers/records.js'
import type { AnswerEnd } from '../../data/texts/answer-end.js'
import { loadTokenizer } from '../../formats/tokenizer.js'
import { openCheckpoint } from '../../model/weights/checkpoint.js'
import { forecastOf } from '../../search/run/forecast.js'
import { forecastWords } from '../../search/run/forecast-words.js'
import { spaceOptions } from '../../search/run/job.js'
import { assumed } from '../../search/run/settle.js'
import { writtenAnswer } from '../../search/space/search-row.js'
import { TokenSpace } from '../../search/space/token-space.js'
import { allowedTokens } from '../../search/space/vocabulary.js'
import { refuseOccupied } from '../../store/run-folder.js'
import { searchConfigInput } from '../computing/config-input.js'
import type { ConfigRequest } from '../computing/messages.js'
import { count, type Output, plural, quoted, table } from '../terminal/output.js'
import { describeModel, endOf, modelFacts, pieceLines, SHOWN_ROWS } from './dry-run.js'

/**
 * Shows what `search` would do with a config: how rows are cut at the prompt, what may change in it, and what the search may spend. No
 * weights are read.
 */
export async function dryRunSearch(request: ConfigRequest, output: Output): Promise<void> {
  const { config: asked, task } = await configAndTask(await searchConfigInput(request), request.configFile ?? 'command line')
  // What is tried when the search begins is shown as it is tried first.
  const config = assumed(asked)
  if (config.out !== undefined) await refuseOccupied(config.out)
  const checkpoint = await openCheckpoint(config.model)
  await checkpoint.file.close()
  const tokenizer = await loadTokenizer(checkpoint.tokenizer)
  const model = modelFacts(checkpoint)
  const { search } = config
  const space = new TokenSpace(tokenizer, spaceOptions(config, task.labels, model.contextLength, tokenizer), task.shape)
  const allowed = allowedTokens(tokenizer, search.vocabulary, model.vocabulary)
  const pieces = (ids: readonly number[]) => ids.map(id => tokenizer.token(id))
  const part = (role: string, ids: readonly number[]) => ({ role, text: tokenizer.decode(ids), ids, pieces: pieces(ids) })
  const examples = task.questions.slice(0, SHOWN_ROWS).map((record, i) => {
    const row = space.row(record, i)
    const { before, after, extractor, answer, end = [] } = row
    return {
      origin: originOf(record, i),
      tokens: before.length + space.start.length + after.length + extractor.length + answer.length,
      segments: [
        part('before', before),
        part('prompt', space.start),
        part('after', after),
        ...(search.extractor === undefined ? [] : [part('extractor', extractor)]),
        part('answer', writtenAnswer(row)),
        part('end', end),
      ].filter(({ ids }) => ids.length > 0),
    }
  })
  const summary = {
    event: 'dry-run',
    model,
    search: search.type,
    prompt: space.startText,
    tokens: space.start.length,
    freeTokens: space.free.length,
    vocabulary: allowed.length,
    rows: { questions: task.questions.length, shots: task.shots.length, dev: task.dev.length, test: task.test.length },
    labels: task.labels?.candidates ?? null,
    answerEnd: space.end ?? null,
    warnings: space.notices(config.answerEnd),
    steps: search.steps,
    budget: search.budget,
    ...forecastOf(config, task.questions.length),
    maxNewTokens: search.extractor === undefined ? null : search.maxNewTokens!,
    examples,
  }
  output.object(summary)
  for (const { code, message } of summary.warnings) output.note(`warning[${code}]: ${message}`)
  output.text(describe(summary, summary.forecast && forecastWords(summary.forecast, config)))
}

interface Summary {
  readonly model: ReturnType<typeof modelFacts>
  readonly search: string
  readonly prompt: string
  readonly tokens: number
  readonly freeTokens: number
  readonly vocabulary: number
  readonly rows: { questions: number; shots: number; dev: number; test: number }
  readonly labels: readonly string[] | null
  /** Of the answers that are scored. */
  readonly answerEnd: AnswerEnd | null
  readonly steps: number
  readonly budget: Readonly<Record<string, number | undefined>>
  readonly maxNewTokens: number | null
  readonly examples: readonly {
    origin: string
    tokens: number
    segments: readonly { role: string; text: string; ids: readonly number[]; pieces: readonly string[] }[]
  }[]
}

const spending = {
  generatedTokens: 'generated tokens',
  computedTokens: 'token rows',
  seconds: 'seconds',
  calls: 'calls of endpoints',
  cost: 'cost of endpoints',
} as const

function describe(summary: Summary, forecast?: string): string {
  const { rows, labels, maxNewTokens, tokens, freeTokens } = summary
  const frozen = freeTokens < tokens ? ` (${count(tokens - freeTokens)} more stay)` : ''
  const budget = Object.entries(spending).flatMap(([name, words]) =>
    summary.budget[name] === undefined ? [] : [`${count(summary.budget[name])} ${words}`],
  )
  const shots = rows.shots > 0 ? `, ${count(rows.shots)} shown` : ''
  const head = table([
    ['model', describeModel(summary.model)],
    ['search', `${summary.search}: ${plural(freeTokens, 'token')} to find among ${count(summary.vocabulary)}${frozen}`],
    ['prompt', quoted(summary.prompt, 110)],
    [
      'rows',
      `${rows.questions === 0 ? 'no questions yet, made as it goes' : `${count(rows.questions)} questions of train`}${shots}, ${count(rows.dev)} dev, ${count(rows.test)} test`,
    ],
    ['labels', labels === null ? 'none: free-text answers' : labels.map(label => quoted(label, 30)).join(', ')],
    ['answers end', endOf(summary.answerEnd)],
    ['steps', `${count(summary.steps)} at most${budget.length > 0 ? `, ${budget.join(', ')}` : ''}`],
    ...(forecast === undefined ? [] : ([['asks for', `at most ${forecast}`]] as const)),
  ])
  const examples = summary.examples.map(({ origin, tokens, segments }) => {
    const lines = segments.flatMap(segment => [
      ...(segment.role === 'extractor' ? [`  reasoning  at most ${plural(maxNewTokens!, 'token')} of the model's own`] : []),
      ...pieceLines(segment, 'extractor'.length),
    ])
    return [`${origin}: ${plural(tokens, 'token')}${maxNewTokens === null ? '' : ' and the reasoning'}`, ...lines].join('\n')
  })
  return [head, ...examples].join('\n\n')
}
