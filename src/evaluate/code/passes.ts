import { columnValue, type DataRecord } from '../../data/readers/records.js'
import { codeBlock } from '../answers/extraction/code.js'
import type { Scorer } from '../answers/scorer-kind.js'
import { sandboxFor } from '../sandbox/running.js'

/**
 * The program of an answer: its code, behind the row's column `prefix` where it has one, and then the column `tests`.
 *
 * An answer that begins with an indented line goes on with the prefix, as that of a base model does; what begins at the margin on a line of
 * its own is whole, and stands behind the prefix with its imports and helpers, whose function it defines again.
 */
export function programOf(row: DataRecord, text: string): string {
  const block = codeBlock.find(text, '')?.value
  const code = block ?? text
  const prefix = row.prefix ?? ''
  const isOnOwnLine = prefix === '' || prefix.endsWith('\n') || block !== undefined || /^\s*\n/.test(text)
  const isWhole = isOnOwnLine && /^\S/.test(code.replace(/^(?:[ \t]*\r?\n)+/, ''))
  const answer = isWhole
    ? `${prefix === '' ? '' : `${withBody(prefix)}\n\n`}${code}`
    : `${prefix}${block === undefined || prefix.endsWith('\n') ? '' : '\n'}${code}`
  return futureFirst(`${answer}\n\n${columnValue(row, 'tests', 0)}\n`)
}

/** Imports from the future, which Python takes at the top of a program alone, stand there, wherever the answer has them. */
function futureFirst(program: string): string {
  const future = /^from[ \t]+__future__[ \t]+import[ \t]+(?:\([^)]*\)|[^\n;#(]+)[ \t]*(?:;|#[^\n]*)?(?:\n|(?=\S)|$)/gm
  const found = program.match(future)?.map(line => line.replace(/[ \t]*(?:;|#[^\n]*)?\n?$/, ''))
  return found ? `${found.join('\n')}\n${program.replace(future, '')}` : program
}

/** A prefix that ends with the head of a function has a body, so that something else may follow. */
function withBody(prefix: string): string {
  const last = prefix.trimEnd().split('\n').at(-1) ?? ''
  if (!last.endsWith(':')) return prefix
  return `${prefix.trimEnd()}\n${/^\s*/.exec(last)![0]}    pass\n`
}

/** Whether the code of an answer passes the row's tests. */
export const passes: Scorer = {
  name: 'passes',
  runsCode: true,
  score() {
    throw new Error('the scorer passes is opened before it scores')
  },
  async open(asked) {
    const sandbox = await sandboxFor('the scorer passes', asked, asked.onWarning)
    const { interpreter, programSeconds, programMemory } = asked
    return {
      name: 'passes',
      version: JSON.stringify([interpreter ?? null, programSeconds ?? null, programMemory ?? null]),
      async score(row, text) {
        const { passed, how } = await sandbox.run(programOf(row, text))
        return { score: Number(passed), correct: passed, 'ended by a limit': Number(['time', 'output', 'files'].includes(how)) }
      },
    }
  },
}
