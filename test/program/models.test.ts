import { afterAll, describe, expect, test } from 'vitest'
import { crossEntropy } from '../../src/losses/cross-entropy.js'
import { lossTerm } from '../../src/losses/loss.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { Forest, type Sequence, type Target } from '../../src/model/forest/forest.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { gradientRequest, readingRequest } from '../../src/model/model-programs.js'
import { logitsReading, targetLogProbabilities } from '../../src/model/readings.js'
import { runEagerly } from '../../src/program/eager.js'
import { specOf } from '../../src/program/open-programs.js'
import { Program, type ProgramSpec } from '../../src/program/program.js'
import { promptTuning, promptTuningSchema } from '../../src/prompts/methods/prompt-tuning.js'
import { difference, random, type Values } from '../support/numbers.js'
import { weightReader } from '../support/weights.js'

const NUM_VIRTUAL_TOKENS = 3

/** Sequences that begin alike or not, of one token and of several, with children and without. */
const BATCHES: Record<string, Sequence[]> = {
  'a shared beginning': [{ ids: [5, 9, 11, 4] }, { ids: [5, 9, 7] }, { ids: [5, 9, 11, 4, 8, 2, 60, 61, 62] }],
  'nothing shared': [{ ids: [1, 2, 3] }, { ids: [4] }, { ids: [6, 7, 8, 9, 10, 11] }],
  'one row': [{ ids: [17] }],
  'equal lengths': [{ ids: [1, 2, 3] }, { ids: [4, 5, 6] }],
  children: [
    { ids: [5, 9, 11], children: [[1, 2], [3], []] },
    { ids: [5, 9, 7, 8], children: [[2], [4, 5, 6]] },
  ],
}

describe.each(['llama-gqa', 'mistral-window', 'gpt2', 'gemma2'])('programs of %s equal their eager runs', name => {
  const loaded = LanguageModel.load(`test/fixtures/models/${name}`, { threads: 1 })
  afterAll(async () => (await loaded).dispose())

  async function disagreement(spec: ProgramSpec, inputs: Record<string, Values>): Promise<Record<string, number>> {
    const program = await Program.compile(spec, { threads: 1 })
    const compiled = await program.runWithShapes(inputs)
    await program.dispose()
    const eager = await runEagerly(spec, inputs, weightReader(spec.weights!))
    expect(Object.keys(compiled).sort()).toEqual(Object.keys(eager).sort())
    return Object.fromEntries(
      Object.entries(eager).map(([output, { data, shape }]) => {
        expect([...compiled[output]!.shape]).toEqual(shape)
        return [output, difference(compiled[output]!.data, data)]
      }),
    )
  }

  describe.each(Object.entries(BATCHES))('%s', (_, sequences) => {
    test.each([
      ['logits', 'before-bos', 'at once'],
      ['logits', undefined, 'at once'],
      ['logProbabilities', 'after-bos', 'at once'],
      ['logProbabilities', undefined, 'at once'],
      ['logProbabilities', 'before-bos', 'in turn'],
      ['gradient', 'before-bos', 'at once'],
      ['gradient', 'after-bos', 'at once'],
      ['gradient', 'after-bos', 'in turn'],
    ] as const)('%s, prompt %s, groups %s', async (kind, position, way) => {
      const model = await loaded
      // A prompt behind the first token wants that all begin with the same one.
      const batch =
        position === 'after-bos' ? sequences.map(({ ids, children = [] }) => ({ ids: [5, ...ids], children })) : sequences
      // Training batches have no children.
      const trees = kind === 'gradient' ? batch.map(({ ids }) => ({ ids })) : batch
      const placement = { numVirtualTokens: position ? NUM_VIRTUAL_TOKENS : 0, position: position ?? 'before-bos' } as const
      const forest = new Forest(trees, placement, way === 'in turn' ? { inTurn: () => true } : {})
      const targets = trees.flatMap(({ ids, children = [] }: Sequence, i) => [
        ...ids.map((id, j): Target => ({ row: forest.rowOf(i, j)!, id: (id * 7 + j) % 90, weight: 0.1 + 0.05 * j })),
        ...children.flatMap((child, c) => child.map((id, j): Target => ({ row: forest.childRow(i, c, j), id, weight: 0 }))),
      ])
      const config = promptTuningSchema.parse({
        type: 'prompt-tuning',
        numVirtualTokens: NUM_VIRTUAL_TOKENS,
        position: position ?? 'before-bos',
      })
      const prompt = position && ({ method: promptTuning, config } as unknown as ActivePrompt)
      const smoothed = [lossTerm(crossEntropy, { type: 'cross-entropy', labelSmoothing: 0.1 })]
      const reading = kind === 'logits' ? logitsReading : targetLogProbabilities
      const spec = specOf(
        kind === 'gradient'
          ? gradientRequest(model, smoothed, prompt, { layout: forest.layout })
          : readingRequest(model, reading, prompt, { layout: forest.layout }),
      )
      const parameters = position && { 'parameter:prompt': random(4, [NUM_VIRTUAL_TOKENS, model.config.hiddenSize]) }
      const inputs = { ...(forest.inputs(targets).inputs as Record<string, Values>), ...parameters }
      for (const [output, worst] of Object.entries(await disagreement(spec, inputs))) expect(worst, output).toBeLessThan(1e-5)
    })
  })
})
