import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { replaceText } from '../store/atomic.js'
import type { Scalar, Tracker } from './tracker.js'

/**
 * A run on an MLflow tracking server, over its REST API (2.0). The server and the experiment are those of MLflow's own variables:
 * `MLFLOW_TRACKING_URI` (by default http://127.0.0.1:5000), `MLFLOW_EXPERIMENT_NAME` (gradprompt), `MLFLOW_TRACKING_TOKEN` or
 * `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.
 */
export const mlflow: Tracker = {
  name: 'mlflow',
  description: 'a run on the MLflow server of MLFLOW_TRACKING_URI',
  async open({ folder, name, config, step }) {
    const ask = asker(process.env)
    const known = join(folder, 'mlflow.json')
    let id =
      step > 0
        ? await readFile(known, 'utf8').then(
            text => (JSON.parse(text) as { run: string }).run,
            () => undefined,
          )
        : undefined
    if (id === undefined) {
      const experiment = await experimentOf(ask, process.env.MLFLOW_EXPERIMENT_NAME || 'gradprompt')
      const made = await ask('POST', 'runs/create', { experiment_id: experiment, run_name: name, start_time: Date.now() })
      id = (made as { run: { info: { run_id: string } } }).run.info.run_id
      await replaceText(known, `${JSON.stringify({ run: id })}\n`)
      const params = leaves(config, '').map(([key, value]) => ({ key: key.slice(0, 250), value: value.slice(0, 500) }))
      for (let at = 0; at < params.length; at += mostParams)
        await ask('POST', 'runs/log-batch', { run_id: id, params: params.slice(at, at + mostParams) })
    } else await ask('POST', 'runs/update', { run_id: id, status: 'RUNNING' })
    const run = id
    let waiting: { key: string; value: number; timestamp: number; step: number }[] = []
    let sentAt = performance.now()
    const send = async () => {
      const metrics = waiting
      waiting = []
      sentAt = performance.now()
      for (let at = 0; at < metrics.length; at += mostMetrics)
        await ask('POST', 'runs/log-batch', { run_id: run, metrics: metrics.slice(at, at + mostMetrics) })
    }
    return {
      async scalars(scalars: readonly Scalar[]) {
        const timestamp = Date.now()
        waiting.push(...scalars.map(({ name, step, value }) => ({ key: name, value, timestamp, step })))
        if (waiting.length >= mostMetrics || performance.now() - sentAt > secondsBetween * 1000) await send()
      },
      async close(outcome) {
        await send()
        const status = { finished: 'FINISHED', stopped: 'KILLED', failed: 'FAILED' }[outcome]
        await ask('POST', 'runs/update', { run_id: run, status, end_time: Date.now() })
      },
    }
  },
}

/** What one request may hold. */
const [mostParams, mostMetrics] = [100, 500]
const secondsBetween = 2
const timeoutMilliseconds = 10_000

type Ask = (method: 'GET' | 'POST', path: string, body: object) => Promise<unknown>

function asker(environment: Readonly<Record<string, string | undefined>>): Ask {
  const given = environment.MLFLOW_TRACKING_URI || 'http://127.0.0.1:5000'
  if (!/^https?:\/\//.test(given) || !URL.canParse(given))
    throw new GradpromptError('invalid-option', 'MLFLOW_TRACKING_URI is no address of a server', {
      found: given,
      expected: 'http://host:port or https://host',
    })
  const { MLFLOW_TRACKING_TOKEN: token, MLFLOW_TRACKING_USERNAME: user, MLFLOW_TRACKING_PASSWORD: password = '' } = environment
  const authorization = token
    ? `Bearer ${token}`
    : user
      ? `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
      : undefined
  return async (method, path, body) => {
    const query = method === 'GET' ? `?${new URLSearchParams(body as Record<string, string>)}` : ''
    const response = await fetch(`${given.replace(/\/+$/, '')}/api/2.0/mlflow/${path}${query}`, {
      method,
      headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
      ...(method === 'POST' && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMilliseconds),
    })
    const text = await response.text()
    if (!response.ok) throw new MlflowError(`${path}: ${response.status} ${text.slice(0, 200)}`, response.status)
    return JSON.parse(text) as unknown
  }
}

class MlflowError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message)
  }
}

async function experimentOf(ask: Ask, name: string): Promise<string> {
  const find = async () =>
    ((await ask('GET', 'experiments/get-by-name', { experiment_name: name })) as { experiment: { experiment_id: string } })
      .experiment.experiment_id
  try {
    return await find()
  } catch (error) {
    if (!(error instanceof MlflowError && error.status === 404)) throw error
  }
  try {
    return ((await ask('POST', 'experiments/create', { name })) as { experiment_id: string }).experiment_id
  } catch {
    // Another run may have been faster.
    return find()
  }
}

function leaves(value: unknown, path: string): [string, string][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return Object.entries(value).flatMap(([name, part]) => leaves(part, path === '' ? name : `${path}.${name}`))
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
  return path === '' || text === '' ? [] : [[path.replace(/[^\w./ -]/g, '_'), text]]
}
