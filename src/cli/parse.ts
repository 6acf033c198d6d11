import { CommanderError, Command as Parser } from 'commander'
import { didYouMean, GradpromptError } from '../errors.js'
import { asCalled, ownCommand } from '../own-command.js'
import { commands } from './commands.js'
import type { Command, CommandOption, Invocation } from './terminal/command.js'

export interface Parsed {
  readonly command: Command
  readonly invocation: Invocation
}

const description = 'Tunes prompts with gradients on language models that run on your own machine.'

/**
 * Reads the arguments of the process.
 * @param help text below a command's help
 * @returns nothing when help or the version was asked for: it is then written
 * @throws GradpromptError `unknown-command`, `unknown-option`, `missing-argument`, `unexpected-argument`, `invalid-option`
 */
export function parseArguments(
  argv: readonly string[],
  { version, help, write }: { version: string; help?: string | undefined; write: (text: string) => void },
): Parsed | undefined {
  const given = commands.find(command => command.name === argv[0])
  const { flags, rest } = given?.takesConfig ? takeConfigFlags(argv) : { flags: {}, rest: argv }
  let parsed: Parsed | undefined
  const program = parser(version, write)
  for (const command of commands) {
    const sub = subparser(program, command, help)
    sub.action((...values: unknown[]) => {
      const given = [command.argument, command.secondArgument].map((known, i) =>
        known ? (values[i] as string | undefined) : undefined,
      )
      refuseExcess(command, sub.args)
      const [argument, secondArgument] = given
      parsed = { command, invocation: { argument, secondArgument, ...readOptions(command, sub.opts(), flags) } }
    })
  }
  try {
    program.parse([...rest], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return undefined
    throw problem(error, given)
  }
  return parsed
}

/** The help of the program as a whole. */
export function programHelp(version: string): string {
  const program = parser(version, () => {})
  for (const command of commands) subparser(program, command, undefined)
  return program.helpInformation()
}

function parser(version: string, write: (text: string) => void): Parser {
  return new Parser('gradprompt')
    .description(description)
    .version(version, '-V, --version', 'the version')
    .helpOption('-h, --help', 'this help')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: () => {} })
    .configureHelp({ helpWidth: Math.min(process.stdout.columns || 100, 120) })
    .addHelpText('after', `\nExample:\n  $ ${ownCommand`init my-task`}`)
}

function subparser(program: Parser, command: Command, help: string | undefined): Parser {
  const sub = program.command(command.name).summary(command.summary).description(command.description).allowExcessArguments()
  for (const argument of [command.argument, command.secondArgument])
    if (argument !== undefined)
      sub.argument(argument.required ? `<${argument.name}>` : `[${argument.name}]`, argument.description)
  for (const { name, value, description, repeats } of command.options) {
    const flags = value === undefined ? `--${name}` : `--${name} <${value}>`
    if (repeats) sub.option(flags, description, (given: string, before: string[] = []) => [...before, given])
    else if (value === undefined) sub.option(flags, description)
    else
      sub.option(flags, description, (given: string, before: string | undefined) => {
        if (before !== undefined) throw givenTwice(`--${name}`, [before, given])
        return given
      })
  }
  if (help !== undefined) sub.addHelpText('after', `\n${help}`)
  sub.addHelpText('after', `\nExample:\n  $ ${asCalled(command.example)}`)
  return sub
}

/** @throws GradpromptError `unexpected-argument` */
function refuseExcess(command: Command, args: readonly string[]): void {
  const known = [command.argument, command.secondArgument].flatMap(argument => (argument === undefined ? [] : [argument.name]))
  const beyond = args.slice(known.length)
  // Some take any number of their last one.
  if (beyond.length === 0 || known.at(-1)?.endsWith('...')) return
  const config = command.takesConfig ? beyond.find(text => /\.(ya?ml|json)$/i.test(text)) : undefined
  throw new GradpromptError('unexpected-argument', `too many arguments for gradprompt ${command.name}`, {
    found: beyond.join(' '),
    expected: known.length === 0 ? 'options alone' : `${known.join(' and ')}, and options`,
    hint: config === undefined ? asCalled(`gradprompt ${command.name} --help`) : ownCommand`${command.name} --config ${config}`,
  })
}

const isDotted = (argument: string) => /^--[A-Za-z][\w-]*\./.test(argument)

/** Takes `--train.learning-rate 0.01`, `--train.learning-rate=0.01` and the switch `--train.bucket` out of the arguments. */
function takeConfigFlags(argv: readonly string[]): { flags: Record<string, string | boolean>; rest: string[] } {
  const flags: Record<string, string | boolean> = {}
  const rest: string[] = []
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i]!
    if (argument === '--') return { flags, rest: [...rest, ...argv.slice(i)] }
    if (!isDotted(argument)) {
      rest.push(argument)
      continue
    }
    const [, name, attached] = /^--([^=]*)(?:=([\s\S]*))?$/.exec(argument)!
    const next = argv[i + 1]
    const value = attached ?? (next !== undefined && !next.startsWith('--') ? argv[++i]! : true)
    const earlier = Object.keys(flags).find(flag => plain(flag) === plain(name!))
    if (earlier !== undefined && (value !== true || flags[earlier] !== true))
      throw givenTwice(`--${name}`, [flags[earlier]!, value], `--${earlier}`)
    flags[name!] = value
  }
  return { flags, rest }
}

function readOptions(
  command: Command,
  given: Record<string, unknown>,
  dotted: Readonly<Record<string, string | boolean>>,
): Pick<Invocation, 'options' | 'flags' | 'flagNames'> {
  const options: Record<string, string | number | boolean | readonly string[]> = {}
  const flags = { ...dotted }
  const flagNames: Record<string, string> = {}
  for (const option of command.options) {
    const value = givenValue(given, option)
    if (value === undefined) continue
    if (typeof value === 'object') options[option.name] = value
    else if (option.config !== undefined) {
      refuseTwoValues(option, value, dotted)
      flags[option.config] = value
      flagNames[option.config] = `--${option.name}`
    } else options[option.name] = typeof value === 'string' ? readNumber(option, value) : value
  }
  return { options, flags, flagNames }
}

/** How a dotted name is told from others: `train.learning-rate` is `train.learningRate`. */
const plain = (flag: string) => flag.replaceAll('-', '').toLowerCase()

/** Of an option that is no list neither value is the meant one. */
const givenTwice = (name: string, [first, second]: readonly [string | boolean, string | boolean], earlier = name) =>
  new GradpromptError('invalid-option', `${name} is given twice`, {
    found: `${earlier} ${first}, ${name} ${second}`,
    expected: 'one of them',
  })

/** One option under both of its names: neither value is the meant one. @throws GradpromptError `invalid-option` */
function refuseTwoValues(
  { name, config }: CommandOption,
  value: string | boolean,
  dotted: Readonly<Record<string, string | boolean>>,
): void {
  const other = Object.entries(dotted).find(([flag, given]) => plain(flag) === plain(config!) && given !== value)
  if (other === undefined) return
  throw new GradpromptError('invalid-option', `--${name} and --${other[0]} are one option`, {
    found: `--${name} ${value}, --${other[0]} ${other[1]}`,
    expected: 'one of them',
  })
}

/** Commander keeps `--no-control` as `control: false`, and names in camelCase. */
function givenValue(given: Record<string, unknown>, { name }: CommandOption): string | boolean | readonly string[] | undefined {
  const camelCase = (text: string) => text.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
  if (name.startsWith('no-')) return given[camelCase(name.slice(3))] === false ? true : undefined
  return given[camelCase(name)] as string | boolean | readonly string[] | undefined
}

function readNumber({ name, type }: CommandOption, text: string): string | number {
  if (type === undefined) return text
  const value = Number(text)
  const fits = text.trim() !== '' && (type === 'integer' ? Number.isSafeInteger(value) && value >= 0 : Number.isFinite(value))
  if (fits) return value
  throw new GradpromptError('invalid-option', `--${name} is not valid`, {
    found: text,
    expected: type === 'integer' ? 'a whole number' : 'a number',
  })
}

/** What commander says, as an error of ours. */
function problem(error: CommanderError, command: Command | undefined): GradpromptError {
  const quoted = /'([^']*)'/.exec(error.message)?.[1] ?? ''
  const help = asCalled(`gradprompt ${command === undefined ? '' : `${command.name} `}--help`)
  switch (error.code) {
    case 'commander.unknownCommand': {
      const names = commands.map(({ name }) => name)
      return new GradpromptError('unknown-command', `there is no command ${quoted}`, {
        found: quoted,
        expected: `one of ${names.join(', ')}`,
        hint: didYouMean(quoted, names, name => ownCommand`${name}`) ?? help,
      })
    }
    case 'commander.unknownOption': {
      const name = quoted.replace(/=.*$/s, '').replace(/^-+/, '')
      const known = command?.options.map(option => option.name) ?? ['help', 'version']
      return new GradpromptError(
        'unknown-option',
        `gradprompt ${command?.name ?? ''} has no option --${name}`.replace('  ', ' '),
        {
          found: `--${name}`,
          expected: `one of ${known.map(known => `--${known}`).join(' ')}`,
          hint: didYouMean(name, known, option => `--${option}`) ?? help,
        },
      )
    }
    case 'commander.missingArgument': {
      const argument = command?.secondArgument?.name === quoted ? command.secondArgument : command?.argument
      return new GradpromptError('missing-argument', `gradprompt ${command?.name} needs ${argument?.name}`, {
        found: 'nothing',
        expected: argument?.description ?? '',
        hint: command === undefined ? help : asCalled(command.example),
      })
    }
    default:
      return new GradpromptError('invalid-option', error.message.replace(/^error: /, ''), { hint: help })
  }
}
