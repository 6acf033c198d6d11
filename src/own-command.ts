import { shellWord } from './errors.js'

/** How a person calls gradprompt here, so that what a message tells them to type can be pasted. The one place that knows it. */

/** In a project that has gradprompt among its packages, which is where the library is used. */
let call = 'npx gradprompt'

/** Said once by the command line, which knows how it was called (`cli/terminal/called-as.ts`). */
export function callAs(given: string): void {
  call = given
}

export const calledAs = (): string => call

/** The command lines of tables and of help, which name the program itself. */
export const asCalled = (commandLine: string): string => commandLine.replace(/^gradprompt(?= |$)/, call)

/**
 * A command of gradprompt as it is typed here: ownCommand`resume ${folder}` is `npx gradprompt resume 'my runs/sst2'`.
 * What is filled in is quoted where a shell needs it.
 */
export const ownCommand = (text: TemplateStringsArray, ...filled: readonly string[]): string =>
  `${call} ${String.raw({ raw: text }, ...filled.map(shellWord))}`
