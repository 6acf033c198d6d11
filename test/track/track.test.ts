import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { resume } from '../../src/api/resume.js'
import { tune } from '../../src/api/tune.js'
import { crc32c } from '../../src/track/crc32c.js'
import { record, scalarEvents, startEvent, versionEvent } from '../../src/track/tensorboard.js'
import { openTracking } from '../../src/track/tracking.js'
import { temporaryFolder, toyConfig } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

test('event files are those of TensorBoard’s own writer, byte for byte', () => {
  // The check value of RFC 3720.
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  const events = [
    versionEvent(1700000000.25),
    startEvent(1700000000.25, 4),
    ...scalarEvents(1700000001.5, [
      { name: 'train/loss', step: 0, value: 0.75 },
      { name: 'dev/accuracy', step: 300, value: 0.5 },
      { name: 'dev/accuracy.low', step: 300, value: -1e-7 },
    ]),
  ]
  expect(Buffer.concat(events.map(record)).toString('hex')).toBe(
    readFileSync('test/fixtures/track/events.tfevents').toString('hex'),
  )
})

test('a run is followed; going on, steps are told once; a tracker that fails stops nothing', async () => {
  const own = join(folder, 'own.mjs')
  writeFileSync(
    own,
    `export default { description: 'breaks', open: () => ({ scalars() { throw new Error('the line is dead') }, close() {} }) }`,
  )
  const config = toyConfig(folder, { train: { steps: 6, evaluateEvery: 3, checkpointEvery: 2 } })
  const warnings: string[] = []
  const stopping = new AbortController()
  const track = ['csv', 'tensorboard', own]
  const stopped = tune(
    { ...config, track },
    {
      signal: stopping.signal,
      onEvent(event) {
        if (event.event === 'warning' && event.code === 'tracker-failed') warnings.push(event.message)
        if (event.event === 'step' && event.step === 4) stopping.abort()
      },
    },
  )
  await expect(stopped).rejects.toMatchObject({ code: 'aborted' })
  expect(warnings).toEqual([`${own} follows the run no more: the line is dead`])
  const { result } = await resume(config.out!)
  const lines = readFileSync(join(config.out!, 'metrics.csv'), 'utf8').trimEnd().split('\n')
  expect(lines[0]).toBe('step,name,value')
  const losses = lines.filter(line => line.split(',')[1] === 'train/loss').map(line => Number(line.split(',')[0]))
  expect(losses).toEqual([1, 2, 3, 4, 5, 6])
  expect(lines).toContain(`6,result/accuracy,${result.metrics.accuracy!.value}`)
  expect(readdirSync(join(config.out!, 'tensorboard'))).toHaveLength(2)
})

test('an MLflow server is told in batches, and one that is not there is said once', async () => {
  const asked: { path: string; body: Record<string, unknown> }[] = []
  const bodyOf = async (request: IncomingMessage) => {
    let text = ''
    for await (const chunk of request) text += chunk
    return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
  }
  const server = createServer(async (request, response) => {
    const path = request.url!.replace('/api/2.0/mlflow/', '')
    asked.push({ path, body: await bodyOf(request) })
    const answers: Record<string, object> = {
      'experiments/create': { experiment_id: '7' },
      'runs/create': { run: { info: { run_id: 'abc' } } },
    }
    response.statusCode = path.startsWith('experiments/get-by-name') ? 404 : 200
    response.end(JSON.stringify(answers[path] ?? {}))
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  process.env.MLFLOW_TRACKING_URI = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  try {
    const failures: string[] = []
    const run = { folder, name: 'toy', config: { train: { steps: 6 }, model: 'm' }, step: 0 }
    const tracking = openTracking(['mlflow'], run, (name, message) => failures.push(`${name}: ${message}`))
    for (let step = 1; step <= 3; step++) tracking.hear({ event: 'step', step, loss: 1 / step } as never)
    await tracking.close('finished')
    expect(failures).toEqual([])
    expect(asked.map(({ path }) => path)).toEqual([
      'experiments/get-by-name?experiment_name=gradprompt',
      'experiments/create',
      'runs/create',
      'runs/log-batch',
      'runs/log-batch',
      'runs/update',
    ])
    expect(asked[3]!.body).toEqual({
      run_id: 'abc',
      params: [
        { key: 'train.steps', value: '6' },
        { key: 'model', value: 'm' },
      ],
    })
    expect(asked[4]!.body.metrics).toMatchObject([1, 2, 3].map(step => ({ key: 'train/loss', step, value: 1 / step })))
    expect(asked[5]!.body).toMatchObject({ run_id: 'abc', status: 'FINISHED' })
    await new Promise(done => server.close(done))
    const gone = openTracking(['mlflow'], run, (name, message) => failures.push(`${name}: ${message}`))
    for (let step = 1; step <= 3; step++) gone.hear({ event: 'step', step, loss: 1 } as never)
    await gone.close('finished')
    expect(failures).toEqual([expect.stringMatching(/ECONNREFUSED|closed/)])
  } finally {
    delete process.env.MLFLOW_TRACKING_URI
    server.close()
  }
})
