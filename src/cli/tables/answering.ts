import type { Command } from '../terminal/command.js'
import {
  answerType,
  columns,
  contrast,
  force,
  json,
  labels,
  limits,
  machine,
  modelName,
  noPromptLookup,
  quiet,
  strategy,
  strength,
  testTime,
  texts,
  weightsDescription,
} from './options.js'

const promptNamed = 'a run of either kind, a prompt.safetensors, or the folder of a PEFT adapter'

/** Commands that answer rows and texts, under a prompt or none. It loads no command, so that help is quick. */
export const answering: readonly Command[] = [
  {
    name: 'evaluate',
    summary: 'score a run, a prompt, or a plain model',
    description:
      'Scores rows by the likelihood of each whole answer. Of a run, template, answer, labels and columns are taken as it was trained; ' +
      'flags win. The base model without the prompt is scored beside it; with --test-time the prompt as it was learned.',
    argument: { name: 'RUN', description: 'a run folder', required: false },
    options: [
      { name: 'config', value: 'file', description: 'takes model, template, answer, labels and columns from a config' },
      { name: 'model', value: 'name', description: 'the base model, when it is not the one of the run' },
      { name: 'data', value: 'file', description: "rows to score; by default the run's test file, or its dev file" },
      { name: 'prompt', value: 'path', description: 'a run folder, a prompt.safetensors, or the folder of a PEFT adapter' },
      force,
      strength,
      { name: 'template', value: 'text', description: 'the text before the answer, with {column} placeholders' },
      { name: 'answer', value: 'text', description: 'the answer, with {column} placeholders' },
      {
        name: 'answer-end',
        value: 'text',
        description: 'what ends an answer: a text, auto, or none; by default as it was learned',
      },
      columns,
      labels,
      answerType,
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
      ...testTime,
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
      ...strategy,
      ...limits,
      ...contrast,
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
    load: () => import('../commands/answering/evaluate.js'),
  },
  {
    name: 'predict',
    summary: 'label and probability, or answer, of each row',
    description:
      'Answers each row of a file under the prompt of a run; labels are not needed. Of a closed set: the likeliest label, the probability of ' +
      'each and the margin to the second, as gradprompt evaluate decides; of free text the answer that is generated greedily. A row keeps ' +
      'its own columns, and prediction, probability, margin and p:LABEL stand behind them (in JSON lines an object, probabilities). Rows ' +
      'are written as they are computed: to standard output as CSV, or to a file that appears when it is complete.',
    argument: { name: 'RUN', description: promptNamed, required: true },
    secondArgument: {
      name: 'FILE',
      description: 'rows to answer: .tsv .csv .jsonl .json .parquet, or - for standard input (JSON lines, JSON or CSV)',
      required: true,
    },
    options: [
      { name: 'output', value: 'file', description: 'where the rows go: .csv, .jsonl or .parquet; by default standard output' },
      { name: 'format', value: 'name', description: "csv, jsonl or parquet; by default as the output's name ends, else csv" },
      {
        name: 'keep',
        value: 'a,b',
        description: 'own columns of the rows that are written: all (the default), none, or names (also as a JSON list)',
      },
      columns,
      { name: 'model', value: 'name', description: 'the base model, when it is not the one of the run' },
      force,
      strength,
      ...texts,
      answerType,
      {
        name: 'choose',
        value: 'way',
        description: 'a label by its likelihood: plain; by byte: length; or less its own without the text: unconditional',
      },
      { name: 'reject', description: 'call rows below the threshold of a run of gradprompt reject none of these' },
      { name: 'reject-below', value: 'x', type: 'number', description: 'the same, below a number from 0 to 1' },
      ...testTime,
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
    load: () => import('../commands/answering/predict.js'),
  },
  {
    name: 'synthesize',
    summary: 'rows for a task that has none yet',
    description:
      'Has a model write rows for a task that is described in words: as many of each class, none like another, and none like your own. What share of them ' +
      'the model itself takes for what they were to be, and how far they are from each other, is measured. Texts and labels are what the model believes: look ' +
      'through them, and keep rows of people to evaluate on.',
    argument: { name: 'TASK', description: 'what is to be done with the texts, in words', required: true },
    options: [
      {
        name: 'labels',
        value: 'a,b',
        description:
          'the classes, or a JSON object of what each means; without them rows have a text and the answer of the model',
      },
      { name: 'rows', value: 'n', type: 'integer', description: 'rows in all; 60 by default' },
      { name: 'output', value: 'file', description: 'where they go: .csv or .jsonl; by default synthetic.csv' },
      {
        name: 'examples',
        value: 'file',
        description: 'rows of your own with the columns text and label: shown to the model, and not written again',
      },
      { name: 'columns', value: 'a,b', description: 'names of the columns of --examples, where it has no header' },
      { name: 'model', value: 'name', description: `${modelName}; by default the bundled one` },
      { name: 'temperature', value: 'x', type: 'number', description: '1 by default; higher differs more' },
      { name: 'max-new-tokens', value: 'n', type: 'integer', description: 'of a text; 96 by default' },
      {
        name: 'similar',
        value: 'x',
        type: 'number',
        description: 'texts that share so much of their runs of three words are one; 0.6 by default',
      },
      { name: 'only-agreed', description: 'leave out what the model itself takes for another class' },
      { name: 'seed', value: 'n', type: 'integer', description: 'decides every random choice' },
      ...machine,
      json,
      quiet,
    ],
    example:
      'gradprompt synthesize "Sort mails to a shop by what they are about" --labels complaint,question,praise --output mails.csv',
    load: () => import('../commands/answering/synthesize.js'),
  },
  {
    name: 'label-next',
    summary: 'the rows that are worth a label',
    description:
      'Names the rows of a file whose labels a prompt would learn most from: those that it is least sure of, and among them some that are not ' +
      'alike. Rows that have a label already, empty rows and repeated ones are left out. Label what is written, add it to the training rows, and tune again. ' +
      'Several prompts of one task (--with) are a committee, whose probabilities are averaged.',
    argument: { name: 'RUN', description: promptNamed, required: true },
    secondArgument: {
      name: 'FILE',
      description: 'the pool of rows: .tsv .csv .jsonl .json .parquet, or - for standard input',
      required: true,
    },
    options: [
      { name: 'count', value: 'n', type: 'integer', description: 'how many rows; 20 by default' },
      {
        name: 'by',
        value: 'rule',
        description:
          'margin between the two likeliest labels (the default), entropy, disagreement of several prompts, or random, to compare with',
      },
      {
        name: 'among',
        value: 'n',
        type: 'integer',
        description:
          'draw them, far from each other, from so many times as many unsure rows: 5 by default; 1 takes the least sure',
      },
      {
        name: 'with',
        value: 'path',
        repeats: true,
        description: 'a further prompt of the same task, such as a run of another seed',
      },
      { name: 'output', value: 'file', description: 'where the rows go: .csv or .jsonl; by default standard output' },
      { name: 'format', value: 'name', description: "csv or jsonl; by default as the output's name ends, else csv" },
      columns,
      { name: 'model', value: 'name', description: 'the base model, when it is not the one of the run' },
      force,
      ...texts,
      { name: 'truncate', description: 'cut the text of rows that are longer than the context' },
      { name: 'seed', value: 'n', type: 'integer', description: 'draws the rows that are far from each other' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt label-next runs/sst2 unlabelled.csv --count 50 --output to-label.csv',
    load: () => import('../commands/answering/label-next.js'),
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
      strength,
      ...strategy,
      ...contrast,
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
      {
        name: 'output',
        value: 'file',
        description: 'a row for each of the input, as JSON lines (.jsonl): text, ids, finishReason',
      },
      ...limits,
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
    load: () => import('../commands/answering/generate.js'),
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
      ...strategy,
      strength,
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
    load: () => import('../commands/answering/serve.js'),
  },
]
