import { expect, test } from 'vitest'
import { Jobs } from '../../src/ui/parts/jobs.js'
import { likeliestFirst } from '../../src/ui/parts/speaker.js'

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

test('the other tokens that there were stand by what they are worth, figures too', () => {
  const tokens = likeliestFirst({ 7: Math.log(0.2), '"': Math.log(0.5), 12: Math.log(0.3) })
  expect(tokens.map(({ token }) => token)).toEqual(['"', '12', '7'])
})
