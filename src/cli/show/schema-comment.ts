import { existsSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { packageRoot } from '../../package-root.js'

/**
 * The comment by which editors (the YAML language server) find the JSON Schema of a config: a file of this package, so that it works
 * without a network. Knows nothing of what a schema holds.
 * @param command whose config it is: `tune` or `search`
 * @param folder where the config is written, relative to the working directory
 */
export function schemaComment(command: string, folder: string): string {
  const file = join('schemas', `${command}.json`)
  const from = resolve(folder)
  const root = packageRoot()
  const installed = ancestors(from)
    .map(ancestor => join(ancestor, 'node_modules', 'gradprompt', file))
    .find(path => existsSync(path))
  const path = installed ?? (from.startsWith(root + sep) ? join(root, file) : undefined)
  // An installation elsewhere (a global one) has no path that would hold on another machine.
  const address = path === undefined ? pathToFileURL(join(root, file)).href : relative(from, path).split(sep).join('/')
  return `# yaml-language-server: $schema=${address}`
}

function ancestors(folder: string): string[] {
  const parent = dirname(folder)
  return parent === folder ? [folder] : [folder, ...ancestors(parent)]
}
