/** Whether all is tried (`npm run test:whole`), or what takes minutes is left out, as by `npm test`. */
export const isWhole = process.env.GRADPROMPT_TEST_WHOLE === '1'
