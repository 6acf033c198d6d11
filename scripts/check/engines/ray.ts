import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import type { EngineCheck } from './check.js'
import { countOf, enough, gradprompt, refuseLost, refuseOtherBits, until, workersOf, writeSweep } from './sweeps.js'

/**
 * `--on ray` on a Ray of this machine that is started here. GRADPROMPT_RAY names the command `ray` of a virtual environment (`pip install 'ray[default]'`).
 * One job is stopped on the way; every trial is finished once, to the bits of a run that nobody stopped.
 */

const address = 'http://127.0.0.1:8265'

export const rayCheck: EngineCheck = {
  name: 'ray',
  missing() {
    const { GRADPROMPT_RAY: command } = process.env
    return command !== undefined && existsSync(command)
      ? undefined
      : "GRADPROMPT_RAY names no command ray (python -m venv ray; ray/bin/pip install 'ray[default]'; GRADPROMPT_RAY=ray/bin/ray)"
  },
  async run(folder, say) {
    const command = process.env.GRADPROMPT_RAY!
    const env = { ...process.env, PATH: `${dirname(command)}${delimiter}${process.env.PATH}`, RAY_API_SERVER_ADDRESS: address }
    const ray = (...args: string[]) => {
      const { status, stdout, stderr } = spawnSync(command, args, { env, encoding: 'utf8' })
      if (status !== 0) throw new Error(`ray ${args.join(' ')} ended with ${status}: ${stderr}`)
      return stdout
    }
    // Paths of its sockets are at most 107 bytes long.
    const where = ['--temp-dir', join(folder, 'ray'), '--port', '6389']
    const head = spawn(command, ['start', '--head', '--block', '--num-cpus', '2', '--disable-usage-stats', ...where], {
      env,
      stdio: 'ignore',
    })
    try {
      await until('Ray answers', 900, () => spawnSync(command, ['job', 'list', '--address', address], { env }).status === 0)
      const config = writeSweep(folder)
      const sweep = join(folder, 'a sweep')
      const set = ['--set', `address=${address}`, '--set', 'entrypoint-num-cpus=1']
      const said = gradprompt(['sweep', config, '--on', 'ray', '--workers', '2', ...set, '--out', sweep], env)
      const [, ids = ''] = /ray: ([\s\S]*?)\nsweep:/.exec(said) ?? []
      const [first] = ids.split('\n')
      await until('both jobs work', 900, () => workersOf(sweep).length === 2)
      say('ray job submit: two jobs, two workers')
      await until('a few trials', 900, () => countOf(sweep, 'finished') >= 3)
      ray('job', 'stop', '--address', address, first!)
      await until('its trial is taken up', 900, () => countOf(sweep, 'taken') > 0)
      say('ray job stop: the trial of the stopped job was taken up by the other')
      const trials = enough(sweep)
      gradprompt(['sweep', sweep, '--trials', String(trials), '--on', 'ray', ...set], env)
      await until('all trials are finished', 1200, () => countOf(sweep, 'finished') === trials)
      refuseLost(sweep, trials)
      say(`${trials} trials, each finished once, ${countOf(sweep, 'taken')} taken up`)
      const bits = refuseOtherBits(sweep)
      say(`${bits} of those that were taken up, done again alone: the same, to the bit`)
    } finally {
      const ended = head.exitCode === null ? new Promise(resolve => head.once('close', resolve)) : undefined
      head.kill('SIGTERM')
      await ended
    }
  },
}
