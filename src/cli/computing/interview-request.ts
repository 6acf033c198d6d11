import type { InterviewOptions } from '../../api/interview/interview.js'
import type { OwnFamilies } from './messages.js'

/** What `gradprompt interview` asks the computing process for. */
export type InterviewRequest = OwnFamilies &
  Omit<InterviewOptions, 'ask' | 'model' | 'signal' | 'onWarning'> & {
    /** null: off. */
    readonly model?: string | null | undefined
    /** Written beforehand; otherwise the terminal is asked. */
    readonly answers: { readonly given: unknown; readonly source: string } | undefined
  }
