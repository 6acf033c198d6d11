import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { packageRoot } from '../../src/package-root.js'

/**
 * `npm run test:notebook`: runs every cell of the notebooks in `examples/notebook/` by the kernel of Deno, in a project that has gradprompt installed, on
 * the bundled model. GRADPROMPT_DENO names `deno` (`npm install deno`), GRADPROMPT_NOTEBOOK_PYTHON a Python with `nbclient`. Exit code 1 where a cell fails.
 */

const root = packageRoot()
const { GRADPROMPT_DENO: deno, GRADPROMPT_NOTEBOOK_PYTHON: python } = process.env
const notebooks = readdirSync(join(root, 'examples', 'notebook')).filter(name => name.endsWith('.ipynb'))
const missing = [
  ...(deno !== undefined && existsSync(deno) ? [] : ['GRADPROMPT_DENO names no deno']),
  ...(python !== undefined && existsSync(python) ? [] : ['GRADPROMPT_NOTEBOOK_PYTHON names no Python']),
]
let [passed, failed] = [0, 0]
if (missing.length > 0) console.log(`skipped: ${missing.join('; ')}`)
else
  for (const notebook of notebooks) {
    const folder = project()
    const { status, stdout, stderr } = spawnSync(python!, [join(root, 'scripts/check/notebook.py'), notebook, '.'], {
      cwd: join(folder, 'examples', 'notebook'),
      env: { ...process.env, JUPYTER_PATH: join(folder, 'jupyter') },
      encoding: 'utf8',
    })
    console.log(stdout.trimEnd().replace(/^/gm, '  '))
    // A figure and a drawing are what the notebook is for.
    const isWhole = status === 0 && /accuracy 0\.\d+/.test(stdout) && stdout.includes('image/svg+xml')
    if (isWhole) passed++
    else failed++
    console.log(`${isWhole ? 'passed' : 'failed'}: ${notebook}${isWhole ? '' : `\n${stderr}`}`)
    rmSync(folder, { recursive: true, force: true })
  }
console.log(`${passed} passed, ${failed} failed, ${missing.length > 0 ? notebooks.length : 0} skipped`)
process.exitCode = failed === 0 ? 0 : 1

/** A project with the package installed, its examples and its model, and a kernel. */
function project(): string {
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-notebook-'))
  const kernel = join(folder, 'jupyter', 'kernels', 'deno')
  for (const path of [join(folder, 'node_modules'), join(folder, 'examples'), kernel]) mkdirSync(path, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ dependencies: { gradprompt: '*' } }))
  symlinkSync(root, join(folder, 'node_modules', 'gradprompt'), 'junction')
  symlinkSync(join(root, 'models'), join(folder, 'models'), 'junction')
  for (const name of readdirSync(join(root, 'examples')))
    if (name === 'notebook') cpSync(join(root, 'examples', name), join(folder, 'examples', name), { recursive: true })
    else symlinkSync(join(root, 'examples', name), join(folder, 'examples', name), 'junction')
  const argv = [resolve(deno!), 'jupyter', '--kernel', '--conn', '{connection_file}']
  writeFileSync(join(kernel, 'kernel.json'), JSON.stringify({ argv, display_name: 'Deno', language: 'typescript' }))
  return folder
}
