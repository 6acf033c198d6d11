import { type ParseArgsConfig, parseArgs } from 'node:util'

type Options = NonNullable<ParseArgsConfig['options']>
type Parsed<Own extends Options> = ReturnType<typeof parseArgs<{ options: Own; allowPositionals: true }>>

/** A script's command line. With `--help`, or an option that there is not, its usage is printed and the process ends. */
export function scriptArguments<const Own extends Options>(usage: string, options: Own): Parsed<Own> {
  if (process.argv.includes('--help')) {
    console.log(usage)
    process.exit(0)
  }
  try {
    return parseArgs({ options, allowPositionals: true })
  } catch (error) {
    return refuse(usage, (error as Error).message)
  }
}

/** The parts of a list with commas, each of them known; otherwise the process ends. */
export function knownNames<Name extends string>(usage: string, option: string, list: string, known: readonly Name[]): Name[] {
  const names = list.split(',')
  const strange = names.find(name => !(known as readonly string[]).includes(name))
  if (strange !== undefined) refuse(usage, `${option}: there is no ${JSON.stringify(strange)}, but ${known.join(', ')}`)
  return names as Name[]
}

function refuse(usage: string, message: string): never {
  console.error(`${message}\n\n${usage}`)
  process.exit(2)
}
