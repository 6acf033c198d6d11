import type { DataNotice } from '../../data/readers/reader.js'
import type { DataRecord } from '../../data/readers/records.js'
import type { RunCodeOptions } from '../sandbox/running.js'

/** What a scorer is: those that are built in and those of people's own stand in `scorer.ts`, one floor up. */

/** Scores the text that was generated for a row. */
export interface Scorer {
  readonly name: string
  /** Tells apart what a scorer of the user's own was at different times: a hash of its file. */
  readonly version?: string
  /** It runs programs of answers, and reads how (`RunCodeOptions`). */
  readonly runsCode?: boolean
  /** What one row may take; of people's own by default 60. A module's runs in a thread, which ends with the row that takes longer. */
  readonly seconds?: number
  /** @throws whatever it likes: `applyScorer` turns that into a row that is counted as failed */
  score(row: DataRecord, text: string): unknown
  /**
   * The scorer that is ready for the first row, of one that needs more than a text: what it lacks is an error before anything is generated,
   * and what is not as it should be is said.
   */
  open?(asked: ScorerAsked): Promise<Scorer>
  /** What people's own computes, without a limit. */
  readonly own?: (row: DataRecord, text: string) => unknown
}

/** What is asked for besides a scorer's name. */
export interface ScorerAsked extends RunCodeOptions {
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}
