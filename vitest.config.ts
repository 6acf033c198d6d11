import { defineConfig } from 'vitest/config'

/**
 * Files that change what others would find: they put modules in the place of others, add to a registry, or count a process's memory. Each has a
 * process of its own.
 */
const apart = [
  'test/generate/stored-weights.test.ts',
  'test/prompts/own-method.test.ts',
  'test/search/preflight.test.ts',
  'test/search/reasoning.test.ts',
  'test/search/screening.test.ts',
  'test/serve/busy.test.ts',
  'test/train/pairs.test.ts',
]

const common = {
  globalSetup: './test/support/one-run.ts',
  testTimeout: 120_000,
  hookTimeout: 120_000,
  pool: 'forks',
} as const

export default defineConfig({
  test: {
    reporters: ['default', './test/support/count-reporter.ts'],
    // Two cores: each worker computes on one of them (`one-run.ts`).
    maxWorkers: 2,
    projects: [
      {
        // A worker keeps what it has loaded from file to file: TF.js is read once, and what traces and solves is compiled to machine code once.
        test: { ...common, name: 'together', include: ['test/**/*.test.ts'], exclude: apart, isolate: false },
      },
      { test: { ...common, name: 'apart', include: apart } },
    ],
  },
})
