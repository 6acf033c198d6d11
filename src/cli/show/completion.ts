import { alternatives, type OptionSchema, schemasAt } from '../../config/options.js'
import type { Command } from '../terminal/command.js'
import { configOptions } from './config-help.js'

/** Scripts by which shells complete commands, their options and what these may be. They hold all words themselves: a key starts no program. */

interface Completed {
  readonly name: string
  readonly summary: string
  readonly options: readonly CompletedOption[]
}

interface CompletedOption {
  readonly flag: string
  readonly description: string
  readonly takesValue: boolean
  /** What the value may be, where there is a list; otherwise it may be a file. */
  readonly words: readonly string[]
}

/** @param rootOf the options of a command's config, where it takes one */
export function completedCommands(commands: readonly Command[], rootOf: (command: string) => OptionSchema): Completed[] {
  return commands.map(({ name, summary, options, takesConfig }) => {
    const root = takesConfig ? rootOf(name) : undefined
    const own = options.map(({ name, value, description, config }) => ({
      flag: `--${name}`,
      description,
      takesValue: value !== undefined,
      words: root === undefined || config === undefined ? [] : wordsAt(root, config),
    }))
    const dotted = root === undefined ? [] : configOptions(root).filter(({ flag }) => flag.includes('.'))
    return {
      ...{ name, summary },
      options: [
        ...own,
        ...dotted.map(({ flag, description, path }) => ({ flag, description, takesValue: true, words: wordsAt(root!, path) })),
      ],
    }
  })
}

function wordsAt(root: OptionSchema, path: string): string[] {
  const words = schemasAt(root, path.split('.'))
    .flatMap(schema => alternatives(schema))
    .flatMap(
      ({ const: only, enum: several, type }) =>
        several ?? (only !== undefined ? [only] : type === 'boolean' ? ['true', 'false'] : []),
    )
  return [...new Set(words.map(String))].filter(word => /^[\w.:/-]+$/.test(word))
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

function bash(commands: readonly Completed[]): string {
  const values = commands.flatMap(({ name, options }) =>
    options.flatMap(({ flag, words, takesValue }) =>
      !takesValue
        ? []
        : words.length > 0
          ? [`    '${name} ${flag}') words=${quoted(words.join(' '))};;`]
          : [`    '${name} ${flag}') return;;`],
    ),
  )
  const options = commands.map(
    ({ name, options }) => `      ${name}) words=${quoted([...options.map(({ flag }) => flag), '--help'].join(' '))};;`,
  )
  return `# gradprompt completion bash > ~/.local/share/bash-completion/completions/gradprompt
_gradprompt() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ${quoted([...commands.map(({ name }) => name), '--help', '--version'].join(' '))} -- "$current"))
    return
  fi
  case "$command $before" in
${values.join('\n')}
  esac
  if [ -z "$words" ]; then
    case "$current" in -*) ;; *) return;; esac
    case "$command" in
${options.join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _gradprompt gradprompt
`
}

const zsh = (commands: readonly Completed[]): string =>
  `# gradprompt completion zsh > ~/.gradprompt-completion.zsh; then, in ~/.zshrc: source ~/.gradprompt-completion.zsh
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
${bash(commands).split('\n').slice(1).join('\n')}`

function fish(commands: readonly Completed[]): string {
  const lines = commands.flatMap(({ name, summary, options }) => [
    `complete -c gradprompt -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
    ...options.map(
      ({ flag, description, takesValue, words }) =>
        `complete -c gradprompt -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)}${takesValue ? ' -r' : ''}${words.length > 0 ? ` -f -a ${quoted(words.join(' '))}` : ''} -d ${quoted(description.slice(0, 80))}`,
    ),
  ])
  return `# gradprompt completion fish > ~/.config/fish/completions/gradprompt.fish\n${lines.join('\n')}\n`
}

/** By the name of the shell. */
export const completionScripts: Readonly<Record<string, (commands: readonly Completed[]) => string>> = { bash, zsh, fish }
