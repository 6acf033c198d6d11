import { limitRecords } from '../../data/split.js'
import { summary } from '../../evaluate/score.js'
import { productsOf } from '../../generate/programs.js'
import type { LanguageModel } from '../../model/language-model.js'
import { taskConfig } from '../../search/config.js'
import { evaluateReasoned, refuseUnread } from '../../search/run/judge.js'
import { searchConfigOf } from '../runs/configs.js'
import type { EvaluateOptions } from './evaluate.js'
import { warnOfOverlap } from './overlap.js'
import { keepsOthers, type Place } from './place.js'
import { recordsOf, type Scored, type Subject } from './subject.js'

/** A prompt of a search over reasoning is judged as the search did: the model reasons, and the extractor asks. */
export async function byReasoning(
  model: LanguageModel,
  subject: Subject,
  options: EvaluateOptions,
  place: Place,
): Promise<Scored> {
  refuseUnread(options)
  const { seed, batchSize } = subject
  const { prompt, ids, initial, ...run } = subject.source.found!
  const config = await searchConfigOf(run)
  const texts = taskConfig(config, prompt)
  const all = await recordsOf(subject, texts, options.onWarning)
  await warnOfOverlap(subject, all, texts, options.onWarning)
  const records = limitRecords(all, options.limit, seed)
  await keepsOthers(place, all, records)
  const prompts = [ids, ...(options.control === true && initial !== undefined ? [initial.ids] : [])]
  const started = performance.now()
  const [found, first] = await evaluateReasoned({ ...config, seed }, model, records, prompts, {
    batchSize,
    signal: options.signal,
    onProgress: (done, total) => options.onProgress?.(done, total, 'answers'),
  })
  const seconds = (performance.now() - started) / 1000
  const { judged, results } = found!
  return {
    result: {
      condition: 'found prompt',
      weights: productsOf(model, config.search.weights!),
      ...summary(judged),
      results,
      ...(first && {
        control: { name: 'first prompt', metrics: first.judged.metrics, instruction: null, results: first.results },
      }),
      seconds,
      rowsPerSecond: judged.rows / Math.max(seconds, 1e-6),
    },
  }
}
