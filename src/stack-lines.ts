import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where in whose code something happened, read from stacks, as messages name it. It knows nothing of what was thrown. */

/** The frames of a stack, from the innermost. */
export const framesOf = (stack: string | undefined): string[] =>
  (stack ?? '')
    .split('\n')
    .map(frame => frame.trim())
    .filter(frame => frame.startsWith('at '))

const inNode = /node:internal|\(<anonymous>\)/

/**
 * The line of the first frame that is neither Node's nor passed over: a path, relative where it lies in the working directory, with line
 * and column.
 */
export function lineIn(frames: readonly string[], passesOver: (frame: string) => boolean): string | undefined {
  for (const frame of frames) {
    if (inNode.test(frame) || passesOver(frame)) continue
    const [, , place, position] = /^at (.*? \()?(?:async )?([^(].*?)(:\d+:\d+)\)?$/.exec(frame) ?? []
    if (place === undefined) continue
    const path = place.startsWith('file://') ? fileURLToPath(place.split(/[?#]/, 1)[0]!) : place
    const within = relative(process.cwd(), path)
    return `${within.startsWith('..') ? path : within}${position}`
  }
  return undefined
}
