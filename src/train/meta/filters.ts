/** What becomes of the gradient of an inner step before it is followed. */

export const filterNames = ['none', 'agreement', 'regulated'] as const

export type Gradients = ReadonlyMap<string, Float32Array>

/**
 * Takes out of a gradient what speaks against another one: g - min(0, <g, r>) / |r|^2 r, over all parameters together (the projection of
 * PCGrad, Yu et al. 2020, arXiv 2001.06782, with the gradient of another task as r). A gradient that agrees stays as it is.
 * @returns the cosine of both, 0 where one of them is nothing, and the new gradients
 */
export function agreeing(
  gradients: Gradients,
  reference: Gradients,
): { readonly cosine: number; readonly gradients: Map<string, Float32Array> } {
  const [along, own, other] = [inner(gradients, reference), inner(gradients, gradients), inner(reference, reference)]
  const factor = other > 0 ? Math.min(0, along) / other : 0
  const filtered = [...gradients].map(([name, values]): [string, Float32Array] => {
    const against = reference.get(name)!
    return [name, factor === 0 ? values : values.map((x, i) => x - factor * against[i]!)]
  })
  return { cosine: own > 0 && other > 0 ? along / Math.sqrt(own * other) : 0, gradients: new Map(filtered) }
}

/** The inner product over all parameters. */
export function inner(a: Gradients, b: Gradients): number {
  let sum = 0
  for (const [name, values] of a) {
    const others = b.get(name)!
    for (let i = 0; i < values.length; i++) sum += values[i]! * others[i]!
  }
  return sum
}
