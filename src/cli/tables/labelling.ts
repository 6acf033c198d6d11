import type { Command } from '../terminal/command.js'
import { columns, force, json, labels, machine, modelName, promptNamed, quiet, running, texts } from './options.js'

/** Commands that bring rows to learn from, and figures of answers from elsewhere. It loads no command, so that help is quick. */
export const labelling: readonly Command[] = [
  {
    name: 'score',
    summary: 'answers that were made elsewhere',
    description:
      'Scores the answers of a file, of a fine-tuned model for example, as gradprompt evaluate scores its own, without a model. A line has an answer ' +
      '(prediction, completion or text), and the task_id, id or index of its row; without these there is a line for each row. Several answers to a row all ' +
      'count (pass@k). gradprompt compare lays the rows beside those of evaluations.',
    argument: { name: 'FILE', description: 'the answers: .jsonl .csv .tsv .json .parquet', required: true },
    options: [
      { name: 'data', value: 'file', description: 'the rows that were answered' },
      { name: 'task', value: 'name', description: 'as for evaluate: humaneval, mbpp, gsm8k, …, or the path of a module' },
      { name: 'answer', value: 'text', description: 'what is right, with {column} placeholders; {answer} by default' },
      columns,
      labels,
      { name: 'scorer', value: 'name', description: "bleu, codebleu, passes, …, or the path of a module; by default the task's" },
      ...running,
      { name: 'seed', value: 'n', type: 'integer', description: 'of the bootstrap; 13 by default' },
      { name: 'rows', value: 'file', description: "where each row's result is written (.jsonl)" },
      json,
      quiet,
    ],
    example: 'gradprompt score finetuned.jsonl --data test.jsonl --scorer bleu --rows finetuned-rows.jsonl',
    load: () => import('../commands/answering/score.js'),
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
]
