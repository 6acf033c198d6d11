import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The model that comes with the package, relative to its root. */
export const bundledModel = 'models/smollm2-135m-instruct'

let root: string | undefined

/** The folder that holds this package's `package.json`: the same from source, from `dist/` and from `node_modules/`. */
export function packageRoot(): string {
  if (root !== undefined) return root
  let folder = dirname(fileURLToPath(import.meta.url))
  for (;;) {
    const manifest = join(folder, 'package.json')
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'gradprompt') {
      root = folder
      return folder
    }
    const parent = dirname(folder)
    if (parent === folder) throw new Error('gradprompt runs outside its package: no package.json of that name above it')
    folder = parent
  }
}

/**
 * Where a model's files are: the path as given, relative to the working directory; the bundled default is found in the
 * package itself when the working directory has none of its own.
 */
export function resolveModelPath(model: string): string {
  const here = resolve(model)
  const isBundled = model.replace(/^\.\//, '').replace(/\/$/, '') === bundledModel
  return isBundled && !existsSync(here) ? join(packageRoot(), bundledModel) : here
}
