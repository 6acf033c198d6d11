import { createHash } from 'node:crypto'
import { readFileSync, realpathSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, isAbsolute, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Which source code an object's functions are: the text of the module that declares it and of all that this imports. What is computed by
 * such code and kept on disk is found again as long as none of these files changes, and an edit of any other changes nothing. An object
 * that no module has declared has no known code (a copy of a declared one, with a function replaced, is such an object): functions may
 * read whatever stood around them where they were made, so their text alone does not tell them apart.
 *
 * What a module does beyond its text and its imports (reading a file, asking for the time) is not seen here. What computes or keeps
 * anything is unknown as well.
 */

interface Declaration {
  /** URLs of modules. */
  readonly modules: readonly string[]
  /** A module whose file is newer was edited after it had been loaded. */
  readonly time: number
}

const declarations = new WeakMap<object, Declaration>()

/**
 * Says that an object's functions are those of a module.
 *
 * @param module its `import.meta.url`
 * @param from objects whose functions it calls, such as the one that it wraps; unless all of them are declared, neither is this one
 * @returns the object itself
 */
export function declareCode<Value extends object>(module: string, value: Value, from: readonly object[] = []): Value {
  const known = from.map(object => declarations.get(object))
  if (known.every(declaration => declaration !== undefined)) {
    const modules = [module, ...known.flatMap(declaration => declaration.modules)]
    const times = known.map(({ time }) => time)
    declarations.set(value, { modules, time: Math.min(Date.now(), ...times) })
  }
  return value
}

/** Says that one object has the functions of another, and no others: a copy that was given a name, say. @returns the copy */
export function copyCode<Value extends object>(from: object, copy: Value): Value {
  const declaration = declarations.get(from)
  if (declaration) declarations.set(copy, declaration)
  return copy
}

/**
 * Hash of the code of a module and of objects that others have declared.
 *
 * @param module URL of the module that uses the objects
 * @returns undefined where it is not known: an object that is not declared, a module that is no file, one that was edited after it was loaded
 */
export function codeOf(module: string, objects: readonly object[] = []): string | undefined {
  const texts = new Set<string>()
  const used = [{ modules: [module], time: performance.timeOrigin }, ...objects.map(object => declarations.get(object))]
  for (const declaration of used) {
    if (declaration === undefined) return undefined
    for (const url of declaration.modules) {
      const reached = reachedFrom(url, declaration.time)
      if (reached === undefined) return undefined
      for (const text of reached) texts.add(text)
    }
  }
  const hash = createHash('sha256')
  for (const text of [...texts].sort()) hash.update(text).update('\0')
  return hash.digest('hex').slice(0, 32)
}

/**
 * What a module and all that it imports are: a hash of each file, a version of each package. A package that is a link to a folder of
 * one's own (`npm link`, a workspace) may be edited under the same version, and where a name of the package's own (`#part`) leads is for
 * Node to say: whoever imports one of these has no known code.
 */
function reachedFrom(url: string, time: number): readonly string[] | undefined {
  if (!url.startsWith('file:')) return undefined
  const first = fileURLToPath(url.split(/[?#]/, 1)[0]!)
  const reached = new Map<string, string>()
  const pending = [first]
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (reached.has(path)) continue
    const source = sourceOf(path)
    if (source === undefined) {
      if (path === first) return undefined
      // A text in a module may look like an import of something that is not there.
      continue
    }
    // What a module imports may have been loaded as soon as the process began, and is not loaded again.
    if (source.modified > (path === first ? time : performance.timeOrigin)) return undefined
    reached.set(path, source.hash)
    for (const { name, required } of source.imports) {
      if (/^(\.|file:)/.test(name) || isAbsolute(name))
        pending.push(required ? requiredFile(path, name) : fileOf(pathOf(path, name)))
      else if (isThisPackage(name)) pending.push(...entryPoints.map(fileOf))
      else if (name.startsWith('node:')) continue
      else if (name.startsWith('#') || isLinked(name, dirname(path))) return undefined
      else reached.set(name, `${name} ${installedVersion(name, dirname(path))}`)
    }
  }
  return [...reached.values()]
}

/** What one module imports or requires, by the name that it writes. */
interface Import {
  readonly name: string
  readonly required: boolean
}

interface Source {
  readonly hash: string
  readonly imports: readonly Import[]
  readonly modified: number
  readonly bytes: number
}

const sources = new Map<string, Source>()

function sourceOf(path: string): Source | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (!stat?.isFile()) return undefined
  const known = sources.get(path)
  if (known?.modified === stat.mtimeMs && known.bytes === stat.size) return known
  const text = readFileSync(path, 'utf8')
  const hash = createHash('sha256').update(text).digest('hex')
  const source = { hash, imports: importsOf(text), modified: stat.mtimeMs, bytes: stat.size }
  sources.set(path, source)
  return source
}

const IMPORTS = [
  // import … from 'x', export … from 'x', with or without spaces; types are no code.
  /\b(?:import|export)(?!\s+type\s+(?!from\b))(?=[\s{*])[^'"`;()=]*?\bfrom\s*(['"])([^'"\n]+)\1/g,
  // import 'x', import('x')
  /\bimport\s*\(?\s*(['"`])([^'"`$\n]+)\1/g,
]

const REQUIRES = [/\brequire\s*\(\s*(['"`])([^'"`$\n]+)\1/g]

function importsOf(text: string): Import[] {
  const all = (patterns: readonly RegExp[], required: boolean) =>
    patterns.flatMap(pattern => [...text.matchAll(pattern)].map(([, , name]) => ({ name: name!, required })))
  return [...all(IMPORTS, false), ...all(REQUIRES, true)]
}

/** Where an import leads; a URL may say more than the file. */
function pathOf(from: string, name: string): string {
  const [plain] = name.split(/[?#]/, 1)
  return name.startsWith('file:') ? fileURLToPath(plain!) : resolve(dirname(from), plain!)
}

/** CommonJS may leave out how a file's name ends. What is not there is the path as it is written. */
function requiredFile(from: string, name: string): string {
  try {
    return createRequire(from).resolve(name)
  } catch {
    return resolve(dirname(from), name)
  }
}

/** Where a module stands: run from TypeScript, it imports files by the names that they have when they are built. */
const fileOf = (path: string): string =>
  statSync(path, { throwIfNoEntry: false }) === undefined ? path.replace(/\.([cm]?)js$/, '.$1ts') : path

/** A module of people's own may be made of whatever this package exports. */
const isThisPackage = (name: string): boolean => name === 'gradprompt' || name.startsWith('gradprompt/')
const entryPoints = ['./index.js', './extend.js'].map(name => fileURLToPath(new URL(name, import.meta.url)))

/** `@scope/name/path` without the path. */
const packageOf = (name: string): string => name.split('/', name.startsWith('@') ? 2 : 1).join('/')

/** What the first `node_modules` folder, from here up, that has a package says of it. @param look throws where it has not */
function findPackage<Found>(name: string, from: string, look: (folder: string) => Found): Found | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    try {
      return look(join(folder, 'node_modules', packageOf(name)))
    } catch {
      if (dirname(folder) === folder) return undefined
    }
  }
}

const links = new Map<string, boolean>()

/** Whether a package is a link to a folder outside all `node_modules`. */
function isLinked(name: string, from: string): boolean {
  const key = `${from} ${packageOf(name)}`
  let known = links.get(key)
  if (known === undefined) {
    const folder = findPackage(name, from, path => realpathSync(path))
    known = folder !== undefined && !folder.includes(`${sep}node_modules${sep}`)
    links.set(key, known)
  }
  return known
}

const versions = new Map<string, string>()

/** Version of an installed package, read from its package.json: importing it would cost far more. */
export function installedVersion(name: string, from = dirname(fileURLToPath(import.meta.url))): string {
  const key = `${from} ${packageOf(name)}`
  const known = versions.get(key)
  if (known !== undefined) return known
  const version =
    findPackage(name, from, folder => {
      const manifest = readFileSync(join(folder, 'package.json'), 'utf8')
      return (JSON.parse(manifest) as { version: string }).version
    }) ?? 'unknown'
  versions.set(key, version)
  return version
}
