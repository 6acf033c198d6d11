import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { openSafetensors } from '../../src/formats/safetensors.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { methodSchemas, promptMethods } from '../../src/prompts/methods/index.js'
import { difference, relativeError } from './numbers.js'

export interface PromptFixture {
  readonly name: string
  readonly model: string
  readonly method: Readonly<Record<string, unknown>> & { readonly type: string }
  readonly loss: number
  readonly rows: readonly { readonly ids: number[]; readonly labels: number[]; readonly instructionLength: number }[]
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>
}

/** What torch or PEFT computes of a method: test/fixtures/prompt-methods/NAME. */
export async function promptFixture(name: string): Promise<PromptFixture> {
  const path = `test/fixtures/prompt-methods/${name}`
  const scalars = JSON.parse(readFileSync(`${path}.json`, 'utf8')) as Omit<PromptFixture, 'tensors'>
  const file = await openSafetensors(`${path}.safetensors`)
  try {
    const read = async (tensor: string) => ({ shape: file.tensors.get(tensor)!.shape, data: await file.read(tensor) })
    const tensors = await Promise.all([...file.tensors.keys()].map(async tensor => [tensor, await read(tensor)] as const))
    return { ...scalars, tensors: new Map(tensors) }
  } finally {
    await file.close()
  }
}

/** A method's resolved configuration. */
export function methodConfig<Options extends { readonly type: string }>(options: Options) {
  const schema = methodSchemas.find(({ shape }) => shape.type.value === options.type)!
  return schema.parse(options) as { readonly type: string }
}

const models = new Map<string, Promise<LanguageModel>>()

/** A tiny model of test/fixtures/models, loaded once for a test file. */
export function tinyModel(name: string): Promise<LanguageModel> {
  const known = models.get(name) ?? LanguageModel.load(`test/fixtures/models/${name}`, { threads: 1 })
  models.set(name, known)
  return known
}

export async function disposeModels(): Promise<void> {
  for (const model of models.values()) await (await model).dispose()
  models.clear()
}

/**
 * Logits of each row and of all together, loss and gradients of a fixture by our method of the same parameters.
 *
 * @param gradient where a parameter's shape is not the fixture's: ours as theirs
 */
export async function expectParity(
  fixture: PromptFixture,
  config: { readonly type: string },
  parameters: ReadonlyMap<string, Float32Array>,
  gradient: (name: string, ours: Float32Array) => Float32Array = (_, ours) => ours,
): Promise<void> {
  const model = await tinyModel(fixture.model)
  const prompt: ActivePrompt = { method: promptMethods.get(config.type)!, config, parameters }
  const rows = fixture.rows.map(({ ids }) => ids)
  const wanted = (name: string) => fixture.tensors.get(name)!.data
  const { loss, gradients } = await model.promptGradient(prompt, fixture.rows)
  expect(Math.abs(loss - fixture.loss)).toBeLessThan(1e-5 * fixture.loss)
  expect([...gradients.keys()].sort()).toEqual([...parameters.keys()].sort())
  for (const [name, values] of gradients)
    expect(relativeError(gradient(name, values), wanted(`gradient.${name}`)), `gradient of ${name}`).toBeLessThan(1e-4)
  const { as = 'rows', perSequence = false, edges } = prompt.method.placement(config, model.config)
  // What depends on the instruction has no logits of a text as such.
  if (!perSequence && edges === undefined) {
    const logits = await model.logits(rows, prompt)
    for (const [i, found] of logits.entries())
      expect(difference(found, wanted(`logits.${i}`)), `logits of row ${i}, ${as}`).toBeLessThan(1e-4)
  }
  // A scored answer is what the instruction does not hold: its likelihood by the logits of the fixture.
  const scored = fixture.rows.map(({ ids, instructionLength }) => ({
    context: ids.slice(0, instructionLength),
    candidates: [{ ids: ids.slice(instructionLength) }],
  }))
  const likelihoods = await model.logLikelihoods(prompt, scored)
  for (const [i, ids] of rows.entries()) {
    const logits = wanted(`logits.${i}`)
    const { instructionLength } = fixture.rows[i]!
    const expected = logLikelihood(logits, ids, instructionLength, model.config.vocabSize)
    expect(Math.abs(likelihoods[i]![0]! - expected), `likelihood of row ${i}`).toBeLessThan(1e-4)
  }
}

/** Log-probability of the ids from position `from` on. */
export function logLikelihood(logits: Float32Array, ids: readonly number[], from: number, vocabSize: number): number {
  let sum = 0
  for (let at = from; at < ids.length; at++) {
    const row = logits.subarray((at - 1) * vocabSize, at * vocabSize)
    const highest = Math.max(...row)
    sum += row[ids[at]!]! - highest - Math.log(row.reduce((total, x) => total + Math.exp(x - highest), 0))
  }
  return sum
}
