import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../../errors.js'
import type { Checkpoint } from '../../model/weights/checkpoint.js'

/** The config.json of what is written for tools that read Hugging Face's files. */

export const writeJson = (folder: string, name: string, value: object) =>
  writeFile(join(folder, name), `${JSON.stringify(value, null, 2)}\n`)

const dtypeNames = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const

/**
 * The checkpoint's own config.json with some keys changed; of a GGUF file, what its metadata come to.
 * @throws GradpromptError `not-exportable`
 */
export function modelConfig(
  { rawConfig }: Pick<Checkpoint, 'rawConfig'>,
  changed: Readonly<Record<string, unknown>>,
  { dtype, ...ends }: { readonly dtype?: keyof typeof dtypeNames; readonly [key: string]: unknown },
): object {
  if (dtype === undefined) return { ...rawConfig, ...changed }
  const { rope_divisors: divisors, rope_parameters: rope, partial_rotary_factor: part, model_type: type, ...rest } = rawConfig
  if (divisors !== undefined)
    throw new GradpromptError('not-exportable', 'The GGUF file has divisors of frequencies where config.json has their formula', {
      found: 'the tensor rope_freqs.weight',
      expected: 'a model whose rotation is stated by numbers of the metadata',
      hint: 'export to gguf, or tune on the Hugging Face folder that the file was made from',
    })
  const scaling = Object.fromEntries(
    Object.entries({ ...(rope as object | undefined) }).filter(([, value]) => value !== undefined),
  )
  const { rope_theta: theta } = rest as { rope_theta?: unknown }
  const turning = theta === undefined ? {} : { rope_parameters: { rope_type: 'default', rope_theta: theta, ...scaling } }
  return {
    architectures: [`${String(type).replace(/(^|_)(.)/g, (_, __, letter: string) => letter.toUpperCase())}ForCausalLM`],
    model_type: type,
    ...rest,
    ...turning,
    ...(Number(part ?? 1) === 1 ? {} : { partial_rotary_factor: part }),
    ...ends,
    ...changed,
    dtype: dtypeNames[dtype],
  }
}
