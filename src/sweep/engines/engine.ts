import { shellWord } from '../../errors.js'

/**
 * Where the workers of a sweep run. They share its folder and need nothing else of each other, so an engine is a file that starts so many of
 * them on somebody's machines, and the command that hands it in. One file each, and a line in `index.ts`.
 */

export interface EngineRequest {
  /** Of the sweep: an absolute path, which all machines see. */
  readonly folder: string
  /** Where a worker works: the paths of the config are seen from there. */
  readonly directory: string
  /** The words of the command that works on the sweep. */
  readonly command: readonly string[]
  readonly workers: number
  /** What people set besides, by its name. */
  readonly settings: Readonly<Record<string, string>>
}

export interface Engine {
  readonly name: string
  readonly description: string
  /** The file's name in the sweep's folder. */
  readonly file: string
  /** What the file says. @throws GradpromptError `invalid-option` */
  text(request: EngineRequest): string
  /** Workers run where this installation is not, and have a `gradprompt` of their own. */
  readonly installedThere?: boolean
  /** The command that hands it in. */
  readonly submit?: (path: string) => readonly [program: string, ...args: string[]]
  /** Hands it in where no command does. @returns what it is called there */
  readonly handIn?: (text: string) => Promise<string>
}

/** Words as a shell reads them. */
export const shellLine = (words: readonly string[]): string =>
  words.map(word => (/^--?[a-z][a-z-]*$/.test(word) ? word : shellWord(word))).join(' ')
