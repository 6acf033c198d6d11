import { createInterface } from 'node:readline'
import { type Interviewed, interview as interviewByApi } from '../../api/interview/interview.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { GradpromptError } from '../../errors.js'
import { answersFrom } from '../../interview/answers.js'
import type { InterviewQuestion } from '../../interview/machine.js'
import type { InterviewRequest } from './interview-request.js'
import { onceFree } from './once-free.js'
import type { Context } from './tasks.js'

/** `gradprompt interview`, in the computing process: it reads the terminal, and whoever started it shows the questions. */
export async function interview(
  { answers, families: _, ...request }: InterviewRequest,
  { signal, onEvent, onNews }: Context<'interview'>,
): Promise<Interviewed> {
  const given = answers && answersFrom(answers.given, answers.source)
  const lines = given === undefined ? linesOfTerminal(signal) : undefined
  const ask = async (question: InterviewQuestion) => {
    await onNews(question)
    return given === undefined ? await lines!.next() : given(question)
  }
  try {
    const onWarning = (warning: DataNotice) => onEvent({ event: 'warning', ...warning })
    return await onceFree(() => interviewByApi({ ...request, ask, signal, onWarning }))
  } finally {
    lines?.close()
  }
}

/** What is typed, a line at a time. */
function linesOfTerminal(signal: AbortSignal) {
  const terminal = createInterface({ input: process.stdin, terminal: false })
  const lines = terminal[Symbol.asyncIterator]()
  const aborted = new Promise<never>((_, reject) => {
    const stop = () => reject(new GradpromptError('aborted', 'stopped', { exitCode: 1 }))
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
  })
  aborted.catch(() => {})
  return {
    async next(): Promise<string> {
      const { done, value } = await Promise.race([lines.next(), aborted])
      if (done !== true) return value
      throw new GradpromptError('answers-spent', 'the terminal has closed', {
        hint: 'the interview stands where it was: the same command goes on',
        exitCode: 1,
      })
    },
    close: () => terminal.close(),
  }
}
