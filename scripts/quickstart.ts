import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { MetricValue } from '../src/evaluate/intervals.js'
import type { NearestTokens } from '../src/evaluate/nearest-tokens.js'
import { packageRoot } from '../src/package-root.js'
import type { RunResult } from '../src/train/events.js'

/**
 * Tunes a soft prompt on the bundled model and data, shows what it learned, and exports it to PEFT. Every start is a run of its own.
 */

interface Line {
  readonly event: string
}

// Ctrl-C reaches the command as well, which stops with a checkpoint; its exit code is passed on.
process.on('SIGINT', () => {})

const config = 'examples/sst2/quickstart.yaml'
console.log(`gradprompt quickstart: learning sentiment on SST-2 with the bundled SmolLM2-135M-Instruct, as ${config} says.
First the base model is scored, then 20 vectors are learned; the model itself stays as it is. Ctrl-C stops with a checkpoint.\n`)

const result = (await gradprompt('tune', '--config', config, '--json')).find(isResult)
if (result === undefined) throw new Error('tune ended without a result')
const inspected = (await gradprompt('inspect', result.folder, '--json')).find(isInspected)
const adapter = join(result.folder, 'peft')
await gradprompt('export', result.folder, '--to', 'peft', '--out', adapter, '--json')

const { control } = result
const share = (metric: MetricValue | undefined) => (metric === undefined ? 'unknown' : percent(metric))
const percent = ({ value, low, high }: MetricValue) =>
  `${(100 * value).toFixed(1)} % (95 % interval ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`
const words = inspected?.nearest.map(({ tokens }) => JSON.stringify(tokens[0]?.text ?? '')).join(' ')

console.log(`
Accuracy on ${result.rows} dev rows (a fixed part, drawn by seed):
  before  ${share(control.plain.metrics.accuracy)}, the base model on the template alone
          ${share(control.metrics.accuracy)}, the base model with the instruction ${JSON.stringify(control.instruction)}
  after   ${share(result.metrics.accuracy)}, tuned

The vectors read as (the nearest token of each):
  ${words ?? 'unknown'}

The adapter for PEFT lies in ${adapter}. In Python (pip install peft transformers gguf), from this folder:

  from peft import PeftModel
  from transformers import AutoModelForCausalLM
  base = AutoModelForCausalLM.from_pretrained("models/smollm2-135m-instruct", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
  model = PeftModel.from_pretrained(base, ${JSON.stringify(adapter)})

Next:
  npx gradprompt inspect ${result.folder}
  npx gradprompt evaluate ${result.folder} --data examples/sst2/test.tsv      all 1,821 test rows
  npx gradprompt tune --config examples/sst2/full.yaml                 a whole epoch`)

/** Runs a command; its progress is seen, its results are returned. Ends this process when it fails. */
async function gradprompt(...given: string[]): Promise<Line[]> {
  const root = packageRoot()
  const child = spawn(process.execPath, [join(root, 'dist', 'src', 'cli', 'main.js'), ...given], {
    cwd: root,
    // The text of the later commands is told here in other words.
    stdio: ['ignore', 'pipe', given[0] === 'tune' ? 'inherit' : 'pipe'],
  })
  let output = ''
  let errors = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => resolve(code ?? 1))
  })
  if (code !== 0) {
    process.stderr.write(errors)
    process.exit(code)
  }
  return output
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Line)
}

function isResult(line: Line): line is Line & RunResult {
  return line.event === 'result'
}

function isInspected(line: Line): line is Line & { readonly nearest: readonly NearestTokens[] } {
  return line.event === 'inspect'
}
