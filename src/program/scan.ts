import type { Attributes, LoweredScan, LoweredType } from '../../kernels/kernel.js'
import type { BodyNode, ModelBuilder, OnnxType } from './onnx.js'

/** Writes a loop as ONNX's Scan, the nodes of a step as its body. @returns names of the last states, then of the outputs */
export function writeScan({ states, over, outputs, reverse = false, step }: LoweredScan, builder: ModelBuilder): string[] {
  const nodes: BodyNode[] = []
  const emit = (operator: string, inputs: readonly string[], attributes: Attributes = {}, domain = '') => {
    const output = builder.fresh()
    nodes.push({ operator, inputs, outputs: [output], attributes, domain })
    return output
  }
  const typed = ({ dtype }: { readonly dtype: LoweredType }, name = builder.fresh()) => ({ name, dtype: dtype as OnnxType })
  const inputs = [...states, ...over].map(given => typed(given))
  const names = inputs.map(({ name }) => name)
  const made = step(emit, names.slice(0, states.length), names.slice(states.length))
  // What a step hands on may be what it was given, which ONNX takes for no output.
  const results = [...states, ...outputs].map((result, i) => typed(result, emit('Identity', [made[i]!])))
  const directions = (count: number) => Array.from({ length: count }, () => (reverse ? 1 : 0))
  const stacked = results.map(() => builder.fresh())
  builder.node(
    'Scan',
    [...states, ...over].map(({ name }) => name),
    stacked,
    {
      body: { inputs, outputs: results, nodes },
      num_scan_inputs: over.length,
      scan_input_axes: over.map(({ axis }) => axis),
      scan_input_directions: directions(over.length),
      scan_output_axes: outputs.map(({ axis }) => axis),
      scan_output_directions: directions(outputs.length),
    },
  )
  return stacked
}
