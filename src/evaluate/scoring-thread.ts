import { parentPort, workerData } from 'node:worker_threads'
import type { DataRecord } from '../data/readers/records.js'
import { scorers } from './scorer.js'
import { describeThrown, type ScoringMessage, type ScoringRequest, toScore } from './scoring.js'

/**
 * The thread in which a scorer of people's own runs, so that one that never ends can be ended. A row that begins is told before anything
 * of the scorer runs: its time counts from then on.
 */

const { path } = workerData as { path: string }
const tell = (message: ScoringMessage) => parentPort!.postMessage(message)

// What a scorer prints belongs neither into results nor across a line of progress. It is let go here: where the other side reads it away,
// that alone keeps the process alive.
for (const stream of [process.stdout, process.stderr])
  stream.write = (_: unknown, encoding?: unknown, done?: unknown) => {
    const written = typeof encoding === 'function' ? encoding : done
    if (typeof written === 'function') queueMicrotask(() => written())
    return true
  }

// Rows that have come wait until the module is there.
const loading = scorers.load(path).then(name => scorers.get(name).own!)

parentPort!.on('message', async ({ id, row, text }: ScoringRequest) => {
  const score = await loading
  tell({ id, begun: true })
  try {
    const given = score(row as DataRecord, text)
    // What is there already is told before another row begins, which may never end.
    tell({ id, score: toScore(given instanceof Promise ? await given : given) })
  } catch (error) {
    tell({ id, error: describeThrown(error) })
  }
})

await loading
tell({ loaded: true })
