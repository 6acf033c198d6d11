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
    // A worker keeps what it has loaded from file to file: TF.js is read once, and what traces and solves is compiled to machine code once.
    isolate: false,
  },
})
