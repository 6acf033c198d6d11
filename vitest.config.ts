import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/support/count-reporter.ts'],
    globalSetup: './test/support/one-run.ts',
    testTimeout: 600_000,
    hookTimeout: 600_000,
    // Two cores: each file may hold a model and two threads of ONNX Runtime.
    maxWorkers: 2,
    pool: 'forks',
  },
})
