import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { currentEnvironment, environmentDifferences } from '../../src/store/environment.js'

test('the environment names versions and processor, and is the same when asked again', () => {
  const environment = currentEnvironment({ device: 'cpu', threads: 2 })
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  expect(environment).toEqual({
    gradprompt: manifest.version,
    node: process.versions.node,
    onnxruntime: manifest.optionalDependencies['onnxruntime-node'],
    platform: `${process.platform}-${process.arch}`,
    processor: expect.stringMatching(/./),
    processorFeatures: expect.stringMatching(/^[0-9a-f]{16}$/),
    device: 'cpu',
    threads: 2,
  })
  expect(currentEnvironment({ device: 'cpu', threads: 2 })).toEqual(environment)
  expect(JSON.parse(JSON.stringify(environment))).toEqual(environment)
})

test('differences are named', () => {
  const now = currentEnvironment({ device: 'cpu', threads: 2 })
  expect(environmentDifferences(now, now)).toEqual([])
  expect(environmentDifferences({ ...now, threads: 4 }, now)).toEqual(['threads: 4 before, 2 now'])
  expect(environmentDifferences(undefined, now)).toHaveLength(Object.keys(now).length)
})
