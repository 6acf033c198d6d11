import type { Template } from '../../data/texts/template.js'

/** What a prompt from another tool comes to: the interface of its readers. Which there are stands in `index.ts`. */

/** Rows of vectors in front of the text. */
export interface ImportedRows {
  readonly kind: 'rows'
  /** As `inputs_embeds` has them, row after row. */
  readonly data: Float32Array
  /** Numbers in a row; undefined: as many as the model's are wide. */
  readonly width: number | undefined
  /** Where they stand, where the file says so. */
  readonly position?: 'before-bos' | 'after-bos'
}

/** Words: an instruction, or the whole text that columns are filled into. */
export interface ImportedText {
  readonly kind: 'text'
  readonly text: string
  /** Where the words have places for columns, or are chat messages. */
  readonly template?: Template
  /** What of the file is not used, to be said. */
  readonly leftOut?: string
}

/** Reads prompts of one format: one file a format. */
export interface PromptReader {
  readonly name: string
  /** What it reads, in a few words. */
  readonly description: string
  /** By the ending of its name, and what it begins with. */
  reads(path: string, head: Buffer): boolean
  /** @throws GradpromptError with what is wrong with the file */
  read(path: string): Promise<ImportedRows | ImportedText>
}

/** A prompt is small; more bytes than this are not read. */
export const mostBytes = 256 * 2 ** 20
