import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Interviewed, interview as interviewByApi } from '../../api/interview/interview.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { GradpromptError } from '../../errors.js'
import { answersFrom, insisting, unread } from '../../interview/answers.js'
import type { InterviewQuestion } from '../../interview/machine.js'
import type { InterviewState } from '../../interview/state.js'
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
  const asked = new Set<string>()
  const put = async (question: InterviewQuestion) => {
    asked.add(question.key)
    await onNews(question)
    return given === undefined ? await lines!.next() : given(question)
  }
  const ask = given === undefined ? insisting(put) : put
  try {
    const onWarning = (warning: DataNotice) => onEvent({ event: 'warning', ...warning })
    const done = await onceFree(() => interviewByApi({ ...request, ask, signal, onWarning }))
    // What was answered in an earlier sitting was asked as well.
    const { log } = JSON.parse(await readFile(join(done.folder, 'interview.json'), 'utf8')) as Pick<InterviewState, 'log'>
    for (const { key } of log) asked.add(key)
    const left = unread(answers?.given, asked)
    if (left.length > 0)
      onWarning({ code: 'answers-unread', message: `${answers!.source}: no question has asked for ${left.join(', ')}` })
    return done
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
