import { evaluate as evaluateByApi } from '../../api/evaluation/evaluate.js'
import { configInput } from './config-input.js'
import type { EvaluateRequest, EvaluateResult } from './evaluation-request.js'
import type { Context } from './tasks.js'

/** `gradprompt evaluate`, in the computing process: the library's `evaluate`, and of its result what is printed. */
export async function evaluate(
  { configFile, generation, families: _, ...request }: EvaluateRequest,
  { signal, onProgress, onEvent }: Context,
): Promise<EvaluateResult> {
  const {
    predictions: __,
    results: ___,
    rowsFile,
    control,
    ...result
  } = await evaluateByApi({
    ...request,
    ...(configFile !== undefined && { config: await configInput({ configFile, flags: {} }) }),
    ...(generation && { generate: true, ...generation }),
    keep: true,
    signal,
    onProgress: (done, total, what) => onProgress({ what, done, total }),
    onWarning: warning => onEvent({ event: 'warning', ...warning }),
  })
  const { results: ____, ...figures } = control ?? { results: [] }
  return {
    ...result,
    ...('name' in figures && { control: figures }),
    ...(rowsFile !== undefined && { results: rowsFile }),
  } as EvaluateResult
}
