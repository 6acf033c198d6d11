// Installs what is missing and builds what is stale, so that every npm script works on a fresh clone.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
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

function step(what, command, args) {
  console.error(`gradprompt: ${what}`)
  // ONNX Runtime's own post-install step downloads CUDA libraries; the CPU and WebGPU binaries are inside its package.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' }
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

const built = join(root, 'dist', 'tsconfig.build.tsbuildinfo')
const sources = ['src', 'models', 'kernels', 'scripts'].map(folder => newest(join(root, folder)))
if (modified(built) < Math.max(...sources, modified(join(root, 'tsconfig.build.json')), modified(join(root, 'package.json')))) {
  step('building', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json'])
}
