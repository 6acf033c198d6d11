import { basename, delimiter, dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { shellWord } from '../../errors.js'

/** How package managers start a program of a project's packages. */
const managers: Readonly<Record<string, string>> = {
  npm: 'npx gradprompt',
  pnpm: 'pnpm exec gradprompt',
  yarn: 'yarn gradprompt',
  bun: 'bunx gradprompt',
}

/**
 * How this process was called, as it can be typed again in the same folder: through a package manager, by its name on the `PATH`, by the path
 * of that link, or as a file that Node runs.
 * @param script `process.argv[1]`
 */
export function commandCalled(
  script: string,
  { env, folder }: { readonly env: NodeJS.ProcessEnv; readonly folder: string },
): string {
  const manager = managers[env.npm_config_user_agent?.split('/')[0] ?? '']
  if (manager !== undefined) return manager
  if (/^gradprompt(\.\w+)?$/.test(basename(script))) {
    const onPath = (env.PATH ?? '').split(delimiter).some(place => place !== '' && resolve(folder, place) === dirname(script))
    return onPath ? 'gradprompt' : quoted(script, folder)
  }
  return `node ${quoted(script, folder)}`
}

/** Relative where it lies below the folder. */
function quoted(script: string, folder: string): string {
  const path = relative(folder, script)
  const outside = path.startsWith('..') || isAbsolute(path)
  return shellWord(outside ? script : path.includes(sep) ? path : `.${sep}${path}`)
}
