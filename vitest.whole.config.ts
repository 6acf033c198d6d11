import { defineConfig, mergeConfig } from 'vitest/config'
import base from './vitest.config.js'

/** The tests with what takes minutes besides: further sizes, 8-bit weights of the bundled model, what the examples' READMEs learn. */
export default mergeConfig(base, defineConfig({ test: { env: { GRADPROMPT_TEST_WHOLE: '1' } } }))
