import { readPredictions, type ScoredPart } from '../evaluate/predictions.js'
import { type Verdict, verdictAgainst } from '../evaluate/verdict.js'

/** What a run came to, in words: its prompt against the base model, on the rows that the run has scored itself. */

/**
 * On the test rows where there are some, otherwise on dev.
 * @param instruction what the base model was told; null: nothing
 * @returns nothing where the run has scored no rows
 */
export async function runVerdict(
  folder: string,
  part: ScoredPart,
  { instruction, seed }: { readonly instruction: string | null; readonly seed: number },
): Promise<Verdict | undefined> {
  const read = async (scoredWith: 'tuned' | 'control' | 'plain') =>
    (await readPredictions(folder, part, scoredWith).catch(() => [])) ?? []
  const [tuned, control, plain] = await Promise.all([read('tuned'), read('control'), read('plain')])
  const alone = { name: instruction === null ? 'the base model' : 'the base model on the template alone', rows: plain }
  const told = { name: 'the base model with its instruction', rows: control }
  return verdictAgainst({ name: 'the tuned prompt', rows: tuned }, instruction === null ? [alone] : [told, alone], {
    seed,
    rowsOf: part,
    caveat:
      part === 'dev'
        ? 'dev also chose the checkpoint, which is kind to the prompt: data.test or data.split.test is not'
        : undefined,
  })
}
