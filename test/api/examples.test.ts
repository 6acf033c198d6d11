import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { planOf } from '../../src/api/sweep/plan.js'
import { loadConfigFile } from '../../src/config/load.js'
import { readTask, taskRows } from '../../src/data/task.js'
import { loadTokenizer } from '../../src/formats/tokenizer.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { noRows, parseSearchConfig } from '../../src/search/config.js'
import { readSearchTask } from '../../src/search/run/task.js'
import { loadConfigEntries, parseConfig } from '../../src/train/config.js'
import { totalSteps } from '../../src/train/schedule.js'

const folder = 'examples/sst2'
const configs = readdirSync(folder).filter(name => name.endsWith('.yaml'))

test('there are four', () => expect(configs).toEqual(['16-shot.yaml', 'full.yaml', 'gates.yaml', 'quickstart.yaml']))

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
      'gates.yaml': { steps: 60, scored: 32, test: 1821 },
    }[name],
  })
})

/** Every other config of an example, by its folder: each is read with its data, as --dry-run does. */
const others = readdirSync('examples')
  .filter(name => name !== 'sst2')
  .flatMap(name =>
    readdirSync(join('examples', name))
      .filter(file => file.endsWith('.yaml'))
      .map(file => join('examples', name, file)),
  )

test('every example beside them has a config', () => expect(others.length).toBeGreaterThan(3))

test.each(others)('%s fits its data', async path => {
  const given = await loadConfigFile(path)
  if ('sweep' in given) {
    expect((await planOf(given, path)).trials).toBeGreaterThan(1)
    return
  }
  if ('search' in given) {
    const config = parseSearchConfig(given, { source: path })
    const task = await readSearchTask(config)
    if (config.data.train === noRows) expect(task.labels?.candidates.length).toBeGreaterThan(1)
    else expect(task.questions.length).toBeGreaterThan(0)
    return
  }
  const config = parseConfig(await loadConfigEntries(given), { source: path })
  expect(config.out).toBeUndefined()
  const checkpoint = await openCheckpoint(config.model)
  await checkpoint.file.close()
  const limits = { tokenizer: await loadTokenizer(checkpoint.tokenizer), contextLength: 2048, numVirtualTokens: 20 }
  expect(taskRows(config, await readTask(config), limits).truncated).toBe(0)
})
