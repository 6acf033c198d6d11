/**
 * What modules of people's own are written with, beside the interfaces that `gradprompt` exports: TF.js and zod as this package loads them
 * (a second copy of either would not work with the first), the built-in entries to derive others from, and the pieces that the built-in
 * ones are made of. `docs/extending.md` shows one of each kind. Nothing here is needed to use the package as it is.
 */

export { z } from 'zod'
export { tf } from '../kernels/tf.js'
export { tokenCrossEntropy, tokenLogits, tokenLogProbabilities } from '../kernels/token-cross-entropy.js'
export { decoderConfig, readSizes, readWindow, windowedLayers } from '../models/blocks/config.js'
export { ConfigReader } from '../models/blocks/config-reader.js'
export { ggufRotary, ggufSizes } from '../models/blocks/gguf-keys.js'
export { readActivation } from '../models/blocks/mlp.js'
export { readLayerNorm, readRmsNorm } from '../models/blocks/norm.js'
export { readRotary } from '../models/blocks/rotary.js'
export { llamaNaming } from '../models/blocks/weights.js'
export { decoderFamily } from '../models/decoder.js'
export { families } from '../models/index.js'
export { declareCode } from './code-identity.js'
export { dataReaders } from './data/readers/index.js'
export { GradpromptError } from './errors.js'
export { compilePattern, extractionRule, rules } from './evaluate/answers/extraction.js'
export { exactMatch, rougeL, squadF1 } from './evaluate/answers/text-metrics.js'
export { scorers } from './evaluate/scorer.js'
export { taskAdapters } from './evaluate/tasks/index.js'
export { exportTargets } from './export/index.js'
export { losses } from './losses/index.js'
export {
  sequenceDims,
  sequenceFeeds,
  sequenceInputs,
  sequenceLengths,
  sequenceLogProbabilities,
  sequenceLogSumExp,
} from './losses/sequences.js'
export { promptMethods } from './prompts/methods/index.js'
export { isStatic, staticPrefix, staticRows } from './prompts/static.js'
export { searchMethods } from './search/methods/index.js'
export { moveAmong } from './search/moves/acceptance.js'
export { distinct, draw, lowest, pick, rowsOf, substituted, substitutionScores } from './search/space/candidates.js'
export { strategies } from './strategies/index.js'
export { majority } from './strategies/votes.js'
