/**
 * `node dist/scripts/study/quantize.js SOURCE TARGET.gguf TYPE`: a GGUF file with its matrices rounded to F32, F16, Q8_0, Q4_0 or Q4_1, for
 * studies of prompts on rounded weights.
 */
import { writeRequantized } from './requantized.js'

const [source = 'models/smollm2-135m-instruct', target = 'rounded.gguf', type = 'Q4_0'] = process.argv.slice(2)
await writeRequantized(source, target, type)
