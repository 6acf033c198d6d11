import type { Command } from '../terminal/command.js'
import { config, json, machine, modelName, quiet, searchConfig } from './options.js'

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
    load: () => import('../commands/learning/tune.js'),
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
    load: () => import('../commands/learning/search.js'),
  },
  {
    name: 'compress',
    summary: 'learn a document or a long instruction into a prompt',
    description:
      'Trains a text into keys and values (or rows) that take its place: the model asks itself about pieces of the text, answers with all of it in ' +
      'the context, and the prompt learns to say what it says there. What it asked itself stands beside the run, which is one of tune: resume, ' +
      'evaluate, generate, serve and export take it. Of questions that are given it says how much of what the text gains is kept.',
    argument: { name: 'FILE', description: 'the text: UTF-8, at most as long as the context of the model', required: true },
    options: [
      { name: 'model', value: 'name', description: `${modelName}; by default the bundled one` },
      { name: 'as', value: 'what', description: 'keys: keys and values of every layer, the default; rows: rows at the input' },
      { name: 'tokens', value: 'n', type: 'integer', description: 'virtual tokens; 128 by default' },
      { name: 'conversations', value: 'n', type: 'integer', description: 'questions that the model asks itself; 64 by default' },
      { name: 'max-new-tokens', value: 'n', type: 'integer', description: 'of an answer that is learned from; 128 by default' },
      {
        name: 'questions',
        value: 'file',
        description: 'rows with the columns question and answer, of which nothing is learned: what is kept is measured by them',
      },
      { name: 'steps', value: 'n', type: 'integer', description: 'optimiser steps; 100 by default' },
      { name: 'batch-size', value: 'n', type: 'integer', description: 'conversations of a step; 8 by default' },
      { name: 'learning-rate', value: 'x', type: 'number', description: 'the highest; 0.02 by default, of rows 0.01' },
      { name: 'seed', value: 'n', type: 'integer', description: 'decides every random choice' },
      { name: 'out', value: 'folder', description: 'the run folder; by default a new name under runs/' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt compress handbook.txt --tokens 128 --questions facts.jsonl',
    load: () => import('../commands/learning/compress.js'),
  },
  {
    name: 'interview',
    summary: 'a prompt from what you have in mind',
    description:
      'Asks what a prompt has to say (at most six questions), writes it, tries it on three inputs of your own beside the draft before, heeds what you say of ' +
      'the answers, and writes the prompt with places for its inputs, the answers that you liked as rows, and a search that goes on from there. A model puts the ' +
      'questions and writes; where it cannot, or with --no-model, a form does. Every answer is kept at once, and the same command goes on.',
    argument: { name: 'FOLDER', description: 'where it is kept; by default interview', required: false },
    options: [
      { name: 'model', value: 'name', description: `${modelName}; by default the bundled one` },
      { name: 'no-model', description: 'a form asks, and you say what the answers to your inputs are to be' },
      {
        name: 'answers',
        value: 'file',
        description: 'JSON, - for standard input: answers by the keys of their questions, or a list in their order; for scripts',
      },
      { name: 'rounds', value: 'n', type: 'integer', description: 'times that the draft is tried, at most; 3 by default' },
      { name: 'max-new-tokens', value: 'n', type: 'integer', description: 'of an answer that is tried; 128 by default' },
      { name: 'seed', value: 'n', type: 'integer', description: 'decides every random choice' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt interview my-prompt --no-model --answers examples/interview/answers.json',
    load: () => import('../commands/others/interview.js'),
  },
  {
    name: 'prefer',
    summary: 'the best of several prompts, by what you like',
    description:
      'Shows two answers side by side on a page of this machine, each under one of several prompts, and learns from what you take which prompt is liked ' +
      'best: it asks about the best so far and the one that might be better still, so that few questions are enough. Sides are drawn anew in every question. ' +
      'Answers stand in a journal as soon as they are given, and the same command goes on with it.',
    argument: { name: 'PROMPTS', description: 'a prompt a line (\\n within one is a line end), at least two', required: true },
    secondArgument: { name: 'DATA', description: 'rows to answer under them: .tsv .csv .jsonl .json .parquet', required: true },
    options: [
      { name: 'model', value: 'name', description: `${modelName}; by default the bundled one` },
      {
        name: 'template',
        value: 'text',
        description:
          'where {prompt} and columns of the data stand, as plain text; by default the prompt, an empty line and the first column, as a chat',
      },
      { name: 'journal', value: 'file', description: 'where answers are kept; by default PROMPTS-preferred.jsonl' },
      { name: 'max-new-tokens', value: 'n', type: 'integer', description: 'of an answer; 96 by default' },
      { name: 'initial', value: 'n', type: 'integer', description: 'pairs at random at the beginning; 5 by default' },
      { name: 'nu', value: 'x', type: 'number', description: 'how much what is not known counts for; 4 by default' },
      { name: 'seed', value: 'n', type: 'integer', description: 'draws pairs, rows and sides' },
      { name: 'host', value: 'address', description: '127.0.0.1 by default; only addresses of this machine alone are taken' },
      { name: 'port', value: 'n', type: 'integer', description: '8091 by default; with 0 the system chooses a free one' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt prefer examples/prefer/prompts.txt examples/prefer/questions.jsonl',
    load: () => import('../commands/learning/prefer.js'),
  },
  {
    name: 'reject',
    summary: 'teach a classifier to say none of these',
    description:
      'Makes of a run that chooses between classes one that also says how sure it is that a text is of any of them: labels far from the classes are ' +
      'chosen, the model writes texts about them, and two prompts, one for the classes and one for these labels, learn to choose between all. ' +
      'gradprompt predict --reject then calls a text below the threshold none of these. By texts that are of no class (--foreign) it is measured ' +
      "beside the largest probability and the energy of the run's own prompt.",
    argument: { name: 'RUN', description: 'the folder of a finished run of gradprompt tune, with labels', required: true },
    options: [
      { name: 'model', value: 'name', description: 'the base model, when it is not the one of the run' },
      {
        name: 'foreign',
        value: 'file',
        repeats: true,
        description: 'texts of no class, to measure by: nothing is learned of them',
      },
      { name: 'data', value: 'file', description: "known rows to measure by; by default the run's test rows, or its dev rows" },
      {
        name: 'columns',
        value: 'a,b',
        description:
          "of --foreign and --data: names of a headless file's columns; or template=data pairs where names differ: text=review",
      },
      { name: 'labels', value: 'n', type: 'integer', description: 'foreign labels; 40 by default' },
      { name: 'words', value: 'file', description: 'what these are chosen from, one a line; by default 300 common nouns' },
      {
        name: 'texts',
        value: 'n',
        type: 'integer',
        description: 'texts that are written about each foreign label; 4 by default',
      },
      { name: 'known-texts', value: 'n', type: 'integer', description: 'the same about each class; by default as many' },
      { name: 'max-new-tokens', value: 'n', type: 'integer', description: 'of a written text; 48 by default' },
      {
        name: 'groups',
        value: 'n',
        type: 'integer',
        description: 'that foreign labels are dealt into for a score; 4 by default',
      },
      { name: 'share', value: 'x', type: 'number', description: 'of known rows that the threshold lets pass; 0.95 by default' },
      { name: 'steps', value: 'n', type: 'integer', description: 'optimiser steps; 100 by default' },
      { name: 'batch-size', value: 'n', type: 'integer', description: 'rows of a step; 8 by default' },
      { name: 'learning-rate', value: 'x', type: 'number', description: 'the highest; 0.01 by default' },
      { name: 'seed', value: 'n', type: 'integer', description: 'decides every random choice' },
      { name: 'out', value: 'folder', description: 'the run folder; by default a new name under runs/' },
      ...machine,
      json,
      quiet,
    ],
    example: 'gradprompt reject runs/agnews --foreign examples/sst2/test.tsv --columns text,label --out runs/agnews-rejecting',
    load: () => import('../commands/learning/reject.js'),
  },
  {
    name: 'hints',
    summary: 'learn to write a hint for each input',
    description:
      'Learns a prompt under which the model writes a hint for an input, keywords or a role, behind which the same model answers it: texts are sampled for ' +
      'every training row, those that make its answer likelier are learned from, and again, a run of tune each round. The config says what is answered, and ' +
      'how the prompt is learned. What comes of it is measured beside no hint, one hint for all rows, and the model that was not taught; --strategy hints ' +
      '--strategy-option from=DIR of evaluate, generate and serve answers with it. The same command goes on with one that was stopped.',
    takesConfig: true,
    options: [
      ...config,
      { name: 'kind', value: 'what', description: 'what is written: keywords, the default, or role' },
      { name: 'instruction', value: 'text', description: 'what the model is told to write, in words of your own' },
      {
        name: 'say',
        value: 'text',
        description: "how a hint stands before the text: 'Hint: {hint}'; by default as the kind has it",
      },
      { name: 'samples', value: 'n', type: 'integer', description: 'texts for each training row in a round; 8 by default' },
      { name: 'rounds', value: 'n', type: 'integer', description: 'rounds of writing and learning; 2 by default' },
      { name: 'hint-tokens', value: 'n', type: 'integer', description: 'tokens of a hint, at most; 40 by default' },
      { name: 'temperature', value: 'x', type: 'number', description: 'texts are sampled at; 0.7 by default' },
      {
        name: 'fixed-texts',
        value: 'n',
        type: 'integer',
        description: 'texts among which the one for all rows is chosen; 16 by default',
      },
      json,
      quiet,
    ],
    example: 'gradprompt hints --config examples/agnews/hints.yaml --kind keywords --out runs/hints',
    load: () => import('../commands/learning/hints.js'),
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
      {
        name: 'device',
        value: 'name',
        description: 'where it runs now, when the device that it began on is not there; bits may differ',
      },
      json,
      quiet,
    ],
    example: 'gradprompt resume runs/sst2 --steps 200',
    load: () => import('../commands/learning/resume.js'),
  },
]
