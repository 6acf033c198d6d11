import { z } from 'zod'
import { GradpromptError } from '../../errors.js'
import { percentile } from '../../numbers.js'
import { farthestPoints, meanParticle, particleRows } from '../domain/domain.js'
import { tableSample } from '../initialisation.js'
import { start } from './start.js'

/**
 * Particles of the task's domain (BayesPrompt, Li et al. 2024, arXiv 2401.14166) as rows: such as are far from each other, each brought to
 * the median length of a token's embedding, as it is or less what all have in common. Where there are fewer particles than rows, they come again.
 */
export const domain = start({
  schema: z.strictObject({
    type: z
      .literal('domain')
      .describe(
        "start from what the task's inputs are like: particles of a mixture fitted to their mean embeddings (BayesPrompt)",
      ),
    centred: z
      .boolean()
      .default(true)
      .describe('less the mean of all particles: what inputs have in common is most of them, and says nothing of which is which'),
  }),
  ofDomain: true,
  async rows({ centred }, count, context) {
    const { domain: particles, model } = context
    if (particles === undefined)
      throw new GradpromptError('no-inputs', 'there is no domain to start from', {
        found: 'a context without particles',
        expected: 'the particles of `domain`',
      })
    const own = particleRows(particles)
    const middle = meanParticle(particles)
    const length = percentile(
      (await tableSample(context)).map(row => Math.hypot(...row)),
      0.5,
    )
    const rows = new Float32Array(count * model.hiddenSize)
    for (const [i, place] of farthestPoints(particles, count).entries()) {
      const off = own[place]!.map((x, d) => x - (centred ? middle[d]! : 0))
      // A particle alone is its own mean.
      const row = off.some(x => x !== 0) ? off : own[place]!
      const factor = length / (Math.hypot(...row) || 1)
      rows.set(
        row.map(x => x * factor),
        i * model.hiddenSize,
      )
    }
    return rows
  },
})
