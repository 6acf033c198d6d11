import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const shell = process.platform === 'win32'

/**
 * A project of its own that has the packed package installed. The package itself is packed and unpacked; what it depends on stands beside
 * it by links to this clone's packages, and nothing else does. `npm run test:package` installs everything through npm.
 * @returns the project's folder, that of the package in it, and the files that the package holds
 */
export async function packedProject(): Promise<{ folder: string; installed: string; packed: readonly string[] }> {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'gradprompt-consumer-'))
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { shell })
  const report = JSON.parse(stdout) as { filename: string; files: { path: string }[] }[]
  const packed = report[0]!.files.map(({ path }) => path)
  const modules = join(folder, 'node_modules')
  mkdirSync(modules)
  await run('tar', ['xzf', report[0]!.filename], { cwd: folder })
  const installed = join(modules, 'gradprompt')
  await run(process.execPath, ['-e', 'fs.renameSync("package", process.argv[1])', installed], { cwd: folder })

  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, { dev?: boolean }> }
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    if (dev || !/^node_modules\/(@[^/]+\/)?[^/]+$/.test(path)) continue
    const link = join(folder, path)
    mkdirSync(join(link, '..'), { recursive: true })
    symlinkSync(resolve(path), link, 'junction')
  }
  mkdirSync(join(modules, '.bin'))
  const program = join(installed, 'dist', 'src', 'cli', 'main.js')
  chmodSync(program, 0o755)
  symlinkSync(program, join(modules, '.bin', 'gradprompt'))
  writeFileSync(join(folder, 'package.json'), '{"name":"consumer","type":"module","private":true}')
  return { folder, installed, packed }
}
