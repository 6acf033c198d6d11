import type { Command } from '../terminal/command.js'
import { config, json, quiet, searchConfig } from './options.js'

/** Commands that learn: `tune`, `search`, and `resume` of either. It loads no command, so that help is quick. */
export const learning: readonly Command[] = [
  {
    name: 'tune',
    summary: 'learn a soft prompt',
    description:
      'Learns a soft prompt and writes a run folder: config, log, checkpoints, prompt.safetensors, result.json, report.html. ' +
      'Ctrl-C stops it with a checkpoint; gradprompt resume goes on.',
    takesConfig: true,
    options: [
      ...config,
      { name: 'print-config', description: 'print the resolved config as YAML and stop' },
      { name: 'dry-run', description: 'print assembled rows, sizes and the memory estimate, and stop' },
      json,
      quiet,
    ],
    example: 'gradprompt tune --config examples/sst2/quickstart.yaml --steps 50 --train.optimizer adamw',
    load: () => import('../commands/tune.js'),
  },
  {
    name: 'search',
    summary: 'learn a text prompt',
    description:
      'Searches for a prompt of tokens by gradients and exact scores, and writes a run folder: config, log of every swap, checkpoints, ' +
      'prompt.json, result.json. {prompt} in the template says where the tokens stand. Ctrl-C stops it with a checkpoint; gradprompt ' +
      'resume goes on.',
    takesConfig: true,
    options: [
      ...searchConfig,
      { name: 'print-config', description: 'print the resolved config as YAML and stop' },
      { name: 'dry-run', description: 'print how rows are cut at the prompt, what is searched and the budget, and stop' },
      json,
      quiet,
    ],
    example: 'gradprompt search --config search.yaml --search.type gcg --steps 50',
    load: () => import('../commands/search.js'),
  },
  {
    name: 'resume',
    summary: 'go on with a run that was stopped, or with more steps',
    description:
      'Goes on from the latest checkpoint of a run, to the same bits as a run that never stopped (same machine, versions and threads).',
    argument: { name: 'RUN', description: 'a run folder', required: true },
    options: [
      { name: 'steps', value: 'n', type: 'integer', description: 'optimiser steps in all, more than before' },
      { name: 'train', value: 'file', description: 'the training rows, when they are not where they were' },
      { name: 'dev', value: 'file', description: 'the same of the dev rows' },
      { name: 'test', value: 'file', description: 'the same of the test rows' },
      { name: 'model', value: 'name', description: 'the model, when it is not where it was' },
      json,
      quiet,
    ],
    example: 'gradprompt resume runs/sst2 --steps 200',
    load: () => import('../commands/resume.js'),
  },
]
