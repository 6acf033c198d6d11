import { GradpromptError } from '../errors.js'
import type { SafetensorsFile } from '../formats/safetensors.js'
import { arranged } from '../model/weights/arrange.js'
import { openCheckpoint } from '../model/weights/checkpoint.js'

/**
 * What an adapter of PEFT holds beside its prompt. PEFT stores the embeddings and the head of the base model with it where the vocabulary was
 * enlarged, and where they were trained: the first are the model's own, and may be left out; without the second the adapter is another one.
 * Which tensors make the prompt is unknown here.
 */

/** Largest relative difference (of root mean squares) of numbers that are the same ones, by whether they were rounded to blocks. */
const SAME = { stored: 0.005, quantized: 0.15 }

/** By what such tensors are called in the models of transformers: what they are to a program here. */
const kinds = [
  { kind: 'embedding', names: /(?:^|\.)(?:embed_tokens|wte|embed_in|word_embeddings)\.weight$/ },
  { kind: 'head', names: /(?:^|\.)(?:lm_head|embed_out)\.weight$/ },
] as const

/**
 * @param folder of the adapter, for the message
 * @param used names of the tensors that make the prompt
 * @param path of the base model; without it nothing else may be there
 * @throws GradpromptError `unsupported-adapter`, with the names of tensors that change what the base model computes
 */
export async function refuseChangedModel(
  folder: string,
  file: SafetensorsFile,
  used: ReadonlySet<string>,
  path: string | undefined,
): Promise<void> {
  const others = [...file.tensors.keys()].filter(name => !used.has(name))
  if (others.length === 0) return
  const own = path === undefined ? undefined : await openCheckpoint(path)
  try {
    const changed: string[] = []
    for (const name of others) if (own === undefined || !(await isOwn(name, file, own))) changed.push(name)
    if (changed.length === 0) return
    throw new GradpromptError(
      'unsupported-adapter',
      `the adapter in ${folder} changes the model itself, which is not supported`,
      {
        found: changed.slice(0, 5).join(', ') + (changed.length > 5 ? `, and ${changed.length - 5} more` : ''),
        expected: 'a prompt alone, or beside it the embeddings and the head that the base model has',
        hint: 'put those weights into a copy of the base model in Python, save that, and leave them out of the adapter',
      },
    )
  } finally {
    await own?.file.close()
  }
}

async function isOwn(
  name: string,
  file: SafetensorsFile,
  { weights, family, config, file: stored }: Awaited<ReturnType<typeof openCheckpoint>>,
): Promise<boolean> {
  const kind = kinds.find(({ names }) => names.test(name))?.kind
  if (kind === undefined) return false
  const wanted = kind === 'embedding' || config.tieWordEmbeddings ? family.embedding : 'head'
  const part = weights.find(weight => weight.name === wanted)?.parts
  if (part?.length !== 1 || file.tensors.get(name)!.shape.join() !== part[0]!.shape.join()) return false
  const own = arranged(await stored.read(part[0]!.source), part[0]!)
  const given = await file.read(name)
  let [difference, size] = [0, 0]
  for (const [i, value] of own.entries()) {
    difference += (given[i]! - value) ** 2
    size += value ** 2
  }
  const isStored = ['F32', 'F16', 'BF16'].includes(stored.tensors.get(part[0]!.source)!.dtype)
  return Math.sqrt(difference) <= (isStored ? SAME.stored : SAME.quantized) * Math.sqrt(size)
}
