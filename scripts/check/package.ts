import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { packageRoot } from '../../src/package-root.js'
import { scriptArguments } from '../arguments.js'

/**
 * Packs gradprompt and its model and installs them in fresh projects, with install scripts, as people do; what is installed then learns,
 * answers and compiles. The npm registry is all that it needs. `test/package/consumer.test.ts` is the quick form of it.
 */

const { values } = scriptArguments('npm run test:package [-- --node PATH] [--keep]', {
  node: { type: 'string', default: '' },
  keep: { type: 'boolean', default: false },
})
const root = packageRoot()
const folder = mkdtempSync(join(realpathSync(tmpdir()), 'gradprompt-package-'))
const program = `import * as tf from '@tensorflow/tfjs'
import { compile, generate } from 'gradprompt'
const square = await compile(({ x }) => ({ y: tf.square(x) }), { inputs: { x: { shape: ['R'], dtype: 'float32' } }, dims: { R: [1, 8] } })
const { y } = await square.run({ x: Float32Array.of(1, 2, 3) })
await square.dispose()
const answers = await generate({ prompt: process.argv[2], inputs: ['Review: a delight\\nSentiment:'], maxNewTokens: 2 })
console.log([...y].join(), answers.length)
`
let passed = 0
let failed = 0

try {
  const packages = [root, join(root, 'models', 'smollm2-135m-instruct')].map(pack)
  const project = fresh('tarballs')
  check('npm install of the packed tool and its model, with install scripts', () => npm(project, 'install', ...packages))
  check('no library was downloaded', () => {
    const binaries = join(project, 'node_modules', 'onnxruntime-node', 'bin', 'napi-v6', process.platform, process.arch)
    const standIns = readdirSync(binaries).filter(file => file.includes('_providers_'))
    for (const file of standIns)
      if (!readFileSync(join(binaries, file), 'utf8').startsWith('Not a library')) throw new Error(`${file} was downloaded`)
  })
  use(project, process.execPath)
  for (const version of values.node.split(',').filter(version => version !== '')) {
    const home = fresh(`node-${version}`)
    check(`node ${version} from npm`, () => npm(home, 'install', `node@${version}`))
    use(project, join(home, 'node_modules', 'node', 'bin', 'node'))
  }

  const beside = fresh('beside')
  check('npm install of the clone, which stands elsewhere', () => npm(beside, 'install', root))
  check('  npx gradprompt doctor', () => npx(beside, process.execPath, 'doctor', '--json'))

  const within = fresh('within')
  check('npm install of an unbuilt clone inside the project', () => {
    run(within, 'git', ['clone', '--quiet', root, 'clone'])
    npm(within, 'install', './clone')
  })
  check('  npx gradprompt doctor', () => npx(within, process.execPath, 'doctor', '--json'))

  const without = fresh('without-optional')
  check('npm install --omit=optional', () => npm(without, 'install', '--omit=optional', ...packages))
  check('  what is missing is named with the command that installs it', () => {
    npx(without, process.execPath, 'init', 'task')
    const { output, status } = start(without, process.execPath, ['tune', '--config', 'task/gradprompt.yaml', '--steps', '1'])
    if (status !== 2 || !output.includes('hint: npm install --ignore-scripts onnxruntime-node@')) throw new Error(output)
  })
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
} finally {
  if (!values.keep) rmSync(folder, { recursive: true, force: true })
  else console.log(folder)
}

/** Two steps of learning, an answer, a compiled function, in a project that has gradprompt, by a given Node. */
function use(project: string, node: string): void {
  const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim()
  const task = `task-${version}`
  check(`  ${version}: npx gradprompt init and tune`, () => {
    npx(project, node, 'init', task)
    npx(
      project,
      node,
      'tune',
      '--config',
      `${task}/gradprompt.yaml`,
      '--steps',
      '2',
      '--evaluate.limit',
      '8',
      '--out',
      `runs/${version}`,
    )
  })
  check(`  ${version}: a program that imports gradprompt`, () => {
    writeFileSync(join(project, 'use.mjs'), program)
    const output = run(project, node, ['use.mjs', `runs/${version}`])
    if (!output.includes('1,4,9 1')) throw new Error(output)
  })
}

function pack(source: string): string {
  const [report] = JSON.parse(run(source, 'npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder])) as {
    filename: string
    size: number
    unpackedSize: number
  }[]
  console.log(
    `${report!.filename}: ${(report!.size / 1e6).toFixed(1)} MB, unpacked ${(report!.unpackedSize / 1e6).toFixed(1)} MB`,
  )
  return join(folder, report!.filename)
}

function fresh(name: string): string {
  const project = join(folder, name)
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name, private: true }))
  return project
}

function check(what: string, action: () => void): void {
  const started = performance.now()
  try {
    action()
    passed++
    console.log(`ok    ${what} (${((performance.now() - started) / 1000).toFixed(1)} s)`)
  } catch (error) {
    failed++
    console.log(`FAIL  ${what}\n${error instanceof Error ? error.message : error}`)
  }
}

function npm(project: string, ...args: string[]): void {
  run(project, 'npm', [...args, '--no-audit', '--no-fund', '--prefer-offline', '--foreground-scripts=false'])
}

function npx(project: string, node: string, ...args: string[]): string {
  const { status, output } = start(project, node, args)
  if (status !== 0) throw new Error(`gradprompt ${args.join(' ')} ended with ${status}\n${output}`)
  return output
}

/** The installed command through npx, run by a given Node: the first of that name in the search path. */
function start(project: string, node: string, args: readonly string[]): { status: number | null; output: string } {
  const bin = join(folder, 'bin')
  mkdirSync(bin, { recursive: true })
  rmSync(join(bin, 'node'), { force: true })
  symlinkSync(node, join(bin, 'node'))
  return spawn(project, 'npx', ['--no-install', 'gradprompt', ...args], { PATH: `${bin}${delimiter}${process.env.PATH}` })
}

function run(cwd: string, command: string, args: readonly string[]): string {
  const { status, output } = spawn(cwd, command, args)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}\n${output}`)
  return output
}

function spawn(cwd: string, command: string, args: readonly string[], env: Record<string, string> = {}) {
  if (!existsSync(cwd)) throw new Error(`no folder ${cwd}`)
  // What npm tells the scripts it runs is not meant for the projects made here.
  const outer = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(?!config_(.*proxy|.*registry|cafile|cache))/i.test(name)),
  )
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env: { ...outer, ...env },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    shell: process.platform === 'win32',
  })
  if (error) throw error
  return { status, output: status === 0 ? stdout : `${stdout}${stderr}` }
}
