import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Jobs } from './jobs.js'
import type { Live } from './live.js'
import type { Overview } from './overview.js'
import type { Places } from './places.js'
import type { Speaker } from './speaker.js'

/** A request, its response, and all that the page knows. */
export interface Asked {
  readonly places: Places
  readonly overview: Overview
  readonly live: Live
  readonly jobs: Jobs
  readonly speaker: Speaker
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
}

/** Whether a page that is open asks for what it shows anew, and not for the frame around it. */
export const isPart = ({ headers }: IncomingMessage): boolean => headers['x-part'] === 'page'
