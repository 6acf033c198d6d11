import { expect, test } from 'vitest'
import { Jobs } from '../../src/ui/parts/jobs.js'

test('a line that is too long is left out, which is said, and what follows is heard', async () => {
  const script = `
    const { stdout } = process
    stdout.write('{"event":"first"}\\n{"event":"long","text":"')
    for (let i = 0; i < 20; i++) stdout.write('x'.repeat(2 ** 20))
    stdout.write('"}\\n{"event":"last"}\\n')`
  const jobs = new Jobs({ program: process.execPath, args: ['-e', script] }, process.cwd())
  const job = await new Promise<ReturnType<Jobs['start']>>(resolve => {
    const started = jobs.start(['export'], () => resolve(started))
  })
  expect(job.state).toBe('done')
  expect(job.events.map(({ event }) => event)).toEqual(['first', 'last'])
  expect(job.notes.match(/more than 8 MiB is left out/g)).toHaveLength(1)
})
