/**
 * `npm run pack:gpu [FILE]`: one archive for a machine with a graphics processor and no network: Node, the built tool, its packages for
 * linux-x64 and the peers' scripts, packed by xz. Unpacked there, `./bench-gpu` runs `npm run bench -- gpu`, and `./gradprompt` any command. It is refused
 * where it would be 60 MB or larger.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { extname, join, relative, resolve, sep } from 'node:path'
import { GradpromptError } from '../../src/errors.js'
import { packageRoot } from '../../src/package-root.js'

const mostBytes = 60e6
const platform = join('linux', 'x64')

/** Packages that only installing needs, or tests and types. */
const unneeded = /^(?:@types\/|@webgpu\/|adm-zip$|global-agent$|core-js$|regenerator-runtime$)/

/** Of TF.js what Node loads. */
const ofTensorflow = /^(?:|package\.json|dist|dist\/[^/]+\.node\.js)$/

function pack(archive: string): void {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new GradpromptError('unsupported-platform', 'The archive is made on the system that it is for', {
      found: `${process.platform}-${process.arch}`,
      expected: 'linux-x64',
    })
  const root = packageRoot()
  const work = mkdtempSync(join(tmpdir(), 'gradprompt-pack-'))
  try {
    const folder = join(work, 'gradprompt-gpu')
    mkdirSync(folder)
    for (const name of ['dist', 'package.json', 'LICENSE', 'schemas', 'examples', 'docs'])
      copy(join(root, name), join(folder, name))
    copy(join(root, 'scripts', 'bench', 'peers'), join(folder, 'scripts', 'bench', 'peers'))
    for (const name of packagesOf(root)) copyPackage(join(root, 'node_modules', name), join(folder, 'node_modules', name), name)
    copyFileSync(realpathSync(process.execPath), join(folder, 'node'))
    script(folder, 'gradprompt', 'dist/src/cli/main.js')
    script(folder, 'bench-gpu', 'dist/scripts/bench/main.js gpu')
    writeFileSync(join(folder, 'README'), readme)
    const part = `${archive}.part`
    const { status, stderr } = spawnSync('tar', [
      '-C',
      work,
      '--owner=0',
      '--group=0',
      '-cf',
      part,
      '-I',
      'xz -T0',
      'gradprompt-gpu',
    ])
    if (status !== 0) throw new GradpromptError('cannot-write', `${archive} cannot be written`, { found: String(stderr).trim() })
    const bytes = statSync(part).size
    if (bytes >= mostBytes) {
      rmSync(part)
      throw new GradpromptError('too-large', 'The archive is too large', {
        found: `${(bytes / 1e6).toFixed(1)} MB`,
        expected: `less than ${mostBytes / 1e6} MB`,
        exitCode: 1,
      })
    }
    renameSync(part, archive)
    console.log(`${archive}: ${(bytes / 1e6).toFixed(1)} MB`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Packages that the tool loads, with what they need in turn. */
function packagesOf(root: string): string[] {
  const found = new Set<string>()
  const visit = (manifest: { dependencies?: object; optionalDependencies?: object }) => {
    for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })) {
      const path = join(root, 'node_modules', name, 'package.json')
      if (found.has(name) || unneeded.test(name) || !existsSync(path)) continue
      found.add(name)
      visit(JSON.parse(readFileSync(path, 'utf8')))
    }
  }
  visit(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')))
  return [...found]
}

const copy = (from: string, to: string) => cpSync(from, to, { recursive: true, filter: path => !isAside(path) })

/** What no program reads. */
const isAside = (path: string): boolean => path.endsWith('.map') || path.endsWith('.d.ts') || path.endsWith('.tsbuildinfo')

function copyPackage(from: string, to: string, name: string): void {
  cpSync(from, to, {
    recursive: true,
    dereference: true,
    filter: path => {
      const inside = relative(from, path).split(sep).join('/')
      if (isAside(path) || ['.md', '.ts', '.flow'].includes(extname(path))) return false
      if (name.startsWith('@tensorflow/')) return ofTensorflow.test(inside)
      if (name === 'onnxruntime-node' && /^bin\/napi-v\d+\/./.test(inside))
        return `bin/napi-v6/${platform}`.startsWith(inside) || inside.startsWith(`bin/napi-v6/${platform}`)
      return true
    },
  })
}

function script(folder: string, name: string, command: string): void {
  const [file, ...args] = command.split(' ')
  const path = join(folder, name)
  writeFileSync(
    path,
    `#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\nexec "$here/node" "$here/${file}" ${[...args, '"$@"'].join(' ')}\n`,
  )
  chmodSync(path, 0o755)
}

const readme = `gradprompt for a machine with a graphics processor and no network (linux-x64).

  ./gradprompt doctor                      which devices are here, and whether they compute rightly
  ./bench-gpu --help                       training and writing beside PEFT and transformers; prints one JSON object
  GRADPROMPT_BENCH_PYTHON=/path/to/python ./bench-gpu --device auto --shapes llama-3.2-1b

Weights are random and made here, in ~/.cache/gradprompt (GRADPROMPT_CACHE names another folder).

WebGPU needs the driver's Vulkan part and libvulkan1. For CUDA copy ONNX Runtime's libraries of the same version beside its own, such as
those of Python's onnxruntime-gpu, and have CUDA 12 and cuDNN 9 where the loader finds them:

  cp SITE-PACKAGES/onnxruntime/capi/libonnxruntime_providers_*.so node_modules/onnxruntime-node/bin/napi-v6/linux/x64/
`

try {
  pack(resolve(process.argv[2] ?? 'gradprompt-gpu-linux-x64.tar.xz'))
} catch (error) {
  if (!(error instanceof GradpromptError)) throw error
  console.error(error.format())
  process.exitCode = error.exitCode
}
