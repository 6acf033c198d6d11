import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/support/count-reporter.ts'],
    globalSetup: './test/support/one-run.ts',
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Two cores: each worker computes on one of them (`one-run.ts`).
    maxWorkers: 2,
    pool: 'forks',
  },
})
