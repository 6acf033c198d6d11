import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { refuseOther } from '../../src/cli/commands/sweeps/worker.js'
import { engineOf, engineText, submit } from '../../src/cli/show/submitting.js'
import { createOutput } from '../../src/cli/terminal/output.js'
import { bullmq } from '../../src/sweep/engines/bullmq.js'
import { kubernetes } from '../../src/sweep/engines/kubernetes.js'
import { loadBullmq, putJobs, type QueueJob } from '../../src/sweep/engines/queue.js'
import { ray } from '../../src/sweep/engines/ray.js'
import { slurm } from '../../src/sweep/engines/slurm.js'
import { command } from '../cli/command.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

interface ParsedJob {
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly template: {
      readonly spec: { readonly containers: object[]; readonly volumes: { name: string }[]; readonly restartPolicy: string }
    }
  }
}

const request = { folder: "/data/it's a sweep", directory: folder, command: ['true'], workers: 4, settings: {} }

/** Runs a job script as Slurm would start a task of it, with commands of Slurm that write down what they are told. */
function task(command: readonly string[]) {
  const said = join(folder, 'scontrol.log')
  writeFileSync(join(folder, 'scontrol'), `#!/bin/sh\necho "$@" >> '${said}'\n`)
  chmodSync(join(folder, 'scontrol'), 0o755)
  const path = join(folder, 'slurm.sh')
  writeFileSync(path, slurm.text({ ...request, command }))
  const env = { ...process.env, PATH: folder + delimiter + process.env.PATH, SLURM_ARRAY_JOB_ID: '7', SLURM_ARRAY_TASK_ID: '2' }
  return { path, said, env }
}

test.skipIf(process.platform === 'win32')(
  'a task of the job array ends as its worker does; told of its end, it lets the worker end, and is queued again',
  async () => {
    const { path, said, env } = task([process.execPath, '-e', 'process.exit(3)'])
    expect(spawnSync('bash', [path], { env }).status).toBe(3)
    expect(existsSync(said)).toBe(false)
    // The worker takes a while to write its checkpoint: the task waits for that.
    const program = `process.on('SIGHUP', () => setTimeout(() => { console.log('checkpoint'); process.exit(129) }, 300)); setInterval(() => {}, 99); console.log('works')`
    const long = task([process.execPath, '-e', program])
    const child = spawn('bash', [long.path], { env: long.env, stdio: ['ignore', 'pipe', 'inherit'] })
    let printed = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (printed === '') child.kill('SIGTERM')
      printed += text
    })
    expect(await new Promise(resolve => child.once('close', resolve))).toBe(0)
    expect(printed).toBe('works\ncheckpoint\n')
    expect(readFileSync(said, 'utf8')).toBe('requeue 7_2\n')
  },
)

test('options of sbatch stand in the script; what would break out of it is refused', () => {
  const text = slurm.text({ ...request, settings: { time: '4:00:00', gres: 'gpu:1', exclusive: '' } })
  expect(text.split('\n').filter(line => line.startsWith('#SBATCH'))).toEqual([
    '#SBATCH --job-name=gradprompt-it-s-a-sweep',
    '#SBATCH --array=0-3',
    `#SBATCH --output="/data/it's a sweep/slurm-%A_%a.log"`,
    '#SBATCH --open-mode=append',
    '#SBATCH --requeue',
    '#SBATCH --signal=B:TERM@120',
    '#SBATCH --time="4:00:00"',
    '#SBATCH --gres="gpu:1"',
    '#SBATCH --exclusive',
  ])
  for (const settings of [
    { time: '3' },
    { time: '3:59' },
    { time: '0-0:3' },
    { time: '1\nrm -rf' },
    { time: '"' },
    { array: '0-9' },
    { 'a b': 'c' },
  ])
    expect(
      problem(() => slurm.text({ ...request, settings })),
      JSON.stringify(settings),
    ).toMatchObject({ code: 'invalid-option' })
  expect(problem(() => slurm.text({ ...request, folder: '/a%b' })).message).toContain('the folder of the sweep')
})

test('the Job has a pod for each worker, on one volume that holds the sweep', () => {
  const settings = { image: 'registry.example/gradprompt:1', claim: 'work', mount: '/data', gpu: '1', memory: '8Gi' }
  const given = { ...request, folder: '/data/sweeps/Größe_1', directory: '/data', command: ['gradprompt', 'sweep'], settings }
  const job = parse(kubernetes.text(given)) as ParsedJob
  expect(job).toMatchObject({
    apiVersion: 'batch/v1',
    kind: 'Job',
    spec: { completionMode: 'Indexed', completions: 4, parallelism: 4 },
  })
  // Names of Kubernetes are those of RFC 1123.
  expect(job.metadata.name).toMatch(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/)
  const { containers, volumes, restartPolicy } = job.spec.template.spec
  expect(restartPolicy).toBe('OnFailure')
  expect(containers[0]).toMatchObject({
    command: ['gradprompt', 'sweep'],
    workingDir: '/data',
    resources: { limits: { memory: '8Gi', 'nvidia.com/gpu': '1' } },
    volumeMounts: [{ name: volumes[0]!.name, mountPath: '/data' }],
  })
  expect(problem(() => kubernetes.text({ ...given, folder: '/data2/x' })).message).toContain('does not hold')
  expect(problem(() => kubernetes.text({ ...given, settings: { claim: 'work' } })).code).toBe('missing-option')
  expect(problem(() => kubernetes.text({ ...given, settings: { ...settings, imgae: 'x' } })).hint).toContain('image')
})

test.skipIf(process.platform === 'win32')('a job of Ray is the script that has handed it in', () => {
  const settings = { address: 'http://head:8265', 'entrypoint-num-gpus': '1' }
  const path = join(folder, 'a sweep')
  mkdirSync(path)
  const said = join(folder, 'ray.log')
  writeFileSync(join(folder, 'ray'), `#!/bin/sh\nfor word; do printf '%s|' "$word"; done >> '${said}'\necho >> '${said}'\n`)
  chmodSync(join(folder, 'ray'), 0o755)
  const command = [process.execPath, '-e', 'console.log(process.cwd())']
  writeFileSync(join(path, 'ray.sh'), ray.text({ ...request, folder: path, workers: 2, command, settings }))
  const env = { ...process.env, PATH: folder + delimiter + process.env.PATH }
  const { stdout, status } = spawnSync('bash', [join(path, 'ray.sh')], { env, encoding: 'utf8' })
  expect(status).toBe(0)
  const ids = stdout.trim().split('\n')
  expect(new Set(ids).size).toBe(2)
  expect(readFileSync(said, 'utf8').trim().split('\n')).toEqual(
    ids.map(
      id =>
        `job|submit|--no-wait|--submission-id|${id}|--address|http://head:8265|--entrypoint-num-gpus|1|--|bash|${path}/ray.sh|worker|`,
    ),
  )
  const worker = spawnSync('bash', [join(path, 'ray.sh'), 'worker'], { env, encoding: 'utf8' })
  expect(worker.stdout.trim()).toBe(realpathSync(folder))
  expect(problem(() => ray.text({ ...request, folder: '/a$b' })).code).toBe('invalid-option')
  expect(problem(() => ray.text({ ...request, folder: '/a', settings: { 'working-dir': '.' } })).code).toBe('invalid-option')
})

test('the file of a queue has a job for each worker; nothing but a part in a sweep is begun by one', () => {
  const command = ['gradprompt', 'sweep', '/data/s', '--quiet', '--trials', '60']
  const file = JSON.parse(bullmq.text({ ...request, command, settings: { queue: 'night' } })) as {
    jobs: QueueJob[]
    queue: string
  }
  expect(file.queue).toBe('night')
  expect(file.jobs).toHaveLength(4)
  expect(file.jobs[0]).toEqual({ directory: folder, args: command.slice(1) })
  refuseOther(file.jobs[0]!.args)
  for (const args of [
    ['tune', '/data/s'],
    ['sweep'],
    ['sweep', '--quiet'],
    ['sweep', '/data/s', '--trials', '6; ls'],
    ['sweep', '/data/s', '/x'],
  ])
    expect(problem(() => refuseOther(args)).code, args.join(' ')).toBe('invalid-job')
  for (const settings of [{ queue: 'a:b' }, { attempts: '0' }, { qeue: 'x' }])
    expect(problem(() => bullmq.text({ ...request, settings })).code).toBe('invalid-option')
})

test('without its package, and without a Redis, a queue is refused in words', async () => {
  const missing = await problemOf(loadBullmq(() => Promise.reject(new Error("Cannot find package 'bullmq'"))))
  expect(missing).toMatchObject({ code: 'package-missing', hint: 'npm install bullmq ioredis' })
  process.env.REDIS_URL = 'redis://:secret@127.0.0.1:1'
  try {
    const away = await problemOf(putJobs('q', 'n', [], 1))
    expect(away).toMatchObject({ code: 'queue-unreachable', message: 'no Redis answers at redis://127.0.0.1:1' })
  } finally {
    delete process.env.REDIS_URL
  }
})

test('where the command of the engine is not there, the file is, and how it is handed in', async () => {
  const options = { on: 'slurm', workers: 2, set: ['time=1:00:00'] }
  const text = engineText(engineOf(options)!, folder, options, { trials: 60 })
  expect(text).toContain('--trials 60 &')
  const { PATH } = process.env
  process.env.PATH = join(folder, 'nothing')
  try {
    const error = await problemOf(submit(slurm, folder, text, createOutput({ quiet: true })))
    expect(error).toMatchObject({ code: 'engine-missing', hint: expect.stringContaining(`sbatch --parsable ${folder}/slurm.sh`) })
  } finally {
    process.env.PATH = PATH
  }
  expect(readFileSync(join(folder, 'slurm.sh'), 'utf8')).toBe(text)
  expect(problem(() => engineOf({ on: 'slrum' })).hint).toContain('slurm')
  expect(problem(() => engineOf({ set: ['a=b'] })).code).toBe('invalid-option')
})

test('a sweep stands where its config says, or its flag', async () => {
  const { model: _, ...config } = toyConfig(folder, { out: join(folder, 'in-config') })
  const path = join(folder, 'placed.json')
  writeFileSync(path, JSON.stringify({ ...config, model: toyModel, sweep: { over: { seed: [1, 2] } } }))
  const asked = ['sweep', path, '--on', 'slurm', '--workers', '1', '--dry-run']
  expect((await command(asked)).stdout).toContain('in-config')
  const flagged = (await command([...asked, '--out', join(folder, 'in-flag')])).stdout
  expect(flagged).toContain('in-flag')
  expect(flagged).not.toContain('in-config')
})
