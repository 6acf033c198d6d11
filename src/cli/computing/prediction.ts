import { predictInto } from '../../api/prediction/output.js'
import { predict as predictByApi } from '../../api/prediction/predict.js'
import { rowFormatNamed } from '../../data/writers/index.js'
import type { PredictRequest, PredictResult } from './messages.js'
import type { Context } from './tasks.js'

/** `gradprompt predict`, in the computing process: rows into a file, or told as they are written. */
export async function predict(
  { output, format = 'csv', keep, families: _, ...request }: PredictRequest,
  { signal, onProgress, onEvent, onNews }: Context<'predict'>,
): Promise<PredictResult> {
  const options = {
    ...request,
    signal,
    onProgress: (done: number, total: number, what: string) => onProgress({ what, done, total }),
    onWarning: (warning: { readonly code: string; readonly message: string }) => onEvent({ event: 'warning', ...warning }),
  }
  if (output !== undefined) return predictByApi.toFile({ ...options, output, format, keep })
  const sink = { write: (text: string | Uint8Array) => onNews({ text: String(text) }) }
  return predictInto(sink, rowFormatNamed(format), options, keep)
}
