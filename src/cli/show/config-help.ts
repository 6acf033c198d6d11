import { alternatives, listOptions, type OptionSchema, schemasAt } from '../../config/options.js'
import { configJsonSchema, loadConfigEntries } from '../../train/config.js'
import { shorten } from '../terminal/output.js'

export interface ConfigOption {
  /** Dotted: `train.learningRate`. */
  readonly path: string
  /** As on the command line: `--train.learning-rate`. */
  readonly flag: string
  readonly description: string
  /** Words that it can be, where there is a list. */
  readonly choices: readonly string[]
  /** As JSON, where there is one. */
  readonly default: string | undefined
}

/** Every option of a config, or of a part of one: `prefix` is where the part stands. */
export function configOptions(root: OptionSchema = configJsonSchema(), prefix = ''): ConfigOption[] {
  return listOptions(root).map(({ path, description, default: fallback }) => {
    const schemas = schemasAt(root, path.split('.')).flatMap(schema => alternatives(schema))
    const choices = [
      ...new Set(schemas.flatMap(({ const: only, enum: several }) => several ?? (only === undefined ? [] : [only]))),
    ]
    return {
      path: prefix + path,
      flag: `--${(prefix + path).replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`,
      // What each choice means is said where there is one alone.
      description: schemas.length > 1 && choices.length === schemas.length ? '' : description,
      choices: choices.map(String),
      default: fallback === undefined ? undefined : JSON.stringify(fallback),
    }
  })
}

/** The description, the choices and the default on one line. */
export function describeOption({ description, choices, default: fallback }: ConfigOption): string {
  const parts = [description, choices.length > 1 ? `one of ${choices.join(', ')}` : ''].filter(part => part !== '')
  return parts.join(': ') + (fallback === undefined ? '' : ` (default ${shorten(fallback, 60)})`)
}

/**
 * Below the help of `tune` and `search`: what can be set by its dotted name, too. A module of people's own that `--method` names has its
 * options in it.
 */
export async function configHelp(command: string, argv: readonly string[] = []): Promise<string> {
  const own = methodOf(argv)
  if (own !== undefined) {
    const type = { type: own }
    if (command === 'search') await (await import('../../search/config.js')).loadSearchEntries({ search: type })
    else await loadConfigEntries({ method: type })
  }
  const root: OptionSchema =
    command === 'search' ? (await import('../../search/config.js')).searchConfigJsonSchema() : configJsonSchema()
  const options = configOptions(own === undefined ? root : ofType(root, command === 'search' ? 'search' : 'method', own)).filter(
    ({ flag }) => flag.includes('.'),
  )
  const width = Math.max(...options.map(({ flag }) => flag.length))
  const lines = options.map(option => `  ${option.flag.padEnd(width)}  ${describeOption(option)}`)
  return ['Config options (also in the --config file):', ...lines].join('\n')
}

/** A schema in which a part has one type. */
function ofType(root: OptionSchema, part: string, type: string): OptionSchema {
  const anyOf = schemasAt(root, [part]).flatMap(schema => alternatives(schema, { type }))
  return { ...root, properties: { ...root.properties, [part]: { anyOf } } }
}

/** `--method X`, `--method=X` */
function methodOf(argv: readonly string[]): string | undefined {
  const place = argv.findIndex(argument => argument === '--method' || argument.startsWith('--method='))
  return argv[place] === '--method' ? argv[place + 1] : argv[place]?.slice('--method='.length)
}
