import type { Command } from '../terminal/command.js'
import { family, force, json, machine, quiet } from './options.js'

/** Commands that read, compare, export and set up. It loads no command, so that help is quick. */
export const others: readonly Command[] = [
  {
    name: 'compare',
    summary: 'evaluations side by side, with intervals',
    description:
      'Compares the results of evaluations over the same rows: each with its 95 % interval, and against the first the paired difference, ' +
      "McNemar's exact test, and the rows needed to see such a difference in 80 of 100 experiments. A result is a run (its " +
      'evaluations/*.jsonl, or else the test or dev rows that it scored itself) or a file of rows {"index": 0, "score": 1} or {"row": 0, "correct": true}. Results of several seeds are pooled ' +
      'when they are joined by commas, and name= in front names them. With --judge generated answers (gradprompt evaluate --generate) are compared by a judge instead.',
    argument: { name: 'RESULT...', description: 'runs or .jsonl files: A B, or tuned=A1,A2,A3 base=B1,B2,B3', required: true },
    options: [
      {
        name: 'evaluation',
        value: 'name',
        description: 'which of the evaluations of a run; by default the only one that all have',
      },
      { name: 'seed', value: 'n', type: 'integer', description: 'of the bootstrap; 13 by default' },
      { name: 'report', value: 'file', description: 'where the page is written; by default compare.html in the folder of all' },
      { name: 'no-report', description: 'write no page' },
      {
        name: 'judge',
        value: 'who',
        repeats: true,
        description:
          'compare the generated answers of two results by a judge, each pair in both orders: a model, or the address of an OpenAI-compatible endpoint up to /v1',
      },
      { name: 'judge-model', value: 'name', description: 'the name of the model at that address (key: GRADPROMPT_JUDGE_KEY)' },
      { name: 'instruction', value: 'text', description: 'what the judge is asked, before both answers' },
      { name: 'limit', value: 'n', type: 'integer', description: 'judge this many rows, drawn by seed' },
      { name: 'judgements', value: 'file', description: 'where what the judges said of each row is written (.jsonl)' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt compare runs/base runs/tuned',
    load: () => import('../commands/others/compare.js'),
  },
  {
    name: 'probe',
    summary: 'whether a prompt made the model forget',
    description:
      'Asks for small things that the model does from two examples (to repeat a text, to name its last word), without the prompt of a run and under it: ' +
      'plainly, in another template, in leetspeak and in pig Latin; of texts like those it has learned on, and of made sentences. What is lost plainly and ' +
      'not in disguise is hidden by the prompt, not forgotten.',
    argument: { name: 'RUN', description: 'a run folder', required: true },
    options: [
      { name: 'model', value: 'name', description: 'the base model, when it is not the one of the run' },
      { name: 'data', value: 'file', description: "rows whose texts are asked about; by default the run's dev or training rows" },
      { name: 'limit', value: 'n', type: 'integer', description: 'texts of each kind; 24 by default' },
      { name: 'seed', value: 'n', type: 'integer', description: 'draws the texts and the bootstrap' },
      { name: 'gate', description: 'exit 1 when something is hidden or lost' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt probe runs/sst2',
    load: () => import('../commands/others/probe.js'),
  },
  {
    name: 'export',
    summary: 'write what was learned for another tool',
    description:
      'Writes the prompt of a run for another tool, with a README and a self-test beside it. `gradprompt methods` says what each method can be exported to, docs/exports.md how; the words that a search has found go to text. What other tools wrote (adapters, KoboldAI, .npy, .safetensors, .f32) is converted in the same way: then --model says what it is for. A target of your own is named by the path of its module.',
    argument: { name: 'RUN', description: 'a run folder, a prompt file, or what another tool wrote', required: true },
    options: [
      force,
      { name: 'to', value: 'target', description: 'a tool, such as hf, gguf or peft, or the path of a module' },
      { name: 'out', value: 'folder', description: 'the folder to make' },
      {
        name: 'dtype',
        value: 'type',
        description:
          'type of weights that are written anew: of a GGUF file in hf F32 (as by default), F16 or BF16; of a Hugging Face folder in gguf F16 (as by default), F32, BF16, Q8_0, Q4_0 or Q4_1',
      },
      { name: 'delta', description: 'write the changed tensors alone, and a script that merges them (hf)' },
      { name: 'prompt-task', value: 'name', description: 'of a prompt of several tasks or people: the one to export, as rows' },
      { name: 'model', value: 'name', description: 'the base model, when it is not where it was' },
      json,
    ],
    example: 'gradprompt export runs/sst2 --to peft --out runs/sst2/peft',
    load: () => import('../commands/others/export.js'),
  },
  {
    name: 'runs',
    summary: 'every run in a folder',
    description:
      'Lists the runs of a folder, the latest first: state, method, result with its 95 % interval, verdict, model, when it began. With ' +
      '--html a page of them as well, runs.html, which links their reports and can be sorted, filtered and searched.',
    argument: { name: 'FOLDER', description: 'a folder with runs in it; by default runs', required: false },
    options: [{ name: 'html', description: 'write runs.html into the folder' }, json],
    example: 'gradprompt runs',
    load: () => import('../commands/others/runs.js'),
  },
  {
    name: 'inspect',
    summary: 'a run, a model, a prompt or data, in words',
    description:
      'Of a run: its config, state, learning curve, result, and what the vectors read as. Of a model: family, parameters by part, tensors, ' +
      'memory, tokenizer, its chat template on an example, what can be tuned and exported. Of a prompt file: its method, shape, norms, and what the vectors read as; of what another tool wrote, its rows or words. Of a data file: how it is read, its columns, ' +
      'and the rows that they would make, with classes, repeats and lengths.',
    argument: {
      name: 'RUN|MODEL|PROMPT|DATA',
      description: 'a run folder, a model, a prompt.safetensors, or a data file',
      required: true,
    },
    options: [family, { name: 'report', description: "write a run's report.html anew" }, json],
    example: 'gradprompt inspect models/smollm2-135m-instruct',
    load: () => import('../commands/others/inspect.js'),
  },
  {
    name: 'models',
    summary: 'the models at hand, and what each would need',
    description:
      'Lists the bundled model and those in the cache of the Hugging Face Hub (HF_HOME), which Python shares: family, size on disk, and the memory ' +
      'that using and tuning would take; or why one cannot be read. Nothing is downloaded.',
    options: [family, json],
    example: 'gradprompt models',
    load: () => import('../commands/others/models.js'),
  },
  {
    name: 'methods',
    summary: 'what can be learned, with which options',
    description:
      'Lists the soft-prompt methods and the searches with their options, defaults and papers, and where each can be exported to.',
    options: [{ name: 'model', value: 'name', description: 'count the parameters for this model' }, json],
    example: 'gradprompt methods --model models/smollm2-135m-instruct',
    load: () => import('../commands/others/methods.js'),
  },
  {
    name: 'init',
    summary: 'a config and sample data to start from',
    description: 'Writes a commented config and a few sample rows. Files that exist are not overwritten.',
    argument: { name: 'DIR', description: 'the folder to write to; by default the working directory', required: false },
    options: [
      {
        name: 'task',
        value: 'name',
        description: 'what to start from: classification (the default), a soft prompt; search, a text prompt',
      },
    ],
    example: 'gradprompt init my-task',
    load: () => import('../commands/others/init.js'),
  },
  {
    name: 'doctor',
    summary: 'what this machine can run, and why not',
    description:
      'Holds every device against the processor, function by function and in whole training steps, and shows adapters, versions, memory, and the cache. With --verify it exits with 1 where a file of the cache is damaged.',
    options: [{ name: 'verify', description: 'read every file of the cache, and say which are not as they were written' }, json],
    example: 'gradprompt doctor',
    load: () => import('../commands/others/doctor.js'),
  },
  {
    name: 'completion',
    summary: 'a script by which a shell completes commands and options',
    description: 'Prints a script for bash, zsh or fish; its first line says where it belongs.',
    argument: { name: 'SHELL', description: 'bash, zsh or fish', required: true },
    options: [],
    example: 'gradprompt completion bash',
    load: () => import('../commands/others/completion.js'),
  },
]
