import { defineConfig } from 'vitest/config'
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', ['json', { outputFile: '/tmp/vitest.json' }]],
    testTimeout: 240_000, hookTimeout: 240_000, maxWorkers: 2, pool: 'forks',
    execArgv: ['--cpu-prof', '--cpu-prof-dir=/tmp/prof', '--cpu-prof-interval=2000'],
  },
})
