import { deviceNames } from '../program/devices.js'
import type { Command, CommandOption } from './terminal/command.js'

/** What the command line takes: this table drives parsing, `--help` and docs/cli.md. It loads no command, so that help is quick. */

const json: CommandOption = {
  name: 'json',
  description: 'one JSON object a line on standard output; text for people on standard error',
}
const force: CommandOption = { name: 'force', description: 'use a prompt of another model, if the width is the same' }
const quiet: CommandOption = { name: 'quiet', description: 'no progress, results only' }

const devices = `${deviceNames.slice(0, -1).join(', ')} or ${deviceNames.at(-1)}`

const family: CommandOption = {
  name: 'family',
  value: 'path',
  repeats: true,
  description: 'the module of a model family of your own; may be given several times',
}

const modelName = 'a folder, a .gguf file, or a model of the Hugging Face Hub: owner/name[@revision][:file.gguf]'

const keepWeights =
  'fp32; compact, in 16 bits or blocks of 8 with the same values; or auto, the default: fp32 where that takes half of the memory at most'

const machine: readonly CommandOption[] = [
  family,
  { name: 'device', value: 'name', description: devices },
  { name: 'threads', value: 'n', type: 'integer', description: 'CPU threads; by default one a core' },
  { name: 'memory', value: 'GB', type: 'number', description: 'memory budget; by default what the machine has free' },
  { name: 'keep-weights', value: 'form', description: keepWeights },
]

const config: readonly CommandOption[] = [
  { name: 'config', value: 'file', description: 'a YAML or JSON file with options; flags win over it' },
  { name: 'model', value: 'name', config: 'model', description: modelName },
  { name: 'family', value: 'path', config: 'families', description: 'the module of a model family of your own' },
  { name: 'train', value: 'file', config: 'data.train', description: 'training rows: .tsv .csv .jsonl .json .parquet' },
  { name: 'dev', value: 'file', config: 'data.dev', description: 'rows that choose the best checkpoint' },
  { name: 'test', value: 'file', config: 'data.test', description: 'rows that are scored once, at the end' },
  { name: 'template', value: 'text', config: 'template', description: 'the text before the answer, with {column} placeholders' },
  { name: 'answer', value: 'text', config: 'answer', description: 'the text that is learned, with {column} placeholders' },
  {
    name: 'answer-end',
    value: 'text',
    config: 'answerEnd',
    description: "what ends an answer: a text such as '###', auto (the default: the model's own end), or none",
  },
  {
    name: 'method',
    value: 'name',
    config: 'method.type',
    description: 'what is learned: see gradprompt methods; or the path of a module',
  },
  { name: 'steps', value: 'n', config: 'train.steps', description: 'optimiser steps' },
  { name: 'epochs', value: 'n', config: 'train.epochs', description: 'passes over the training rows, instead of steps' },
  { name: 'batch-size', value: 'n', config: 'train.batchSize', description: 'rows of a batch' },
  { name: 'learning-rate', value: 'x', config: 'train.learningRate', description: "the schedule's highest learning rate" },
  { name: 'truncate', config: 'train.truncate', description: 'cut the text of rows that are longer than the context' },
  { name: 'seed', value: 'n', config: 'seed', description: 'decides every random choice' },
  { name: 'device', value: 'name', config: 'device', description: `${devices}; see gradprompt doctor` },
  { name: 'threads', value: 'n', config: 'threads', description: 'CPU threads; by default one a core' },
  { name: 'memory', value: 'GB', config: 'memory', description: 'memory budget; by default what the machine has free' },
  { name: 'keep-weights', value: 'form', config: 'keepWeights', description: keepWeights },
  { name: 'out', value: 'folder', config: 'out', description: 'the run folder; by default a new name under runs/' },
]

/** Of `tune`, what a search has as well; the rest is its own. */
const searchConfig: readonly CommandOption[] = [
  ...config.filter(({ config: path = '' }) => !/^(?:template|answer|method|train)(?:\.|$)/.test(path)),
  { name: 'template', value: 'text', config: 'template', description: 'the text before the answer, with {prompt} and {column}s' },
  { name: 'answer', value: 'text', config: 'answer', description: 'the text that the prompt is to bring about' },
  { name: 'method', value: 'name', config: 'search.type', description: 'how it is searched; or the path of a module' },
  { name: 'prompt', value: 'text', config: 'search.prompt', description: 'where the search begins' },
  { name: 'steps', value: 'n', config: 'search.steps', description: 'optimisation steps' },
  { name: 'questions', value: 'n', config: 'search.questions', description: 'training rows that prompts are scored on' },
  { name: 'batch-size', value: 'n', config: 'search.batchSize', description: 'of these, how many each step takes' },
]

const noPromptLookup: CommandOption = {
  name: 'no-prompt-lookup',
  description: 'one token a step, without guesses at those that follow: slower, and the same but for rounding',
}

const weightsDescription =
  'of the products that write: auto, the default, is exact (fp32) wherever that fits comfortably; stored (8 bits or less) is faster, ' +
  'and a third of short greedy answers come out otherwise'

export const commands: readonly Command[] = [
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
    load: () => import('./commands/tune.js'),
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
    load: () => import('./commands/search.js'),
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
    load: () => import('./commands/resume.js'),
  },
  {
    name: 'evaluate',
    summary: 'score a run, a prompt, or a plain model',
    description:
      'Scores rows by the likelihood of each whole answer. Of a run, template, answer, labels and columns are taken as it was trained; ' +
      'flags win. The base model without the prompt is scored beside it.',
    argument: { name: 'RUN', description: 'a run folder', required: false },
    options: [
      { name: 'config', value: 'file', description: 'takes model, template, answer, labels and columns from a config' },
      { name: 'model', value: 'name', description: 'the base model, when it is not the one of the run' },
      { name: 'data', value: 'file', description: "rows to score; by default the run's test file, or its dev file" },
      { name: 'prompt', value: 'path', description: 'a run folder, a prompt.safetensors, or the folder of a PEFT adapter' },
      force,
      { name: 'template', value: 'text', description: 'the text before the answer, with {column} placeholders' },
      { name: 'answer', value: 'text', description: 'the answer, with {column} placeholders' },
      {
        name: 'answer-end',
        value: 'text',
        description: 'what ends an answer: a text, auto, or none; by default as it was learned',
      },
      { name: 'columns', value: 'a,b', description: 'names of the columns, for a file without a header' },
      { name: 'labels', value: '0=no,1=yes', description: 'value in the label column = word in the answer' },
      { name: 'instruction', value: 'text', description: 'a plain instruction before the template, for the base model' },
      {
        name: 'choose',
        value: 'way',
        description: 'an answer by its likelihood: plain; by byte: length; or less its own without the text: unconditional',
      },
      { name: 'limit', value: 'n', type: 'integer', description: 'score this many rows, drawn by seed' },
      { name: 'seed', value: 'n', type: 'integer', description: 'draws the rows and the bootstrap' },
      { name: 'batch-size', value: 'n', type: 'integer', description: 'rows that are scored at once' },
      { name: 'threshold', value: 'x', type: 'number', description: 'exit 1 when the accuracy is below this, from 0 to 1' },
      { name: 'no-control', description: 'do not score the base model beside it' },
      { name: 'rows', value: 'file', description: "where each row's result is written (.jsonl); by default into the run" },
      { name: 'report', value: 'file', description: 'where the report is written (.html); by default into the run' },
      { name: 'generate', description: 'generate the answers and read them, instead of scoring given ones' },
      {
        name: 'task',
        value: 'name',
        description: 'bbh, gsm8k, lm-eval/gsm8k, …, or the path of a module: prompt, stop strings, extraction, score',
      },
      { name: 'examples', value: 'file', description: 'rows to show before the question, drawn by seed' },
      { name: 'shots', value: 'n', type: 'integer', description: 'how many; by default as many as are usual for the task' },
      {
        name: 'scorer',
        value: 'name',
        description: 'exact-match, f1, rouge-l, …, or the path of a module: (row, text) => score',
      },
      { name: 'max-new-tokens', value: 'n', type: 'integer', description: "the longest answer; by default the task's" },
      { name: 'temperature', value: 'x', type: 'number', description: '0, the default, is greedy' },
      {
        name: 'weights',
        value: 'width',
        description: weightsDescription,
      },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt evaluate runs/sst2 --data examples/sst2/test.tsv --threshold 0.9',
    load: () => import('./commands/evaluate.js'),
  },
  {
    name: 'predict',
    summary: 'label and probability, or answer, of each row',
    description:
      'Answers each row of a file under the prompt of a run; labels are not needed. Of a closed set: the likeliest label, the probability of ' +
      'each and the margin to the second, as gradprompt evaluate decides; of free text the answer that is generated greedily. A row keeps ' +
      'its own columns, and prediction, probability, margin and p:LABEL stand behind them (in JSON lines an object, probabilities). Rows ' +
      'are written as they are computed: to standard output as CSV, or to a file that appears when it is complete.',
    argument: {
      name: 'RUN',
      description: 'a run of either kind, a prompt.safetensors, or the folder of a PEFT adapter',
      required: true,
    },
    secondArgument: {
      name: 'FILE',
      description: 'rows to answer: .tsv .csv .jsonl .json .parquet, or - for standard input (JSON lines, JSON or CSV)',
      required: true,
    },
    options: [
      { name: 'output', value: 'file', description: 'where the rows go: .csv, .jsonl or .parquet; by default standard output' },
      { name: 'format', value: 'name', description: "csv, jsonl or parquet; by default as the output's name ends, else csv" },
      { name: 'keep', value: 'a,b', description: 'own columns of the rows that are written: all (the default), none, or names' },
      {
        name: 'columns',
        value: 'a,b',
        description: "names of a headless file's columns; or template=data pairs where names differ: text=review",
      },
      { name: 'model', value: 'name', description: 'the base model, when it is not the one of the run' },
      force,
      { name: 'template', value: 'text', description: "the text before the answer; by default the run's" },
      { name: 'answer', value: 'text', description: "the answer, with {column} placeholders; by default the run's" },
      { name: 'labels', value: '0=no,1=yes', description: 'value in the label column = word in the answer' },
      {
        name: 'choose',
        value: 'way',
        description: 'a label by its likelihood: plain; by byte: length; or less its own without the text: unconditional',
      },
      { name: 'truncate', description: 'cut the text of rows that are longer than the context' },
      { name: 'prompt-task', value: 'name', description: 'of a prompt of several tasks that generates: which' },
      {
        name: 'max-new-tokens',
        value: 'n',
        type: 'integer',
        description: 'of free text; 256 by default, if the context has room',
      },
      { name: 'weights', value: 'width', description: weightsDescription },
      { name: 'batch-size', value: 'n', type: 'integer', description: 'rows that are computed at once' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt predict runs/sst2 reviews.csv --output predictions.csv',
    load: () => import('./commands/predict.js'),
  },
  {
    name: 'generate',
    summary: 'answer prompts',
    description:
      'Answers one prompt as text that appears while it is made, or the rows of a file. Under a run a TEXT stands in the only column of its ' +
      'template, and rows fill its columns; without one a TEXT goes through the chat template of the model, if there is one. Rows are ' +
      'columns of the template, {"prompt": "…"}, a text, or {"messages": [{"role": "user", "content": "…"}]}, where further fields are ' +
      'variables of the chat template. Ctrl-C keeps finished rows beside the output, and the same command goes on.',
    argument: { name: 'TEXT', description: 'what to answer', required: false },
    options: [
      { name: 'model', value: 'name', description: modelName },
      {
        name: 'prompt',
        value: 'path',
        description: 'a run of either kind, a prompt.safetensors, or the folder of a PEFT adapter: answer under it',
      },
      { name: 'prompt-task', value: 'name', description: 'of a prompt of several tasks: which; by default what they share' },
      {
        name: 'input',
        value: 'file',
        description:
          'rows to answer: .jsonl of prompt or messages, or any data file with the columns of the template; - is standard input',
      },
      {
        name: 'columns',
        value: 'name=value',
        repeats: true,
        description:
          "a value for a column of the run's template, in place of TEXT, or a JSON object of them; beside --input, names of its columns as for predict",
      },
      { name: 'output', value: 'file', description: 'a row for each of the input: text, ids, finishReason' },
      {
        name: 'choices',
        value: 'a,b',
        description:
          'the only answers that may be given, or a JSON list of them: chosen token by token, where predict compares them as a whole',
      },
      {
        name: 'max-new-tokens',
        value: 'n',
        type: 'integer',
        description: 'the longest answer; 256 by default, if the context has room',
      },
      {
        name: 'temperature',
        value: 'x',
        type: 'number',
        description: '0, the default, is greedy; 1 when --top-p, --top-k or --min-p is given',
      },
      {
        name: 'top-p',
        value: 'x',
        type: 'number',
        description: 'sample from the likeliest tokens that have this much probability',
      },
      { name: 'top-k', value: 'n', type: 'integer', description: 'sample from this many of the likeliest tokens' },
      {
        name: 'min-p',
        value: 'x',
        type: 'number',
        description: 'sample from tokens at least this likely, compared with the likeliest',
      },
      {
        name: 'repetition-penalty',
        value: 'x',
        type: 'number',
        description: 'above 1, tokens that are there already become less likely',
      },
      { name: 'seed', value: 'n', type: 'integer', description: 'decides what is sampled; each row draws for itself' },
      {
        name: 'stop',
        value: 'text',
        repeats: true,
        description: 'ends an answer before this text, or special token; may be given several times',
      },
      { name: 'logprobs', description: 'the log-probability of each token, too' },
      { name: 'system', value: 'text', description: "the system message, in place of a conversation's own" },
      {
        name: 'variable',
        value: 'name=value',
        repeats: true,
        description: 'of the chat template, such as enable_thinking=false',
      },
      { name: 'chat', description: 'put plain text through the chat template' },
      { name: 'raw', description: "leave TEXT as it is: neither in the run's template nor in the chat template" },
      { name: 'batch-size', value: 'n', type: 'integer', description: 'answers that are made at once' },
      {
        name: 'weights',
        value: 'width',
        description: weightsDescription,
      },
      noPromptLookup,
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt generate --model models/smollm2-135m-instruct "What is the capital of France?"',
    load: () => import('./commands/generate.js'),
  },
  {
    name: 'serve',
    summary: 'an OpenAI-compatible endpoint',
    description:
      "Serves a model, and soft prompts on it as models of their own, as OpenAI's API does: /v1/chat/completions and /v1/completions, with " +
      'streaming, and /v1/models. It listens to this machine alone, and clients need the token that is printed at the start. Ctrl-C ends it.',
    argument: { name: 'RUN', description: 'a run folder, to serve its prompt under its name', required: false },
    options: [
      {
        name: 'model',
        value: 'name',
        description: `${modelName}; by default that of the run`,
      },
      {
        name: 'prompt',
        value: '[name=]path',
        repeats: true,
        description:
          'a run of either kind, a prompt.safetensors, or the folder of a PEFT adapter to serve; may be given several times',
      },
      { name: 'host', value: 'address', description: 'the address to listen on; by default 127.0.0.1' },
      {
        name: 'port',
        value: 'n',
        type: 'integer',
        description: 'the port to listen on; by default 8080, and 0 takes any that is free',
      },
      {
        name: 'token',
        value: 'text',
        description: 'what clients send as their API key; by default a new one (or GRADPROMPT_TOKEN)',
      },
      { name: 'no-token', description: 'answer every program on this machine' },
      { name: 'max-new-tokens', value: 'n', type: 'integer', description: 'of a chat request that does not say; by default 512' },
      { name: 'batch-size', value: 'n', type: 'integer', description: 'answers that are made at once' },
      {
        name: 'weights',
        value: 'width',
        description: weightsDescription,
      },
      noPromptLookup,
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt serve runs/sst2 --port 8080',
    load: () => import('./commands/serve.js'),
  },
  {
    name: 'compare',
    summary: 'evaluations side by side, with intervals',
    description:
      'Compares the results of evaluations over the same rows: each with its 95 % interval, and against the first the paired difference, ' +
      "McNemar's exact test, and the rows needed to see such a difference in 80 of 100 experiments. A result is a run (its " +
      'evaluations/*.jsonl, or else the test or dev rows that it scored itself) or a file of rows {"index": 0, "score": 1} or {"row": 0, "correct": true}. Results of several seeds are pooled ' +
      'when they are joined by commas, and name= in front names them.',
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
      json,
    ],
    example: 'gradprompt compare runs/base runs/tuned',
    load: () => import('./commands/compare.js'),
  },
  {
    name: 'export',
    summary: 'write what was learned for another tool',
    description:
      'Writes the prompt of a run for another tool, with a README and a self-test beside it. `gradprompt methods` says what each method can be exported to, docs/exports.md how; the words that a search has found go to text. A target of your own is named by the path of its module.',
    argument: { name: 'RUN', description: 'a run folder', required: true },
    options: [
      force,
      { name: 'to', value: 'target', description: 'a tool, such as hf, gguf or peft, or the path of a module' },
      { name: 'out', value: 'folder', description: 'the folder to make' },
      {
        name: 'dtype',
        value: 'type',
        description: 'width of weights that are dequantised (hf): F32, F16 or BF16; F32 by default',
      },
      { name: 'delta', description: 'write the changed tensors alone, and a script that merges them (hf)' },
      { name: 'model', value: 'name', description: 'the base model, when it is not where it was' },
      json,
    ],
    example: 'gradprompt export runs/sst2 --to peft --out runs/sst2/peft',
    load: () => import('./commands/export.js'),
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
    load: () => import('./commands/runs.js'),
  },
  {
    name: 'inspect',
    summary: 'a run, a model, a prompt or data, in words',
    description:
      'Of a run: its config, state, learning curve, result, and what the vectors read as. Of a model: family, parameters by part, tensors, ' +
      'memory, tokenizer, its chat template on an example, what can be tuned and exported. Of a prompt file: its method, shape, norms, and what the vectors read as. Of a data file: how it is read, its columns, ' +
      'and the rows that they would make, with classes, repeats and lengths.',
    argument: {
      name: 'RUN|MODEL|PROMPT|DATA',
      description: 'a run folder, a model, a prompt.safetensors, or a data file',
      required: true,
    },
    options: [family, { name: 'report', description: "write a run's report.html anew" }, json],
    example: 'gradprompt inspect models/smollm2-135m-instruct',
    load: () => import('./commands/inspect.js'),
  },
  {
    name: 'models',
    summary: 'the models at hand, and what each would need',
    description:
      'Lists the bundled model and those in the cache of the Hugging Face Hub (HF_HOME), which Python shares: family, size on disk, and the memory ' +
      'that using and tuning would take; or why one cannot be read. Nothing is downloaded.',
    options: [family, json],
    example: 'gradprompt models',
    load: () => import('./commands/models.js'),
  },
  {
    name: 'methods',
    summary: 'what can be learned, with which options',
    description:
      'Lists the soft-prompt methods and the searches with their options, defaults and papers, and where each can be exported to.',
    options: [{ name: 'model', value: 'name', description: 'count the parameters for this model' }, json],
    example: 'gradprompt methods --model models/smollm2-135m-instruct',
    load: () => import('./commands/methods.js'),
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
    load: () => import('./commands/init.js'),
  },
  {
    name: 'doctor',
    summary: 'what this machine can run, and why not',
    description:
      'Tries every device with a small program, and shows versions, memory, and the cache. With --verify it exits with 1 where a file of the cache is damaged.',
    options: [{ name: 'verify', description: 'read every file of the cache, and say which are not as they were written' }, json],
    example: 'gradprompt doctor',
    load: () => import('./commands/doctor.js'),
  },
]
