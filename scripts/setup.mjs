// Installs what is missing and builds what is stale, so that every npm script works on a fresh clone.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const modified = path => (existsSync(path) ? statSync(path).mtimeMs : 0)

function newest(folder) {
  let time = 0
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) time = Math.max(time, newest(path))
    else if (entry.name.endsWith('.ts')) time = Math.max(time, modified(path))
  }
  return time
}

/** Removes what earlier builds made of sources that are gone: it would run, and be packed. */
function prune(built, source) {
  if (!existsSync(built)) return
  for (const entry of readdirSync(built, { withFileTypes: true })) {
    const path = join(built, entry.name)
    if (entry.isDirectory()) {
      prune(path, join(source, entry.name))
      if (readdirSync(path).length === 0) rmSync(path, { recursive: true })
    } else if (!existsSync(join(source, entry.name.replace(/(\.d\.ts|\.js)$/, '.ts')))) rmSync(path)
  }
}

function step(what, command, args) {
  console.error(`gradprompt: ${what}`)
  // ONNX Runtime's own post-install step downloads CUDA libraries; the CPU and WebGPU binaries are inside its package.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' }
  // When npm runs this to prepare the package for another project, what it was told there (-g, --omit, a workspace …) is not meant here.
  for (const name of Object.keys(env)) {
    if (
      /^npm_config_(global|location|omit|include|only|production|dry_run|workspaces?|install_links|package_lock_only|prefix|local_prefix)$/i.test(
        name,
      )
    )
      delete env[name]
  }
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env,
    shell: process.platform === 'win32',
  })
  if (error || status !== 0) {
    console.error(`gradprompt: ${what}: failed${error ? ` (${error.message})` : ''}`)
    process.exit(1)
  }
}

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`gradprompt: found Node ${process.versions.node}, expected 20.19 or newer`)
  process.exit(2)
}

const installed = join(root, 'node_modules', '.package-lock.json')
if (modified(installed) < modified(join(root, 'package-lock.json'))) {
  step('installing packages (npm ci)', 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'])
}

const folders = ['src', 'models', 'kernels', 'scripts']
const built = join(root, 'dist', 'tsconfig.build.tsbuildinfo')
const sources = folders.map(folder => newest(join(root, folder)))
const settings = ['tsconfig.json', 'tsconfig.build.json', 'package.json'].map(file => modified(join(root, file)))
const isStale = modified(built) < Math.max(...sources, ...settings)
if (isStale) {
  for (const folder of folders) prune(join(root, 'dist', folder), join(root, folder))
  step('building', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json'])
}
if (isStale || modified(join(root, 'schemas', 'search.json')) < modified(built)) {
  step('writing the schemas of configs', process.execPath, [join(root, 'dist', 'scripts', 'schemas.js')])
}
