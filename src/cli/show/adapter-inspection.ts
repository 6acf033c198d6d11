import { summarizeAdapter } from '../../sources/peft-adapter.js'
import { type Output, table } from '../terminal/output.js'

/** `gradprompt inspect PROMPT`, of the folder of an adapter that PEFT wrote. */

/** @throws GradpromptError as reading the adapter does */
export async function inspectAdapter(path: string, output: Output): Promise<void> {
  const { type, base, tensors } = await summarizeAdapter(path)
  output.object({ event: 'inspect', kind: 'adapter', path, type, base: base ?? null, tensors })
  output.text(
    table([
      ['prompt', path],
      ['written by', `PEFT, as ${type}`],
      ['for', base ?? 'a model that it does not name'],
      ['tensors', tensors.map(({ name, shape }) => `${name} [${shape.join(', ')}]`).join(', ')],
    ]),
  )
}
