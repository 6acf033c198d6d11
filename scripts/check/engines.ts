import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.js'
import { bullmqCheck } from './engines/bullmq.js'
import type { EngineCheck } from './engines/check.js'
import { rayCheck } from './engines/ray.js'
import { slurmCheck } from './engines/slurm.js'

/**
 * `npm run test:engines [-- NAME …]`: sweeps on the engines that people have, each started here. One that is not installed is skipped with a line
 * that says what is missing. Exit code 1 where a check fails.
 */

const checks: readonly EngineCheck[] = [slurmCheck, bullmqCheck, rayCheck]
const usage = `npm run test:engines [-- NAME …], NAME one of ${checks.map(({ name }) => name).join(', ')}`
const { positionals } = scriptArguments(usage, {})
let [passed, skipped, failed] = [0, 0, 0]
for (const check of checks) {
  if (positionals.length > 0 && !positionals.includes(check.name)) continue
  const missing = check.missing()
  if (missing !== undefined) {
    skipped++
    console.log(`skipped: ${check.name}: ${missing}`)
    continue
  }
  const started = performance.now()
  const folder = mkdtempSync(join(tmpdir(), `gp-${check.name}-`))
  try {
    await check.run(folder, seen => console.log(`  ${check.name}: ${seen}`))
    passed++
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 })
    console.log(`passed: ${check.name}, ${((performance.now() - started) / 1000).toFixed(0)} s`)
  } catch (error) {
    failed++
    console.log(
      `failed: ${check.name}: ${error instanceof Error ? error.message : String(error)}; what it has written is in ${folder}`,
    )
  }
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exit(failed === 0 ? 0 : 1)
