import { defineConfig } from 'vitest/config'

const every = 'test/**/*.test.ts'

/** Files that would change what others of their process find, or be changed by them. Each of them has a process of its own. */
const apart = [
  // They replace modules.
  'test/generate/stored-weights.test.ts',
  'test/search/screening.test.ts',
  // They add to a registry what others would then test, too.
  'test/api/examples.test.ts',
  'test/own-entries.test.ts',
  'test/prompts/own-method.test.ts',
  'test/train/pairs.test.ts',
  // They measure the memory of their process.
  'test/serve/busy.test.ts',
  // Their smallest numbers are zero where a program has run (`set_denormal_as_zero`).
  'test/formats/**/*.test.ts',
  // They install packages, and lose devices.
  'test/package/**/*.test.ts',
  'test/devices/**/*.test.ts',
]

export default defineConfig({
  test: {
    reporters: ['default', './test/support/count-reporter.ts', './test/support/stall-reporter.ts'],
    globalSetup: './test/support/one-run.ts',
    testTimeout: 240_000,
    hookTimeout: 240_000,
    // One more than cores: a test that waits for a command of its own leaves one idle.
    maxWorkers: 3,
    // Tiny models gain nothing by a second thread, which waits for its part by spinning: on two cores, in another process's time.
    env: { GRADPROMPT_THREADS: '1' },
    // Compiling makes much that is thrown away at once.
    execArgv: ['--max-semi-space-size=64'],
    pool: 'forks',
    projects: [
      // The others share three processes: what one has compiled, and what the engine has learned of the code, serves the next, which takes a
      // third off the whole. A process that serves both projects would never end, so one project follows the other.
      {
        extends: true,
        test: { name: 'together', include: [every], exclude: apart, isolate: false, sequence: { groupOrder: 0 } },
      },
      { extends: true, test: { name: 'apart', include: apart, sequence: { groupOrder: 1 } } },
    ],
  },
})
