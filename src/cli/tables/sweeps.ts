import type { Command } from '../terminal/command.js'
import { json, quiet } from './options.js'

/** The commands over many runs. It loads no command, so that help is quick. */
export const sweeps: readonly Command[] = [
  {
    name: 'sweep',
    summary: 'many runs of one config, of which some options vary',
    description:
      'Tries values of options of tune, search or evaluate, as the block sweep of a config says (docs/sweeps.md), and writes a folder: the plan, a ' +
      'journal, and a run folder for each trial. The model is opened once for all trials, and the base model is scored once. ' +
      'Given the folder of an earlier sweep it goes on with that, also beside other processes and machines that work on it.',
    argument: { name: 'CONFIG|SWEEP', description: 'a config with a block sweep, or the folder of a sweep', required: true },
    takesConfig: true,
    options: [
      { name: 'trials', value: 'n', type: 'integer', description: 'trials in all; by default 30, of a grid all' },
      { name: 'strategy', value: 'name', config: 'sweep.strategy', description: 'how values are chosen: grid, random or tpe' },
      {
        name: 'objective',
        value: 'metric',
        config: 'sweep.objective',
        description: 'what is best, of the dev rows: accuracy, macroF1, logLikelihood, …',
      },
      { name: 'seeds', value: 'n', config: 'sweep.seeds', description: 'runs of each trial, which then counts as their mean' },
      {
        name: 'out',
        value: 'folder',
        description: "the sweep's folder; by default out of the config, or a new name under sweeps/",
      },
      { name: 'workers', value: 'n', type: 'integer', description: 'processes that share the work; each opens the model' },
      {
        name: 'devices',
        value: 'a,b',
        description: 'a process on each of these devices, in the place of --workers: cuda:0,cuda:1; cpu,cpu',
      },
      { name: 'max-failures', value: 'n', type: 'integer', description: 'failed trials in a row that end it; by default 5' },
      {
        name: 'on',
        value: 'engine',
        description:
          'where the workers run: local, the default; slurm (a job array), kubernetes (an Indexed Job), ray (jobs of a cluster) or bullmq (a queue on Redis), ' +
          'for which a file is written into the folder and handed in',
      },
      {
        name: 'set',
        value: 'name=value',
        repeats: true,
        description:
          'with --on: an option of sbatch (time=4:00:00) or of ray job submit (address=…), of the Job (image, claim, mount, namespace, cpu, memory, gpu), ' +
          'of the queue (queue, attempts)',
      },
      {
        name: 'track',
        value: 'a,b',
        config: 'track',
        description: 'where figures are followed as well: csv, tensorboard, mlflow',
      },
      {
        name: 'add',
        value: 'values',
        repeats: true,
        description: 'a trial of your own, also while others work: train.learningRate=0.02,train.batchSize=8',
      },
      {
        name: 'show',
        description: 'only show what it came to so far: trials, importance of options, the best and what is like it',
      },
      { name: 'html', description: 'write sweep.html into its folder' },
      { name: 'csv', value: 'file', description: 'write the trials as comma-separated values' },
      { name: 'dry-run', description: 'print what varies and the first trials, and stop' },
      json,
      quiet,
    ],
    example: 'gradprompt sweep examples/sweeps/sst2.yaml --trials 20',
    load: () => import('../commands/sweeps/sweep.js'),
  },
  {
    name: 'worker',
    summary: 'work on the sweeps that others put into a queue',
    description:
      'Takes jobs from a queue of BullMQ on Redis or Valkey (REDIS_URL, by default redis://127.0.0.1:6379) and works on the sweep that each names, until it is ' +
      'stopped: what gradprompt sweep --on bullmq has handed in. The folder of the sweep has to be seen here by the same path. Needs the packages bullmq and ioredis.',
    options: [{ name: 'queue', value: 'name', description: 'gradprompt by default' }, json, quiet],
    example: 'gradprompt worker',
    load: () => import('../commands/sweeps/worker.js'),
  },
  {
    name: 'ui',
    summary: 'a page to work in, in the browser of this machine',
    description:
      'Serves a page over the runs and sweeps of a folder, for this machine alone: data are looked at, configs written and started, runs followed while they ' +
      'learn, stopped and gone on with, compared, exported, and spoken with beside the model without them. All that it does, commands do: it starts them.',
    argument: { name: 'FOLDER', description: 'where runs/ and sweeps/ are; by default the working directory', required: false },
    options: [
      { name: 'host', value: 'address', description: '127.0.0.1 by default; only addresses of this machine alone are taken' },
      { name: 'port', value: 'n', type: 'integer', description: '8090 by default; with 0 the system chooses a free one' },
      json,
      quiet,
    ],
    example: 'gradprompt ui',
    load: () => import('../commands/sweeps/ui.js'),
  },
]
