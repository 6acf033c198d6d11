import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { EngineCheck } from './check.js'
import {
  checkpointsOf,
  countOf,
  enough,
  gradprompt,
  isThere,
  journalOf,
  refuseLost,
  refuseOtherBits,
  steps,
  until,
  workersOf,
  writeSweep,
} from './sweeps.js'

/**
 * `--on slurm` on a Slurm of one node, which is started here (Debian: `apt-get install slurm-wlm munge`) with files, ports and a key of its own.
 * Tasks reach their time and are queued again, one is killed, and the node goes down; every trial is finished once, to the bits of a run that nobody stopped.
 */

export const slurmCheck: EngineCheck = {
  name: 'slurm',
  missing() {
    if (process.getuid?.() !== 0) return 'only root can start slurmctld and slurmd'
    const missing = ['munged', 'slurmctld', 'slurmd', 'sbatch'].filter(program => !isThere(program))
    return missing.length === 0 ? undefined : `${missing.join(', ')} not found (Debian: apt-get install slurm-wlm munge)`
  },
  async run(folder, say) {
    const cluster = await startCluster(folder)
    try {
      const config = writeSweep(folder)
      const sweep = join(folder, 'sweep')
      gradprompt(['sweep', config, '--on', 'slurm', '--workers', '2', '--set', 'time=4', '--out', sweep], cluster.env)
      await until('two tasks of the array work', 900, () => workersOf(sweep).length === 2)
      say('sbatch: both tasks of the array work on the sweep')

      const told = await until('a task is told of its end and queued again', 900, () => cluster.states(sweep).includes('PENDING'))
      await until('a trial is left with a checkpoint', 900, () => countOf(sweep, 'left') > 0)
      const left = journalOf(sweep).find(({ type }) => type === 'left')!.trial!
      const [at] = checkpointsOf(sweep, left)
      if (at === undefined || at >= steps) throw new Error(`trial ${left} was left without a checkpoint of its own`)
      say(
        `time limit: told after ${told.toFixed(0)} s; trial ${left} left with a checkpoint at step ${at} of ${steps}; task queued again`,
      )
      await until('the tasks run again', 900, () => workersOf(sweep).length === 2)
      say('requeue: both tasks run again')

      const [victim] = workersOf(sweep)
      const before = countOf(sweep, 'taken')
      process.kill(victim!, 'SIGKILL')
      await until('the trial of a killed worker is taken up', 900, () => countOf(sweep, 'taken') > before)
      say('kill -9 of a worker: its trial was taken up by the other')

      await cluster.loseNode()
      await until('no task runs', 900, () => workersOf(sweep).length === 0 && !cluster.states(sweep).includes('RUNNING'))
      await cluster.findNode()
      const back = await until('a task runs again', 900, () => workersOf(sweep).length > 0)
      say(`a node that went down and came back: its task runs again after ${back.toFixed(0)} s`)

      const trials = enough(sweep)
      gradprompt(['sweep', sweep, '--trials', String(trials), '--on', 'slurm', '--set', 'time=4'], cluster.env)
      await until('the jobs end', 900, () => cluster.states(sweep).length === 0)
      refuseLost(sweep, trials)
      say(`${trials} trials, each finished once, ${countOf(sweep, 'taken')} taken up`)

      const bits = refuseOtherBits(sweep)
      say(`${bits} of those that were taken up, done again alone: the same, to the bit`)
    } finally {
      await cluster.stop()
    }
  },
}

interface Cluster {
  readonly env: NodeJS.ProcessEnv
  /** Of the tasks that Slurm still has. */
  states(sweep: string): string[]
  loseNode(): Promise<void>
  findNode(): Promise<void>
  stop(): Promise<void>
}

async function startCluster(folder: string): Promise<Cluster> {
  const within = (name: string) => join(folder, name)
  const node = hostname().split('.')[0]!
  for (const name of ['state', 'spool']) mkdirSync(within(name))
  writeFileSync(within('key'), randomBytes(128), { mode: 0o600 })
  const conf = within('slurm.conf')
  const lines = {
    ClusterName: 'check',
    SlurmctldHost: `${node}(127.0.0.1)`,
    ...{ SlurmctldPort: 26817, SlurmdPort: 26818, SlurmUser: 'root', SlurmdUser: 'root' },
    // A task that is queued again waits until its old credential has run out: by default two minutes.
    ...{ AuthType: 'auth/munge', AuthInfo: `socket=${within('munge.socket')},cred_expire=10`, CredType: 'cred/munge' },
    ...{ StateSaveLocation: within('state'), SlurmdSpoolDir: within('spool') },
    ...{ SlurmctldPidFile: within('slurmctld.pid'), SlurmdPidFile: within('slurmd.pid') },
    // Without control groups and a task plugin Slurm runs in a container as well.
    ...{ ProctrackType: 'proctrack/linuxproc', TaskPlugin: 'task/none', SwitchType: 'switch/none', MpiDefault: 'none' },
    ...{ SelectType: 'select/cons_tres', SelectTypeParameters: 'CR_Core', SchedulerParameters: 'sched_interval=2,bf_interval=2' },
    ...{ KillWait: 5, MessageTimeout: 10, SlurmdTimeout: 0, ReturnToService: 2 },
    NodeName: `${node} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN`,
    PartitionName: `main Nodes=${node} Default=YES State=UP`,
  }
  const text = Object.entries(lines).map(([name, value]) => `${name}=${value}\n`)
  writeFileSync(conf, text.join(''))
  const env: NodeJS.ProcessEnv = { ...process.env, SLURM_CONF: conf }
  const daemons = new Map<string, ChildProcess>()
  const start = (program: string, args: readonly string[]) => daemons.set(program, spawn(program, args, { env, stdio: 'ignore' }))
  const command = (program: string, ...args: string[]) => spawnSync(program, args, { env, encoding: 'utf8' })
  const ended = (child: ChildProcess) =>
    child.exitCode !== null || child.signalCode !== null ? undefined : new Promise(resolve => child.once('close', resolve))
  // What a machine takes with it when it vanishes: all that has this cluster in its environment, but for the daemons of the other side.
  const killTasks = () => {
    const others = [...daemons.values()].map(({ pid }) => pid)
    for (const name of readdirSync('/proc').filter(name => /^\d+$/.test(name) && !others.includes(Number(name))))
      try {
        if (readFileSync(`/proc/${name}/environ`, 'utf8').split('\0').includes(`SLURM_CONF=${conf}`))
          process.kill(Number(name), 'SIGKILL')
      } catch {
        // It has ended in between.
      }
  }
  const isUp = () => /idle|mix|alloc/.test(command('sinfo', '--noheader', '--format=%t').stdout)

  const files = ['key', 'pid', 'log', 'seed'].map(name => `--${name}-file=${within(name === 'key' ? name : `munge.${name}`)}`)
  start('munged', ['--foreground', '--force', `--socket=${within('munge.socket')}`, ...files])
  await until('munged answers', 900, () => command('munge', '--no-input', `--socket=${within('munge.socket')}`).status === 0)
  start('slurmctld', ['-D', '-L', within('slurmctld.log')])
  start('slurmd', ['-D', '-L', within('slurmd.log')])
  await until('the node is up', 900, isUp)
  return {
    env,
    states: sweep =>
      command('squeue', '--noheader', '--array', '--format=%T %Z', `--name=gradprompt-${sweep.split('/').at(-1)}`)
        .stdout.split('\n')
        .flatMap(line => line.split(' ')[0] || []),
    async loseNode() {
      const slurmd = daemons.get('slurmd')!
      slurmd.kill('SIGKILL')
      await ended(slurmd)
      killTasks()
      command('scontrol', 'update', `NodeName=${node}`, 'State=DOWN', 'Reason=lost')
    },
    async findNode() {
      start('slurmd', ['-D', '-L', within('slurmd.log')])
      command('scontrol', 'update', `NodeName=${node}`, 'State=RESUME')
      await until('the node is up again', 900, isUp)
    },
    async stop() {
      command('scancel', '--user=root')
      killTasks()
      for (const child of [...daemons.values()].reverse()) {
        child.kill('SIGTERM')
        const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
        await ended(child)
        clearTimeout(late)
      }
    },
  }
}
