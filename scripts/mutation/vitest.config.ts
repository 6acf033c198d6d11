import { defineConfig } from 'vitest/config'

/** Tests for mutation testing: those that belong to the mutated files, which `scripts/mutation.ts` names. */
export default defineConfig({
  test: {
    include: JSON.parse(process.env.GRADPROMPT_MUTATION_TESTS ?? '[]') as string[],
    globalSetup: 'test/support/one-run.ts',
    testTimeout: 60_000,
    pool: 'threads',
    maxWorkers: 1,
  },
})
