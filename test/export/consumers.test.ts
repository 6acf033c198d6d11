import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'

/** `npm run test:consumers` runs this over several models, and makes a Python of its own. */
const python = process.env.GRADPROMPT_PYTHON
const title = 'transformers, PEFT and llama.cpp compute what was exported'
if (!python) console.log('skipped: transformers and PEFT (GRADPROMPT_PYTHON names no Python; npm run test:consumers makes one)')

test.skipIf(!python)(
  python ? title : `${title} (skipped: GRADPROMPT_PYTHON names no Python)`,
  () => {
    const script = ['dist/scripts/check/consumers.js', '--model', 'test/fixtures/models/llama-gguf']
    const { status, stdout } = spawnSync(process.execPath, script, { encoding: 'utf8' })
    expect({ status, stdout }).toMatchObject({ status: 0, stdout: expect.stringContaining(' 0 failed') })
  },
  600_000,
)
