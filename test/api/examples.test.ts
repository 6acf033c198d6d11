import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfigFile } from '../../src/config/load.js'
import { readTask } from '../../src/data/task.js'
import { parseConfig } from '../../src/train/config.js'
import { totalSteps } from '../../src/train/schedule.js'

const folder = 'examples/sst2'
const configs = readdirSync(folder).filter(name => name.endsWith('.yaml'))

test('there are three', () => expect(configs).toEqual(['16-shot.yaml', 'full.yaml', 'quickstart.yaml']))

test.each(configs)('%s fits its data', async name => {
  const path = join(folder, name)
  const config = parseConfig(await loadConfigFile(path), { source: path })
  expect(existsSync(config.model)).toBe(true)
  expect(config.out).toBeUndefined()
  const task = await readTask(config)
  expect(task.labels?.candidates).toEqual(['negative', 'positive'])
  expect([...task.train, ...task.scored, ...task.test].every(record => record.label === '0' || record.label === '1')).toBe(true)
  const facts = { steps: totalSteps(config.train, task.train.length), scored: task.scored.length, test: task.test.length }
  expect({ [name]: facts }).toEqual({
    [name]: {
      'quickstart.yaml': { steps: 100, scored: 200, test: 0 },
      'full.yaml': { steps: 432, scored: 872, test: 1821 },
      '16-shot.yaml': { steps: 100, scored: 32, test: 1821 },
    }[name],
  })
})
