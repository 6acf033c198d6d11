import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportPrompt } from '../../src/api/export.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { packageRoot } from '../../src/package-root.js'
import { cacheFolder } from '../../src/program/cache.js'
import { scriptArguments } from '../arguments.js'
import { bars } from './bars.js'
import { learnedRun } from './exported-prompts.js'
import { pasted } from './pasted.js'

/**
 * Runs exports in the tools that they are for: transformers, PEFT and ONNX Runtime GenAI from PyPI, llama.cpp from npm. Python is the one that
 * GRADPROMPT_PYTHON names, or that of a virtual environment which is made once in the cache folder. llama.cpp runs where
 * GRADPROMPT_BENCH_LLAMA names a folder in which node-llama-cpp is installed.
 *
 * `--only TEXT` (several times, if need be) runs the checks whose names contain one of the texts: `--only peft --only ': kv'`.
 * `--model NAME` takes another model than the tiny ones. `--bars` prints figures in place of passing and failing: every method in every
 * target (`bars.ts`), and with `--run RUN` what that run's answers come to in each tool.
 */

const usage = 'npm run test:consumers [-- --only TEXT …] [--model NAME …] [--bars [--run RUN]]'
const { values } = scriptArguments(usage, {
  model: { type: 'string', multiple: true },
  only: { type: 'string', multiple: true },
  bars: { type: 'boolean' },
  run: { type: 'string' },
})
const root = packageRoot()
process.chdir(root)
const fixtures = join('test', 'fixtures', 'models')
const models =
  values.model ??
  ['llama-gguf', 'qwen2-gguf', 'gemma-gguf', 'llama-gqa', 'llama-sentencepiece', 'gpt2'].map(name => join(fixtures, name))
const packages = ['torch==2.13.0', 'transformers==5.18.0', 'peft==0.21.0', 'safetensors', 'numpy', 'onnxruntime-genai']
const python = findPython()
const llama = process.env.GRADPROMPT_BENCH_LLAMA
const template = 'the wine and the stone are on the {text} -'
const folder = mkdtempSync(join(tmpdir(), 'gradprompt-consumers-'))
let [passed, failed] = [0, 0]
if (llama === undefined) console.log('skipped: llama.cpp (GRADPROMPT_BENCH_LLAMA names no folder with node-llama-cpp)')

const chosen = (name: string) => !values.only || values.only.some(part => name.includes(part))

if (values.bars) {
  const ran = await bars({ models, python, llama, run: values.run, chosen })
  process.exit(ran ? 0 : 1)
}

try {
  for (const [i, name] of models.entries()) {
    const model = await LanguageModel.load(name)
    const out = (target: string) => join(folder, `${i}-${target}`)
    try {
      for (const type of ['prompt-tuning', 'adept', 'dept']) {
        const run = await learnedRun(model, name, type, { template })
        const to = async (target: string, options = {}) => {
          const place = out(`${type}-${target}`)
          rmSync(place, { recursive: true, force: true })
          await exportPrompt(run, { to: target, out: place, model, ...options })
          return place
        }
        const onnx = await to('onnx')
        check(`${name}, ${type}: onnx in onnxruntime-genai`, python, [join(onnx, 'self_test.py')])
        if (type === 'dept') continue
        const hf = await to('hf')
        check(`${name}, ${type}: hf`, python, [join(hf, 'self_test.py')])
        checkPasted(`${name}, ${type}: hf as pasted`, hf, hf)
        // The exported checkpoint has the base model's rows, and more: it serves as one for the others.
        if (type === 'prompt-tuning') {
          for (const target of ['embeds', 'kv']) {
            const place = await to(target)
            check(`${name}: ${target}`, python, [join(place, 'self_test.py'), '--base', hf])
            checkPasted(`${name}: ${target} as pasted`, place, hf)
          }
          const adapters = { peft: await to('peft'), 'kv as PREFIX_TUNING': join(out('prompt-tuning-kv'), 'peft') }
          for (const [label, adapter] of Object.entries(adapters)) {
            const script = join('scripts', 'check', 'peft_self_test.py')
            check(`${name}: ${label}`, python, [script, '--base', hf, '--adapter', adapter])
            checkPasted(`${name}: ${label} as pasted`, adapter, hf)
          }
        }
        if (existsSync(join(name, 'config.json')) && type === 'prompt-tuning') {
          const delta = await to('hf', { delta: true })
          const merged = `${delta}-merged`
          check(`${name}: merge.py`, python, [join(delta, 'merge.py'), '--base', name, '--out', merged])
          check(`${name}: hf from a delta`, python, [join(merged, 'self_test.py')])
        }
        if (llama !== undefined) {
          const gguf = await to('gguf').catch((error: Error) => console.log(`skipped: ${name}, ${type}: gguf (${error.message})`))
          if (!gguf) continue
          check(`${name}, ${type}: gguf`, process.execPath, [join(gguf, 'self-test.mjs')], { NODE_LLAMA_CPP: llama })
        }
      }
    } finally {
      await model.dispose()
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

/** Runs the Python of a README from its folder, with the base model where it names one. */
function checkPasted(name: string, place: string, base: string): void {
  if (!chosen(name)) return
  for (const [i, code] of pasted(place, base).entries())
    check(i === 0 ? name : `${name}, ${i + 1}`, python, ['-c', code], { PYTHONWARNINGS: 'ignore' }, place)
}

function check(
  name: string,
  command: string,
  given: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd = root,
): void {
  if (!chosen(name)) return
  const { status, stdout, stderr } = spawnSync(command, given, { encoding: 'utf8', env: { ...process.env, ...env }, cwd })
  console.log(`${status === 0 ? 'ok' : 'FAILED'}: ${name}`)
  if (status === 0) passed++
  else {
    failed++
    console.log(stdout.slice(-2000), stderr.slice(-2000))
  }
}

/** A Python with the packages; one is made where none is named. */
function findPython(): string {
  const named = process.env.GRADPROMPT_PYTHON
  if (named !== undefined && named !== '') return named
  const place = join(cacheFolder(), 'consumers')
  const own = join(place, process.platform === 'win32' ? 'Scripts' : 'bin', 'python')
  const stamp = join(place, 'pyvenv.cfg')
  const run = (command: string, ...given: string[]) => {
    const { status } = spawnSync(command, given, { stdio: 'inherit' })
    if (status !== 0) throw new Error(`${command} ${given.join(' ')} failed: name a Python with GRADPROMPT_PYTHON`)
  }
  if (!existsSync(stamp) || !readFileSync(stamp, 'utf8').includes('version')) run('python3', '-m', 'venv', place)
  run(own, '-m', 'pip', 'install', '--quiet', ...packages)
  return own
}
