import { observingLinear } from '../../kernels/linear.js'
import type { tf } from '../../kernels/tf.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { type CompileOptions, Program, type ProgramSpec } from '../program/program.js'
import { placementOf } from './active-prompt.js'
import { Forest } from './forest/forest.js'
import { forestSpec } from './forest/spec.js'
import { forwardForest } from './forward.js'
import type { ProgramModel } from './model-programs.js'

/** Of several kinds: a story, a question with its answer, a review, news, code, another language. */
const TEXT = `The boat had been lying on the beach since the storm. Nobody in the village knew whose it was, and by the third morning the
children had made a house of it. "We should ask the harbour master," said Ana, but her brother was already painting the door blue.

Question: A baker sells 24 loaves in the morning and half as many in the afternoon. Each loaf costs $3. How much does she earn?
Answer: In the afternoon she sells 24 / 2 = 12 loaves. That makes 24 + 12 = 36 loaves, so she earns 36 * 3 = $108. The answer is 108.

Review: a warm and funny film that never quite finds its ending, though the actors are a pleasure to watch.
Sentiment: positive

LONDON - Shares of the two largest carriers fell by 4.5 percent on Tuesday after fuel prices rose for a third week, analysts said.

def mean(values):
    total = sum(values)
    return total / len(values) if values else 0.0

La carte du monde est sur la table. Das Wetter wird morgen besser. 1. Open the file. 2. Read each line. 3. Close the file again.`

export interface CalibratedModel extends ProgramModel {
  readonly tokenizer: Tokenizer
}

/** Weights of linear layers that take one input, and what it is for the tokens of a text. */
export interface InputGroup {
  readonly names: readonly string[]
  readonly columns: number
  /** [tokens, columns] */
  readonly rows: Float32Array
  /** The weights give logits. */
  readonly ofLogits: boolean
}

/** What every linear layer takes, for a text of a few hundred tokens. */
export async function inputGroups(model: CalibratedModel, options: CompileOptions): Promise<InputGroup[]> {
  const { config } = model.checkpoint
  const known = model.tokenizer.encode(TEXT).filter(id => id < config.vocabSize)
  const ids = known.length > 0 ? known.slice(0, config.maxPositionEmbeddings) : [0]
  const forest = new Forest([{ ids }], placementOf(undefined, config))
  const { inputs } = forest.inputs(ids.map((_, i) => ({ row: forest.rowOf(0, i)!, id: 0, weight: 0 })))
  const takers: Taker[] = []
  const program = await Program.compile(inputsSpec(model, takers), options)
  try {
    const results = (await program.run(inputs)) as Record<number, Float32Array>
    const columnsOf = ({ names }: Taker) => model.weights.tensors.get(names[0]!)!.shape[1]!
    return takers.map((taker, i) => ({ ...taker, columns: columnsOf(taker), rows: results[i]! }))
  } finally {
    await program.dispose()
  }
}

type Taker = Pick<InputGroup, 'names' | 'ofLogits'>

/** @param takers filled as the function is traced, which without a key it always is */
function inputsSpec({ checkpoint: { family, config }, weights }: ProgramModel, takers: Taker[]): ProgramSpec {
  return {
    name: `${family.name} inputs of linear layers`,
    ...forestSpec({ placement: placementOf(undefined, config) }),
    weights,
    fn: (given, weight) => {
      const nameOf = new Map<tf.Tensor, string>()
      const named = (name: string) => {
        const tensor = weight(name)
        nameOf.set(tensor, name)
        return tensor
      }
      const groups = new Map<tf.Tensor, { names: string[]; ofLogits: boolean }>()
      const observed = (ofLogits: boolean, run: () => tf.Tensor) =>
        observingLinear((x, taker) => {
          const group = groups.get(x) ?? { names: [], ofLogits }
          groups.set(x, group)
          group.names.push(nameOf.get(taker)!)
        }, run)
      const hidden = observed(false, () => forwardForest({ family, config, weight: named, given }))
      observed(true, () => family.logits(config, named, hidden))
      takers.splice(0, takers.length, ...groups.values())
      return Object.fromEntries([...groups.keys()].map((x, i) => [String(i), x]))
    },
  }
}
