/**
 * Checkpoints whose weights another tool has packed: `quantization_config` of config.json says how. A scheme is one file beside this one
 * and an entry here; what no entry names is refused by its name.
 */
import { isRecord } from '../../json.js'
import type { TensorFile } from '../tensor-file.js'
import { awq } from './awq.js'
import { compressedTensors } from './compressed-tensors.js'
import { float8 } from './float8.js'
import { gptq } from './gptq.js'
import { PackedTensors, type PackingScheme } from './packed-tensors.js'
import { unreadPacking } from './parts.js'

const schemes: readonly PackingScheme[] = [awq, compressedTensors, float8, gptq]

/**
 * The weights of a file as `quantization_config` says that they are stored: the file itself where it says nothing.
 * @throws GradpromptError `unsupported-quantization`, `missing-weight`, `shape-mismatch`
 */
export function unpackedTensors(file: TensorFile, quantization: unknown): TensorFile {
  if (quantization === undefined || quantization === null) return file
  const config = isRecord(quantization) ? quantization : {}
  const { quant_method: method, format } = config
  const scheme = schemes.find(({ methods }) => typeof method === 'string' && methods.includes(method))
  if (scheme === undefined) {
    const name = [method, format].find(value => typeof value === 'string')
    throw unreadPacking(
      file,
      `quantization by ${name ?? 'an unnamed method'}`,
      `F32, F16 or BF16 safetensors, what ${schemes.flatMap(({ methods }) => methods).join(', ')} write, or a GGUF file`,
    )
  }
  const { weights, beside } = scheme.find(file, config)
  return new PackedTensors(file, weights, beside)
}
