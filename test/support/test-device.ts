import type { Device } from '../../src/program/devices.js'

/** Where tests of operations and kernels run: `GRADPROMPT_TEST_DEVICE=webgpu npx vitest run test/kernels` holds another device to them. */
export const testDevice = (process.env.GRADPROMPT_TEST_DEVICE ?? 'cpu') as Device
