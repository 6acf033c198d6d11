/** What a command of the command line is: its table (`commands.ts`) and its file (`commands/`) meet here. */

export interface CommandOption {
  /** Without the dashes, in kebab-case: `batch-size`. */
  readonly name: string
  /** What stands for the value in help; without it the option is a switch. */
  readonly value?: string
  readonly description: string
  readonly type?: 'integer' | 'number'
  /** May be given several times: its value is a list. */
  readonly repeats?: true
  /** Of the config: the dotted path that this is a short form of. */
  readonly config?: string
}

export interface CommandArgument {
  readonly name: string
  readonly description: string
  readonly required: boolean
}

export interface Command {
  readonly name: string
  readonly summary: string
  readonly description: string
  readonly argument?: CommandArgument
  /** A second argument, behind the first. */
  readonly secondArgument?: CommandArgument
  readonly options: readonly CommandOption[]
  /** Takes every option of the config by its dotted name, too. */
  readonly takesConfig?: boolean
  readonly example: string
  readonly load: () => Promise<{ readonly run: CommandFunction }>
}

export type OptionValues = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

export interface Invocation {
  readonly argument: string | undefined
  readonly secondArgument?: string | undefined
  /** By the option's name. */
  readonly options: OptionValues
  /** Config options by their dotted path, short forms resolved, as text. */
  readonly flags: Readonly<Record<string, string | boolean>>
  /** Of the short forms among them, how they are written: `--steps`. */
  readonly flagNames?: Readonly<Record<string, string>>
  /** Every command, for what says which there are. */
  readonly commands?: readonly Command[]
}

/** @returns the exit code */
export type CommandFunction = (invocation: Invocation) => Promise<number>
